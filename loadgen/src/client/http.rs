//! HTTP/1.1 with connections that are kept and forms that are made before the run: a generator must cost little itself.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

use super::{CONNECT_TIMEOUT, MAX_IDLE, SendError, broken, first_line, not_connected};
use crate::target::TargetArgs;

/// The form's part with the photo.
const PART: &str = "inputFile";
const MAX_RESPONSE_BYTES: usize = 1 << 20;

#[derive(Debug, Clone)]
pub struct Http {
    client: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    boundary: String,
    timeout: Duration,
}

impl Http {
    pub fn new(target: &TargetArgs) -> anyhow::Result<Self> {
        let url = target.url.as_str();
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(target)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(MAX_IDLE)
            .build(connector);
        // Random, so that no photo has it.
        let mut random: Xoshiro256PlusPlus = rand::make_rng();
        let boundary = format!("loadgen-{:032x}", random.random::<u128>());
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::try_from(content_type)?);
        if let Some(key) = target.key.key()? {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Self {
            client,
            uri: Uri::try_from(url).with_context(|| format!("{url} is not an address"))?,
            headers,
            boundary,
            timeout: target.timeout,
        })
    }

    /// Returns the form with one photo. Its name is not encoded, as browsers and curl send it.
    pub fn form(&self, file_name: &str, image: &[u8]) -> Bytes {
        let boundary = &self.boundary;
        let file_name = file_name
            .replace('"', "%22")
            .replace('\r', "%0D")
            .replace('\n', "%0A");
        let mut form = BytesMut::from(
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{PART}\"; filename=\"{file_name}\"\r\n\r\n"
            )
            .as_bytes(),
        );
        form.extend_from_slice(image);
        form.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        form.freeze()
    }

    /// Posts a form and returns the text of the response.
    pub async fn post(&self, form: Bytes) -> Result<String, SendError> {
        let mut request = Request::new(Full::new(form));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                if error.is_connect() {
                    not_connected()
                } else {
                    broken()
                }
            })?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES);
            let body = body.collect().await.map_err(|_| broken())?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        let (status, text) = tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or(Err(SendError::Timeout))?;
        if status == 200 {
            return Ok(text);
        }
        Err(SendError::Status {
            status,
            message: first_line(&text),
        })
    }
}

/// Trusts the machine's authorities and those in the file. They are not read for http.
fn tls(target: &TargetArgs) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    if target.url.scheme() != "https" {
        let none = builder.with_root_certificates(RootCertStore::empty());
        return Ok(none.with_no_client_auth());
    }
    let extra: Vec<CertificateDer<'static>> = match &target.tls.peer_ca {
        Some(file) => CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect)
            .with_context(|| format!("cannot read the certificates in {}", file.display()))?,
        None => Vec::new(),
    };
    let verifier = Verifier::new_with_extra_roots(extra, provider)?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}
