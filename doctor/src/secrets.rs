//! Certificates that expire, and files of API keys.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use platform::access::Authenticator;
use platform::preflight::Finding;
use platform::preflight::Verdict::{self, Fail, Fine, Warn};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::{DoctorArgs, finding};

const DAY: u64 = 24 * 60 * 60;
/// A certificate with fewer days left is worth a line.
const SOON: u64 = 14;

/// Without certificates and key files, there is nothing to check.
pub(crate) fn examine(args: &DoctorArgs) -> Vec<Finding> {
    let certificates = [&args.tls_cert, &args.tls.peer_cert, &args.tls.peer_ca];
    let mut files: Vec<_> = certificates.into_iter().flatten().collect();
    files.dedup();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut findings: Vec<_> = files
        .iter()
        .map(|file| finding("certificate", certificate(file, now)))
        .collect();
    if let Some(file) = &args.api_keys {
        findings.push(finding(
            "API keys",
            match Authenticator::by_keys(file) {
                Ok(_) => Fine(format!("{} can be read", file.display())),
                Err(error) => Fail(format!(
                    "{error:#}: make it with `gateway keys`, or set MUSTER_API_KEYS"
                )),
            },
        ));
    }
    if let Err(error) = args.key.key() {
        findings.push(finding(
            "API key",
            Fail(format!(
                "{error:#}: set MUSTER_API_KEY or MUSTER_API_KEY_FILE"
            )),
        ));
    }
    findings
}

fn certificate(file: &Path, now: Duration) -> Verdict {
    let mend = "make a new one, and set MUSTER_TLS_CERT, MUSTER_PEER_CERT or MUSTER_PEER_CA";
    let name = file.display();
    let certificates =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = match certificates {
        Ok(certificates) if !certificates.is_empty() => certificates,
        Ok(_) => return Fail(format!("{name} has no certificate: {mend}")),
        Err(error) => return Fail(format!("{name} cannot be read: {error}: {mend}")),
    };
    let ends: Option<Vec<_>> = certificates.iter().map(end_of).collect();
    let Some(end) = ends.and_then(|ends| ends.into_iter().min()) else {
        return Warn(format!("{name}: its end is not known"));
    };
    let now = now.as_secs();
    match end.saturating_sub(now) / DAY {
        _ if end <= now => Fail(format!(
            "{name} expired {} days ago: {mend}",
            (now - end) / DAY
        )),
        days @ ..SOON => Warn(format!("{name} expires in {days} days: {mend}")),
        days => Fine(format!("{name} is valid for {days} days")),
    }
}

/// Returns when a certificate expires, in seconds since 1970. The library does not show that, but a verification for a time
/// after the end names it, before it asks for authorities.
fn end_of(certificate: &CertificateDer<'_>) -> Option<u64> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let year_9999 = UnixTime::since_unix_epoch(Duration::from_secs(253_370_764_800));
    let usage = webpki::KeyUsage::server_auth();
    let verified = certificate.verify_for_usage(&[], &[], &[], year_9999, usage, None, None);
    match verified.err()? {
        webpki::Error::CertExpired { not_after, .. } => Some(not_after.as_secs()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use testkit::Authority;

    use super::*;

    #[test]
    fn a_certificate_that_ends_is_told_before() {
        let authority = Authority::generate();
        for file in [authority.issue("127.0.0.1").cert, authority.ca()] {
            let end = end_of(&CertificateDer::from_pem_file(&file).unwrap());
            let end = Duration::from_secs(end.expect("it has an end"));
            let days = |days: u64| Duration::from_secs(days * DAY);
            assert!(
                matches!(certificate(&file, end - days(100)), Fine(text) if text.contains("100 days"))
            );
            assert!(
                matches!(certificate(&file, end - days(3)), Warn(text) if text.contains("in 3 days"))
            );
            assert!(
                matches!(certificate(&file, end + days(3)), Fail(text) if text.contains("3 days ago"))
            );
        }
    }

    #[test]
    fn a_file_without_a_certificate_fails() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cert.pem");
        assert!(
            matches!(certificate(&file, Duration::ZERO), Fail(text) if text.contains("cannot be read"))
        );
        std::fs::write(&file, "no certificate").unwrap();
        assert!(matches!(certificate(&file, Duration::ZERO), Fail(_)));
    }
}
