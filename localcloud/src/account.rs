//! The one account that all services act for.

/// The account's identifier, as in ARNs and queue URLs.
pub const ACCOUNT_ID: &str = "000000000000";

/// The region in ARNs and availability zones, if the configuration names no other.
pub const DEFAULT_REGION: &str = "us-east-1";
