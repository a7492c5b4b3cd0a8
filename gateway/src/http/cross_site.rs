//! Refuses calls that a web page of another site makes a browser send.
//!
//! The browser may run on a machine from which the gateway is reached without a key.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderName};

use crate::error::{ErrorCode, RequestError};

/// Browsers tell with it who made a request. Pages cannot change it, and programs do not send it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Top-level names that cannot be registered: no site can point them at this machine.
const LOCAL_NAMES: [&str; 4] = ["localhost", "internal", "local", "test"];

/// Refuses a call of another site's page. Browsers refuse by themselves what such a page would do with a key: the header needs
/// a preflight request, which gets no permission.
///
/// A site that points its own name at this machine (DNS rebinding) has the same origin. Without keys, on loopback, it
/// `must_be_local`: the name that was called gives the site away.
///
/// # Errors
/// [`ErrorCode::CrossSite`].
pub fn refuse_cross_site(headers: &HeaderMap, must_be_local: bool) -> Result<(), RequestError> {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    if !sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return Err(RequestError::new(
            ErrorCode::CrossSite,
            "calls by web pages of other sites are refused; open the page at / instead",
        ));
    }
    let mut hosts = headers.get_all(HOST).iter();
    if must_be_local && !hosts.all(|host| host.to_str().is_ok_and(is_local)) {
        return Err(RequestError::new(
            ErrorCode::CrossSite,
            "without API keys, only calls to localhost or an address are answered; behind a proxy, use keys, or have it send one of \
             these names",
        ));
    }
    Ok(())
}

/// Whether a host is an address, a name without dots, or a name that no site can have.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let mut labels = name.trim_end_matches('.').rsplit('.');
    let last = labels.next().unwrap_or_default().to_ascii_lowercase();
    let has_no_dot = labels.next().is_none();
    address.parse::<IpAddr>().is_ok() || has_no_dot || LOCAL_NAMES.contains(&last.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_name_for_this_machine_is_refused_without_keys() {
        let is_refused = |host: &str, must_be_local| {
            let headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
            refuse_cross_site(&headers, must_be_local).is_err()
        };
        for host in [
            "evil.example:8000",
            "evil.example",
            "127.0.0.1.evil.example.",
            "a.b:c",
        ] {
            assert!(is_refused(host, true), "{host}");
            assert!(!is_refused(host, false), "{host}");
        }
        for host in [
            "127.0.0.1:8000",
            "[::1]:8000",
            "localhost:8000",
            "LOCALHOST",
            "gateway:8000",
            "host.docker.internal",
        ] {
            assert!(!is_refused(host, true), "{host}");
        }
        assert!(refuse_cross_site(&HeaderMap::new(), true).is_ok());
    }
}
