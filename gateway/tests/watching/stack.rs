//! front, gateway and workers as processes, on a local cloud in this one.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use testkit::{
    LocalCloud, Program, eventually, http_client, program, samples, until_ready, upload,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

pub const PREFIX: &str = "watched";

pub struct Stack {
    pub cloud: LocalCloud,
    pub front: Service,
    pub gateway: Service,
    url: String,
    settings: Settings,
}

/// Variables of the services' environment.
type Settings = Vec<(String, String)>;

/// A running program and its log.
pub struct Service {
    pub program: Program,
    log: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub request_id: String,
    pub text: String,
}

impl Stack {
    /// Starts front and gateway with these settings, and no worker.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let cloud = LocalCloud::start(localcloud::Config::default()).await;
        let common = [
            ("AWS_ENDPOINT_URL", cloud.url.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("NO_PROXY", "127.0.0.1"),
            ("MUSTER_PREFIX", PREFIX),
            ("MUSTER_LOG", "info,gateway=debug,worker=debug"),
            ("MUSTER_LOG_FORMAT", "json"),
            // The job of a worker that died comes back soon, and spans are sent soon.
            ("MUSTER_VISIBILITY_TIMEOUT", "3"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ];
        let settings: Settings = common
            .iter()
            .chain(settings)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let anywhere = ["--listen", "127.0.0.1:0"];
        let front = Service::start(env!("CARGO_BIN_EXE_front").as_ref(), &anywhere, &settings);
        let address = front.address("front serves gRPC").await;
        let of_front = format!("http://{address}");
        let arguments = [&anywhere[..], &["--front", &of_front]].concat();
        let gateway = Service::start(
            env!("CARGO_BIN_EXE_gateway").as_ref(),
            &arguments,
            &settings,
        );
        let url = format!("http://{}", gateway.address("gateway serves HTTP").await);
        until_ready(&url).await;
        Self {
            cloud,
            front,
            gateway,
            url,
            settings,
        }
    }

    /// Starts a worker, and waits until it is ready.
    pub async fn worker(&self, instance_id: &str) -> Service {
        let (models, gallery) = (samples::models(), samples::gallery());
        let arguments = [
            "serve",
            "--engine=native",
            "--inference-threads=1",
            "--instance-id",
            instance_id,
            "--models",
            models.to_str().unwrap(),
            "--gallery",
            gallery.to_str().unwrap(),
        ];
        let worker = Service::start(&program("worker"), &arguments, &self.settings);
        eventually("the worker is ready", async || {
            !worker.lines("ready").is_empty()
        })
        .await;
        worker
    }

    /// Posts a photo, with a `traceparent` if it is given.
    pub async fn post(&self, file_name: &str, photo: Vec<u8>, traceparent: Option<&str>) -> Answer {
        let form = upload(file_name, photo);
        let mut request = http_client().post(&self.url).multipart(form);
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        let answer = request.send().await.unwrap();
        let id = answer.headers().get("x-request-id").unwrap();
        Answer {
            status: answer.status().as_u16(),
            request_id: id.to_str().unwrap().to_owned(),
            text: answer.text().await.unwrap(),
        }
    }
}

impl Service {
    fn start(program: &Path, arguments: &[&str], settings: &Settings) -> Self {
        let mut program = Program::start(
            Command::new(program)
                .args(arguments)
                .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
                .envs(settings.iter().cloned())
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
        Self { program, log }
    }

    async fn address(&self, message: &str) -> String {
        eventually("it listens", async || !self.lines(message).is_empty()).await;
        let line = self.lines(message).swap_remove(0);
        line["fields"]["address"].as_str().unwrap().to_owned()
    }

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

/// A photo of somebody in the gallery.
pub fn photo() -> Vec<u8> {
    std::fs::read(&samples::validation_photos()[0].1).unwrap()
}
