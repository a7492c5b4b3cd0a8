//! The HTTP client.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use platform::token::Token;
use reqwest::multipart::{Form, Part};

use crate::cli::TargetArgs;

/// The form's part with the photo.
const PART: &str = "inputFile";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of an error's text that are shown.
const MAX_REASON: usize = 200;

/// A client of the service under test.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: reqwest::Url,
    key: Option<Token>,
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
}

impl Client {
    /// # Errors
    /// When TLS certificates or the API key cannot be read.
    pub fn new(target: &TargetArgs) -> anyhow::Result<Self> {
        Ok(Self {
            http: http_client(&target.url, target.timeout, target.tls.peer_ca.as_deref())?,
            url: target.url.clone(),
            key: target.key.key()?,
        })
    }

    #[must_use]
    pub fn url(&self) -> &reqwest::Url {
        &self.url
    }

    /// Posts one photo and returns the text of the response.
    ///
    /// # Errors
    /// When there is no response with status 200.
    pub async fn send(&self, file_name: &str, image: Bytes) -> Result<String, SendError> {
        let part = Part::stream(image).file_name(file_name.to_owned());
        // The name is not encoded, as browsers and curl send it.
        let form = Form::new().percent_encode_noop().part(PART, part);
        let mut request = self.http.post(self.url.clone()).multipart(form);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose());
        }
        let response = request.send().await.map_err(classify)?;
        let status = response.status();
        let text = response.text().await.map_err(classify)?;
        if status.as_u16() == 200 {
            return Ok(text);
        }
        Err(SendError::Status {
            status: status.as_u16(),
            message: first_line(&text),
        })
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

/// Makes a client that uses no proxy for this machine. It trusts the authorities in the file and the machine's.
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
        .pool_idle_timeout(Duration::from_secs(10));
    if let Some(file) = authorities {
        let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem)?);
    }
    if matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
        builder = builder.no_proxy();
    }
    builder.build().context("cannot make an HTTP client")
}

fn classify(error: reqwest::Error) -> SendError {
    if error.is_connect() {
        return SendError::Connection("no connection".to_owned());
    }
    if error.is_timeout() {
        return SendError::Timeout;
    }
    SendError::Connection("the connection broke".to_owned())
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
