//! A localcloud for each test, and clients for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_http_client::{Builder, tls};
use localcloud::{Authentication, Config, Ec2Faults, Image, RunError};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The deadline of every wait. Far more than it should take, for busy machines.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A running localcloud.
pub struct Cloud {
    pub endpoint: String,
    data: TempDir,
    shutdown: oneshot::Sender<()>,
    running: JoinHandle<Result<(), RunError>>,
}

impl Cloud {
    /// Starts an empty localcloud.
    pub async fn start() -> Self {
        Self::with(Config::default()).await
    }

    /// Starts a localcloud with an image `ami-test` that runs a shell script.
    pub async fn with_image(script: &str) -> Self {
        Self::with_ec2_faults(script, Ec2Faults::default()).await
    }

    /// As `with_image`, with faults of EC2.
    pub async fn with_ec2_faults(script: &str, faults: Ec2Faults) -> Self {
        Self::with(Config {
            images: vec![image("ami-test", script)],
            faults: faults.into(),
            ..Config::default()
        })
        .await
    }

    /// Starts a localcloud that accepts unsigned requests, for requests that tests write by hand.
    pub async fn for_everybody() -> Self {
        Self::with(Config {
            authentication: Authentication::Any,
            ..Config::default()
        })
        .await
    }

    /// Starts a localcloud over a new data folder.
    pub async fn with(config: Config) -> Self {
        Self::over(tempfile::tempdir().unwrap(), config).await
    }

    /// Starts a localcloud over the data folder of an earlier one.
    pub async fn over(data: TempDir, mut config: Config) -> Self {
        config.data = Some(data.path().to_owned());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (shutdown, asked) = oneshot::channel();
        let running = tokio::spawn(localcloud::run(config, listener, async {
            let _ = asked.await;
        }));
        Self {
            endpoint,
            data,
            shutdown,
            running,
        }
    }

    /// Shuts down, waits for the end and returns the data folder.
    pub async fn stop(self) -> TempDir {
        self.shutdown.send(()).unwrap();
        tokio::time::timeout(TIMEOUT, self.running)
            .await
            .expect("ends in time")
            .unwrap()
            .unwrap();
        self.data
    }

    pub fn data_folder(&self) -> &std::path::Path {
        self.data.path()
    }

    pub fn sdk(&self) -> SdkConfig {
        sdk(&self.endpoint, "test")
    }

    pub fn s3(&self) -> aws_sdk_s3::Client {
        s3(&self.sdk())
    }

    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.sdk())
    }

    /// Returns a client that does not retry throttled calls.
    pub fn lambda(&self) -> aws_sdk_lambda::Client {
        aws_sdk_lambda::Client::new(&without_retries(&self.sdk()))
    }

    pub fn ec2(&self) -> aws_sdk_ec2::Client {
        aws_sdk_ec2::Client::new(&self.sdk())
    }

    /// Returns a client that does not retry throttled calls and missing capacity.
    pub fn ec2_without_retries(&self) -> aws_sdk_ec2::Client {
        ec2_without_retries(&self.endpoint)
    }

    /// Returns the folder of an instance's log and user data.
    pub fn folder_of(&self, instance_id: &str) -> PathBuf {
        self.data.path().join("instances").join(instance_id)
    }

    pub fn console_log(&self, instance_id: &str) -> PathBuf {
        self.folder_of(instance_id).join("console.log")
    }

    /// Waits until the log of an instance contains a text, and returns the log.
    pub async fn logged(&self, instance_id: &str, text: &str) -> String {
        let log = self.console_log(instance_id);
        eventually(&format!("{instance_id} logs {text:?}"), || async {
            let log = std::fs::read_to_string(&log).ok()?;
            log.contains(text).then_some(log)
        })
        .await
    }

    /// Replaces the faults with others, as TOML.
    pub async fn set_faults(&self, toml: &str) {
        let headers = "Content-Type: application/toml\r\n";
        let put = request("PUT", "/_localcloud/faults", headers, toml);
        let (status, body) = raw(&self.endpoint, &put).await;
        assert_eq!(status, 200, "{body}");
    }
}

/// Returns the configuration of clients with a secret for the key `test`.
pub fn sdk(endpoint: &str, secret_key: &str) -> SdkConfig {
    sdk_signed_by(endpoint, "test", secret_key)
}

pub fn sdk_signed_by(endpoint: &str, access_key: &str, secret_key: &str) -> SdkConfig {
    let credentials = Credentials::new(access_key, secret_key, None, None, "tests");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client())
        .build()
}

/// The SDK is built without an HTTP client of its own.
pub fn http_client() -> aws_sdk_ec2::config::SharedHttpClient {
    Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https()
}

pub fn ec2_without_retries(endpoint: &str) -> aws_sdk_ec2::Client {
    aws_sdk_ec2::Client::new(&without_retries(&sdk(endpoint, "test")))
}

/// Returns the configuration of clients that return the first error.
pub fn without_retries(config: &SdkConfig) -> SdkConfig {
    let config = config.to_builder();
    config.retry_config(RetryConfig::disabled()).build()
}

pub fn s3(sdk: &SdkConfig) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(sdk)
        .force_path_style(true)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

pub fn image(id: &str, script: &str) -> Image {
    Image {
        id: id.to_owned(),
        name: Some(format!("{id}-name")),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::from([("FROM_IMAGE".to_owned(), "yes".to_owned())]),
        user_data_env: Vec::new(),
    }
}

/// Polls until `ask` returns something. Fails at the deadline.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the code of a service's error, as the SDK reads it.
pub fn code<E, R>(error: aws_sdk_s3::error::SdkError<E, R>) -> String
where
    E: aws_sdk_s3::error::ProvideErrorMetadata + std::fmt::Debug,
    R: std::fmt::Debug,
{
    let text = format!("{error:?}");
    error
        .as_service_error()
        .and_then(|error| error.code())
        .map_or(text, str::to_owned)
}

/// As `code`, with the HTTP status.
pub fn status_and_code<E>(
    error: aws_sdk_ec2::error::SdkError<E, aws_sdk_ec2::config::http::HttpResponse>,
) -> (u16, String)
where
    E: aws_sdk_s3::error::ProvideErrorMetadata + std::fmt::Debug,
{
    let status = error
        .raw_response()
        .map_or(0, |response| response.status().as_u16());
    (status, code(error))
}

/// Sends an unsigned GET. Returns status and body.
pub async fn get(endpoint: &str, path: &str) -> (u16, String) {
    raw(
        endpoint,
        &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
    .await
}

/// Sends an HTTP request as text. Returns status and body.
pub async fn raw(endpoint: &str, request: &str) -> (u16, String) {
    let reply = raw_text(endpoint, request).await.unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Sends an HTTP request as text. Returns everything that arrives until the connection ends.
pub async fn raw_text(endpoint: &str, request: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(endpoint.trim_start_matches("http://")).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    Ok(reply)
}

/// Returns an HTTP request with a body, as text.
pub fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}
