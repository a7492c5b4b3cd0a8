//! The client of the service under test, by HTTP or gRPC. It connects directly, never through a proxy.

mod grpc;
mod http;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use tonic::Code;

use crate::target::TargetArgs;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections are closed after this time, before most servers do.
const MAX_IDLE: Duration = Duration::from_secs(10);
/// Characters of an error's text that are shown.
const MAX_REASON: usize = 200;

/// A client of the service under test. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
    url: reqwest::Url,
}

#[derive(Debug, Clone)]
enum Transport {
    Http(Box<http::Http>),
    Grpc(grpc::Grpc),
}

/// A photo, encoded for the wire. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct EncodedPhoto(Encoded);

#[derive(Debug, Clone)]
enum Encoded {
    /// A multipart body.
    Http(Bytes),
    Grpc(proto::v1::RecognizeRequest),
}

/// Why a request failed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SendError {
    /// The connection could not be made, or broke. A retry may help.
    #[error("{0}")]
    Connection(String),
    #[error("no answer in time")]
    Timeout,
    #[error("HTTP {status}: {message}")]
    Status { status: u16, message: String },
    #[error("gRPC {code:?}: {message}")]
    Grpc { code: Code, message: String },
}

impl SendError {
    /// Returns whether the service looked at the photo and cannot name any person on it, for instance because it has no
    /// face.
    #[must_use]
    pub fn is_refused_photo(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Timeout => false,
            Self::Status { status, .. } => matches!(status, 413 | 415 | 422),
            Self::Grpc { code, .. } => *code == Code::InvalidArgument,
        }
    }
}

impl Client {
    /// # Errors
    /// When TLS certificates or the API key cannot be read.
    pub fn new(target: &TargetArgs) -> anyhow::Result<Self> {
        let transport = if target.is_grpc() {
            Transport::Grpc(grpc::Grpc::new(target)?)
        } else {
            Transport::Http(Box::new(http::Http::new(target)?))
        };
        Ok(Self {
            transport,
            url: target.url.clone(),
        })
    }

    #[must_use]
    pub fn url(&self) -> &reqwest::Url {
        &self.url
    }

    /// Encodes one photo.
    #[must_use]
    pub fn encode(&self, file_name: &str, image: &Bytes) -> EncodedPhoto {
        EncodedPhoto(match &self.transport {
            Transport::Http(http) => Encoded::Http(http.form(file_name, image)),
            Transport::Grpc(_) => Encoded::Grpc(proto::v1::RecognizeRequest {
                file_name: file_name.to_owned(),
                image: image.clone(),
            }),
        })
    }

    /// Sends one photo and returns `<stem>:<name>`, as the response to HTTP has it.
    ///
    /// # Errors
    /// When there is no response with a name.
    pub async fn send(&self, photo: EncodedPhoto) -> Result<String, SendError> {
        match (&self.transport, photo.0) {
            (Transport::Http(http), Encoded::Http(form)) => http.post(form).await,
            (Transport::Grpc(grpc), Encoded::Grpc(request)) => grpc.call(request).await,
            _ => unreachable!("a client sends what it encoded"),
        }
    }

    /// Connects and disconnects.
    ///
    /// # Errors
    /// When nothing listens at the address.
    pub async fn check_reachable(&self) -> anyhow::Result<()> {
        let host = self
            .url
            .host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        let port = self.url.port_or_known_default().unwrap_or(80);
        let connecting = tokio::net::TcpStream::connect((host, port));
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        let refused = match connected {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
        };
        let url = &self.url;
        anyhow::bail!(
            "{url} cannot be reached ({refused}); start the service, or give its address with --url"
        )
    }
}

/// Makes a client for health and metrics that uses no proxy for this machine. It trusts the authorities in the file and the
/// machine's.
///
/// # Errors
/// When TLS certificates cannot be read.
pub fn http_client(
    url: &reqwest::Url,
    timeout: Duration,
    authorities: Option<&Path>,
) -> anyhow::Result<reqwest::Client> {
    // Only the first call installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .tcp_nodelay(true)
        .pool_idle_timeout(MAX_IDLE);
    if let Some(file) = authorities {
        let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem)?);
    }
    if matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
        builder = builder.no_proxy();
    }
    builder.build().context("cannot make an HTTP client")
}

fn broken() -> SendError {
    SendError::Connection("the connection broke".to_owned())
}

fn not_connected() -> SendError {
    SendError::Connection("no connection".to_owned())
}

fn first_line(text: &str) -> String {
    let line = text
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("(no text)")
        .trim();
    line.chars().take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_short_line() {
        assert_eq!(first_line("\n  not an image \nsecond"), "not an image");
        assert_eq!(first_line(""), "(no text)");
        assert_eq!(first_line(&"é".repeat(500)).chars().count(), MAX_REASON);
    }
}
