//! The servers to measure. Each is a process on a free port that ends when it is dropped.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_http_client::{Builder, tls};
use tempfile::TempDir;

/// A running server.
pub struct Server {
    process: Child,
    endpoint: String,
    keeps_data: bool,
    _folder: TempDir,
}

const STARTS_WITHIN: Duration = Duration::from_secs(60);

impl Server {
    /// Starts localcloud with a file of faults, which may be empty, with or without a data folder.
    pub fn localcloud(faults: &str, with_data: bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let faults_file = folder.path().join("faults.toml");
        std::fs::write(&faults_file, faults)?;
        let config = folder.path().join("cloud.toml");
        std::fs::write(&config, "[[image]]\nid = 'ami-bench'\ncommand = ['true']\n")?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_localcloud"));
        command
            .args(["--listen", "127.0.0.1:0", "--max-instances", "2000"])
            .arg("--faults")
            .arg(&faults_file)
            .arg("--config")
            .arg(&config)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped());
        if with_data {
            command.arg("--data").arg(folder.path().join("data"));
        }
        let mut process = command.spawn().context("cannot start localcloud")?;
        let log = process.stderr.take().context("localcloud has no log")?;
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| {
                let (_, rest) = line.split_once("address=")?;
                Some(rest.split(' ').next().unwrap_or_default().to_owned())
            })
            .context("localcloud ended before it served")?;
        // The process would block if the pipe were full.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self {
            process,
            endpoint: format!("http://{address}"),
            keeps_data: with_data,
            _folder: folder,
        })
    }

    /// Starts moto's server.
    pub async fn moto(program: &Path) -> anyhow::Result<Self> {
        // Released at once: moto can neither choose a free port nor print it.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let server = Self {
            process,
            endpoint: format!("http://127.0.0.1:{port}"),
            keeps_data: false,
            _folder: tempfile::tempdir()?,
        };
        let deadline = Instant::now() + STARTS_WITHIN;
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            if Instant::now() > deadline {
                bail!("moto did not start within a minute");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(server)
    }

    pub fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.sdk())
            .force_path_style(true)
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.sdk())
    }

    pub fn ec2(&self) -> aws_sdk_ec2::Client {
        aws_sdk_ec2::Client::new(&self.sdk())
    }

    /// Returns whether the server has a data folder.
    pub fn keeps_data(&self) -> bool {
        self.keeps_data
    }

    /// Returns the resident memory in MiB.
    pub fn resident_mb(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let kilobytes: f64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .context("/proc has no VmRSS")?;
        Ok(kilobytes / 1024.0)
    }

    fn sdk(&self) -> SdkConfig {
        let http = Builder::new()
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::Ring,
            ))
            .build_https();
        let credentials = Credentials::new("test", "test", None, None, "bench");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(&self.endpoint)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(http)
            .build()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, so that localcloud removes its temporary folder.
        let _ = Command::new("kill")
            .arg(self.process.id().to_string())
            .status();
        let _ = self.process.wait();
    }
}
