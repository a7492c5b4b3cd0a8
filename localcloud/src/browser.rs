//! Refuses requests that a web page of another site makes a browser send.
//!
//! The browser runs on the reader's machine and reaches what that machine reaches. The page chooses most of the request,
//! and the default credentials are public.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue};

pub const REFUSAL: &str =
    "localcloud refuses requests of web pages from other sites, and requests for other hosts\n";

/// Top-level names that cannot be registered: no site can point them at this machine.
const LOCAL_NAMES: [&str; 4] = ["localhost", "internal", "local", "test"];

/// Returns whether a page of another site made the request, as far as its browser tells.
///
/// Browsers send `Origin` with requests that may change state, and `Sec-Fetch-Site` to hosts that they trust, such as this
/// machine. A site that points its own name at this machine (DNS rebinding) has the same origin, and gives itself away by
/// that name. This check applies `at_loopback` only: elsewhere localcloud may have any name, and has secret credentials.
pub fn is_cross_site(headers: &HeaderMap, at_loopback: bool) -> bool {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    let is_own = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        origin
            .strip_prefix(b"http://")
            .is_some_and(|it| Some(it) == host)
    };
    let is_same_site = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
    !headers.get_all(ORIGIN).iter().all(is_own)
        || !headers.get_all("sec-fetch-site").iter().all(is_same_site)
        || (at_loopback && !host.is_none_or(is_local_name))
}

/// Returns whether a name is AWS's own, in any case of its letters. Only AWS decides where such a name points, so that no
/// site can point one at this machine.
pub fn is_name_of_aws(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["amazonaws.com", "amazonaws.com.cn"].iter().any(|domain| {
        let labels = name.strip_suffix(domain);
        labels.is_some_and(|labels| labels.is_empty() || labels.ends_with('.'))
    })
}

/// Returns whether a host is an address, a name without dots, or a name that no site can point at this machine.
fn is_local_name(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    if address.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = name.trim_end_matches('.');
    let mut labels = name.rsplit('.');
    let last = labels.next().unwrap_or_default().to_ascii_lowercase();
    labels.next().is_none() || LOCAL_NAMES.contains(&last.as_str()) || is_name_of_aws(name)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn is_refused(fields: &[(&'static str, &'static str)], at_loopback: bool) -> bool {
        let fields = fields.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        is_cross_site(&fields.collect(), at_loopback)
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let host = ("host", "127.0.0.1:4566");
        for page in [
            ("origin", "http://evil.example"),
            ("origin", "https://127.0.0.1:4566"),
            ("origin", "http://127.0.0.1:3000"),
            ("origin", "null"),
            ("origin", ""),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            for at_loopback in [true, false] {
                assert!(is_refused(&[host, page], at_loopback), "{page:?}");
            }
        }
    }

    #[test]
    fn programs_and_own_pages_are_allowed() {
        for host in [
            "127.0.0.1:4566",
            "[::1]:4566",
            "10.0.0.7",
            "localhost:4566",
            "LOCALHOST",
            "bucket.localhost:4566",
            "muster",
            "host.docker.internal:4566",
        ] {
            assert!(!is_refused(&[("host", host)], true), "{host}");
        }
        let host = ("host", "127.0.0.1:4566");
        assert!(!is_refused(&[], true));
        assert!(!is_refused(
            &[host, ("origin", "http://127.0.0.1:4566")],
            true
        ));
        assert!(!is_refused(&[host, ("sec-fetch-site", "none")], true));
        assert!(!is_refused(
            &[host, ("sec-fetch-site", "same-origin")],
            true
        ));
    }

    #[test]
    fn names_of_aws_are_allowed() {
        for host in [
            "s3.amazonaws.com",
            "bucket.s3.us-east-1.amazonaws.com:4566",
            "SQS.us-east-1.AmazonAWS.com",
            "s3.us-east-1.amazonaws.com.",
            "bucket.s3.cn-north-1.amazonaws.com.cn",
        ] {
            assert!(!is_refused(&[("host", host)], true), "{host}");
        }
        // A page of AWS's names is a page of another site.
        let page = ("origin", "http://page.s3.amazonaws.com");
        let host = ("host", "s3.amazonaws.com");
        assert!(is_refused(&[host, page], true));
    }

    #[test]
    fn a_public_name_for_this_machine_is_refused() {
        for host in [
            "evil.example:4566",
            "evil.example",
            "evilamazonaws.com",
            "s3.amazonaws.com.evil.example",
            "amazonaws.com.co",
            "127.0.0.1.evil.example.",
            "a.b:c",
        ] {
            assert!(is_refused(&[("host", host)], true), "{host}");
            assert!(!is_refused(&[("host", host)], false), "{host}");
        }
    }
}
