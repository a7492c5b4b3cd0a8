//! The one account that all services act for.

/// The account's identifier, as in ARNs and queue URLs.
pub const ACCOUNT_ID: &str = "000000000000";
