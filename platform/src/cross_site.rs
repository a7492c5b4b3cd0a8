//! Recognizes calls that a web page of another site makes a browser send.
//!
//! The browser may run on a machine from which services are reached without a key.

use std::net::IpAddr;

use http::header::HOST;
use http::{HeaderMap, HeaderName};

/// Browsers tell with it who made a request. Pages cannot change it, and programs do not send it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Top-level names that cannot be registered: no site can point them at this machine.
const LOCAL_NAMES: [&str; 4] = ["localhost", "internal", "local", "test"];

/// Why a call is to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CrossSite {
    #[error("calls by web pages of other sites are refused")]
    OtherSite,
    /// A site may have pointed the name at this machine.
    #[error("only calls to localhost or an address are answered")]
    PublicName,
}

/// Checks that no page of another site made the call. Browsers refuse by themselves what such a page would do with a key: the
/// header needs a preflight request, which gets no permission.
///
/// A site that points its own name at this machine (DNS rebinding) has the same origin. A service on loopback without keys
/// `must_be_local`: the name that was called gives the site away.
///
/// # Errors
/// When the call is to be refused.
pub fn check(headers: &HeaderMap, must_be_local: bool) -> Result<(), CrossSite> {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    if !sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return Err(CrossSite::OtherSite);
    }
    let mut hosts = headers.get_all(HOST).iter();
    if must_be_local && !hosts.all(|host| host.to_str().is_ok_and(is_local)) {
        return Err(CrossSite::PublicName);
    }
    Ok(())
}

/// Returns whether a host is an address, a name without dots, or a name that no site can have.
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
            check(&headers, must_be_local) == Err(CrossSite::PublicName)
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
        assert_eq!(check(&HeaderMap::new(), true), Ok(()));
    }

    #[test]
    fn a_page_of_another_site_is_refused_under_any_name() {
        let of = |site: &'static str| {
            let site = http::HeaderValue::from_static(site);
            check(&HeaderMap::from_iter([(SEC_FETCH_SITE, site)]), false)
        };
        for site in ["cross-site", "same-site", "something new"] {
            assert_eq!(of(site), Err(CrossSite::OtherSite), "{site}");
        }
        for site in ["same-origin", "none"] {
            assert_eq!(of(site), Ok(()), "{site}");
        }
    }
}
