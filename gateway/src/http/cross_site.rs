//! Refuses calls that a web page of another site makes a browser send.

use axum::http::HeaderMap;
use platform::cross_site::{self, CrossSite};

use crate::error::{ErrorCode, RequestError};

/// Refuses a call of another site's page, as [`cross_site::check`] does.
///
/// # Errors
/// [`ErrorCode::CrossSite`].
pub fn refuse_cross_site(headers: &HeaderMap, must_be_local: bool) -> Result<(), RequestError> {
    cross_site::check(headers, must_be_local).map_err(|refused| {
        let message = match refused {
            CrossSite::OtherSite => {
                "calls by web pages of other sites are refused; open the page at / instead"
            }
            CrossSite::PublicName => {
                "without API keys, only calls to localhost or an address are answered; behind a proxy, use keys, or have it \
                 send one of these names"
            }
        };
        RequestError::new(ErrorCode::CrossSite, message)
    })
}
