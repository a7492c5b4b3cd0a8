//! A certificate authority for tests.

use std::fs;
use std::path::PathBuf;

use platform::tls::{PeerTlsArgs, ServerTlsArgs};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority with a folder for its files, which is deleted in the end.
pub struct Authority {
    pub folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Issued {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn generate() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let authority = Self { folder, issuer };
        fs::write(authority.ca(), authority.issuer.pem()).unwrap();
        authority
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Writes a certificate for this host, over an earlier one for it.
    pub fn issue(&self, host: &str) -> Issued {
        let key_pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key_pair, &self.issuer).unwrap();
        let [cert, key] =
            ["cert", "key"].map(|kind| self.folder.path().join(format!("{host}.{kind}.pem")));
        fs::write(&cert, certificate.pem()).unwrap();
        fs::write(&key, key_pair.serialize_pem()).unwrap();
        Issued { cert, key }
    }

    /// Returns the settings of a server at 127.0.0.1.
    pub fn server(&self) -> ServerTlsArgs {
        let Issued { cert, key } = self.issue("127.0.0.1");
        ServerTlsArgs {
            tls_cert: Some(cert),
            tls_key: Some(key),
        }
    }

    /// Returns the settings of a client that trusts the authority.
    pub fn trusting(&self) -> PeerTlsArgs {
        PeerTlsArgs {
            peer_ca: Some(self.ca()),
            ..PeerTlsArgs::default()
        }
    }

    /// Returns the settings of a client that trusts the authority and has a certificate of it.
    pub fn client(&self) -> PeerTlsArgs {
        let Issued { cert, key } = self.issue("client");
        PeerTlsArgs {
            peer_cert: Some(cert),
            peer_key: Some(key),
            ..self.trusting()
        }
    }
}
