//! Refuses calls that a web page of another site makes a browser send.
//!
//! The browser may run on a machine from which the gateway is reached without a key.

use axum::http::{HeaderMap, HeaderName};

use crate::error::{ErrorCode, RequestError};

/// Browsers tell with it who made a request. Pages cannot change it, and programs do not send it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a call of another site's page. Browsers refuse by themselves what such a page would do with a key: the header needs
/// a preflight request, which gets no permission.
///
/// # Errors
/// [`ErrorCode::CrossSite`].
pub fn refuse_cross_site(headers: &HeaderMap) -> Result<(), RequestError> {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    if sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return Ok(());
    }
    Err(RequestError::new(
        ErrorCode::CrossSite,
        "calls by web pages of other sites are refused; open the page at / instead",
    ))
}
