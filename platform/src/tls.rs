//! TLS by rustls, for servers and for clients. Certificates are reloaded when their files change.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::reload::Reloading;

/// Longest time of a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The certificate of a server.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct ServerTlsArgs {
    /// Certificate chain (PEM) of this service. With it the service accepts TLS only. Reloaded when the file changes
    #[arg(
        long,
        env = "MUSTER_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate
    #[arg(
        long,
        env = "MUSTER_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
}

/// Settings of client certificates that a gRPC server asks for.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct ClientCaArgs {
    /// Certificate authorities (PEM) of the callers: mutual TLS
    #[arg(
        long,
        env = "MUSTER_TLS_CLIENT_CA",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_client_ca: Option<PathBuf>,
}

/// TLS settings of a client of gRPC services.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct PeerTlsArgs {
    /// Certificate authorities (PEM) of the services at https URLs
    #[arg(long, env = "MUSTER_PEER_CA", value_name = "FILE")]
    pub peer_ca: Option<PathBuf>,
    /// Certificate chain (PEM) of this client, for mutual TLS. Reloaded when the file changes
    #[arg(
        long,
        env = "MUSTER_PEER_CERT",
        value_name = "FILE",
        requires = "peer_key"
    )]
    pub peer_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(
        long,
        env = "MUSTER_PEER_KEY",
        value_name = "FILE",
        requires = "peer_cert"
    )]
    pub peer_key: Option<PathBuf>,
}

/// Accepts TLS connections.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    /// Longest time of a handshake.
    limit: Duration,
}

/// The protocol inside TLS, as ALPN negotiates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

impl ServerTlsArgs {
    /// Reads the files. Returns `None` without a certificate.
    ///
    /// # Errors
    /// When a file cannot be read, or key and certificate do not match.
    pub fn acceptor(
        &self,
        client_ca: &ClientCaArgs,
        protocol: Protocol,
    ) -> anyhow::Result<Option<Acceptor>> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        let provider = Arc::new(ring::default_provider());
        let identity = Identity::open(cert, key, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &client_ca.tls_client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(authorities(file)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(identity));
        config.alpn_protocols = vec![protocol.alpn()];
        Ok(Some(Acceptor {
            tls: TlsAcceptor::from(Arc::new(config)),
            limit: HANDSHAKE_TIMEOUT,
        }))
    }
}

impl Acceptor {
    /// Performs the handshake.
    ///
    /// # Errors
    /// When it fails or takes longer than 10 s.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<server::TlsStream<S>> {
        tokio::time::timeout(self.limit, self.tls.accept(stream)).await?
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor(..)")
    }
}

impl PeerTlsArgs {
    /// Reads the files.
    ///
    /// # Errors
    /// When no authority is given, a file cannot be read, or key and certificate do not match.
    pub fn connector(&self) -> anyhow::Result<Connector> {
        let ca = self.peer_ca.as_deref();
        let ca = ca.context("an https URL of a gRPC service needs --peer-ca FILE")?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(authorities(ca)?);
        let mut config = match (&self.peer_cert, &self.peer_key) {
            (Some(cert), Some(key)) => {
                let identity = Identity::open(cert, key, &provider)?;
                builder.with_client_cert_resolver(Arc::new(identity))
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![Protocol::Http2.alpn()];
        Ok(Connector(TlsConnector::from(Arc::new(config))))
    }
}

/// Makes TLS connections to gRPC services.
#[derive(Clone)]
pub struct Connector(TlsConnector);

impl Connector {
    /// Connects and performs the handshake.
    ///
    /// # Errors
    /// When the host cannot be reached, or its certificate is not valid for its name.
    pub async fn connect(&self, uri: &http::Uri) -> io::Result<client::TlsStream<TcpStream>> {
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
        stream.set_nodelay(true)?;
        self.0.connect(name, stream).await
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector(..)")
    }
}

impl Protocol {
    fn alpn(self) -> Vec<u8> {
        match self {
            Self::Http1 => b"http/1.1".to_vec(),
            Self::Http2 => b"h2".to_vec(),
        }
    }
}

/// A certificate chain with its key, reloaded when their files change.
#[derive(Debug)]
struct Identity(Reloading<CertifiedKey>);

impl Identity {
    fn open(cert: &Path, key: &Path, provider: &Arc<CryptoProvider>) -> anyhow::Result<Self> {
        let files = vec![cert.to_owned(), key.to_owned()];
        let (cert, key, provider) = (cert.to_owned(), key.to_owned(), Arc::clone(provider));
        let read = move || read_identity(&cert, &key, &provider);
        Reloading::open(files, read).map(Self)
    }
}

fn read_identity(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> anyhow::Result<CertifiedKey> {
    let chain = certificates(cert)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read the private key in {}", key.display()))?;
    CertifiedKey::from_der(chain, private, provider).with_context(|| {
        format!(
            "{} is not the key of the certificate in {}",
            key.display(),
            cert.display()
        )
    })
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certificates: Vec<_> = certificates
        .with_context(|| format!("cannot read the certificates in {}", file.display()))?;
    anyhow::ensure!(
        !certificates.is_empty(),
        "{} has no certificate",
        file.display()
    );
    Ok(certificates)
}

fn authorities(file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).with_context(|| {
            format!("{} has a certificate that is no authority", file.display())
        })?;
    }
    Ok(roots)
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Writes a new certificate with its key, and returns the certificate.
    fn issue(cert: &Path, key: &Path) -> Vec<u8> {
        let key_pair = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key_pair).unwrap();
        fs::write(cert, certificate.pem()).unwrap();
        fs::write(key, key_pair.serialize_pem()).unwrap();
        certificate.der().to_vec()
    }

    #[tokio::test]
    async fn a_handshake_that_stalls_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        issue(&cert, &key);
        let args = ServerTlsArgs {
            tls_cert: Some(cert),
            tls_key: Some(key),
        };
        let acceptor = args.acceptor(&ClientCaArgs::default(), Protocol::Http2);
        let mut acceptor = acceptor.unwrap().unwrap();
        acceptor.limit = Duration::from_millis(50);
        // Nothing, and the header of a handshake record without its content.
        for sent in [&[][..], &[22, 3, 1, 1, 0]] {
            let (mut client, server) = tokio::io::duplex(1024);
            client.write_all(sent).await.unwrap();
            let accepted = acceptor.accept(server).await;
            assert_eq!(accepted.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
    }

    #[test]
    fn a_certificate_is_replaced_without_a_restart() {
        let folder = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        fs::create_dir(&folder).unwrap();
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        let issue = || issue(&cert, &key);
        let first = issue();
        let provider = Arc::new(ring::default_provider());
        let mut identity = Identity::open(&cert, &key, &provider).unwrap();
        identity.0 = identity.0.eager();
        let shown = || {
            let shown = ResolvesClientCert::resolve(&identity, &[], &[]);
            shown.unwrap().cert[0].to_vec()
        };
        assert_eq!(shown(), first);
        let second = issue();
        assert_eq!(shown(), second);
        // A key that is not the certificate's changes nothing.
        fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert_eq!(shown(), second);
        fs::remove_dir_all(folder).unwrap();
    }
}
