//! Services of this build, as processes that a test configures by their flags and environment.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::{Program, eventually, program};

/// What front, gateway and scaler log with their address.
const LISTENING: [&str; 3] = ["front serves gRPC", "gateway serves HTTP", "scaling"];

/// The environment that the services of one stack share.
pub struct Services {
    variables: Vec<(String, String)>,
}

/// A running program and its log, which is printed if the test fails.
pub struct Service {
    pub program: Program,
    log: Arc<Mutex<Vec<String>>>,
}

impl Services {
    /// Returns the environment for a cloud at this URL, which need not run yet, with `more` variables.
    pub fn new(cloud_url: &str, prefix: &str, more: &[(&str, &str)]) -> Self {
        let common = [
            ("AWS_ENDPOINT_URL", cloud_url),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("NO_PROXY", "127.0.0.1"),
            ("MUSTER_PREFIX", prefix),
            ("MUSTER_LOG", "info"),
            ("MUSTER_LOG_FORMAT", "json"),
        ];
        let variables = common
            .iter()
            .chain(more)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self { variables }
    }

    /// Starts a program.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Service {
        let mut program = Program::start(
            Command::new(program(name))
                .args(arguments)
                .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
                .envs(self.variables.iter().cloned())
                .stderr(Stdio::piped()),
        );
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        let mut lines = BufReader::new(program.process.stderr.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().unwrap().push(line);
            }
        });
        Service { program, log }
    }

    /// Starts front, gateway or scaler on a free port. Returns it with its URL once it listens.
    pub async fn listen(&self, name: &str, arguments: &[&str]) -> (Service, String) {
        let arguments = [&["--listen", "127.0.0.1:0"][..], arguments].concat();
        let service = self.start(name, &arguments);
        let mut listening = Vec::new();
        eventually(&format!("{name} listens"), async || {
            listening = LISTENING.map(|it| service.lines(it)).concat();
            !listening.is_empty()
        })
        .await;
        let address = listening[0]["fields"]["address"].as_str().unwrap();
        let url = format!("http://{address}");
        (service, url)
    }
}

impl Service {
    /// Returns the log so far; each line is JSON.
    pub fn log(&self) -> Vec<Value> {
        let log = self.log.lock().unwrap();
        let parsed = |line: &String| serde_json::from_str(line).expect(line);
        log.iter().map(parsed).collect()
    }

    /// Returns the lines with this message.
    pub fn lines(&self, message: &str) -> Vec<Value> {
        let mut log = self.log();
        log.retain(|line| line["fields"]["message"] == message);
        log
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            eprintln!("{}", log.join("\n"));
        }
    }
}
