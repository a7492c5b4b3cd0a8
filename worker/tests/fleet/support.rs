//! A worker in this process, against localcloud, with the test as front and as scaler.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use clap::Parser;
use platform::aws::Aws;
use platform::objects::{Metadata, Objects};
use platform::queue::{Queue, QueueAttributes, Redrive};
use platform::shutdown::CancellationToken;
use proto::v1::{RecognitionJob, RecognitionResult};
use proto::{JobId, Names};
pub use testkit::eventually;
pub use testkit::samples::photo_of as photo;
use testkit::{LocalCloud, Program, TIMEOUT, plain_queue, samples};
use tokio::process::Command;
use tokio::task::JoinHandle;
use worker::service::{self, LinkedEngines, ServeArgs};

pub const PREFIX: &str = "test";

pub struct Bench {
    pub aws: Aws,
    pub photos: Objects,
    pub results: Objects,
    pub requests: Queue,
    pub replies: Queue,
    pub dead_letters: Queue,
    pub cloud: LocalCloud,
}

#[derive(Debug)]
pub struct RunningWorker {
    pub shutdown: CancellationToken,
    pub ended: JoinHandle<anyhow::Result<()>>,
}

impl Bench {
    /// A local cloud with buckets and queues as front makes them.
    pub async fn start() -> Self {
        let bench = Self::without_results().await;
        bench.results.ensure().await.unwrap();
        bench
    }

    /// As [`Bench::start`], but the bucket for results is missing.
    pub async fn without_results() -> Self {
        let bench = Self::without_buckets().await;
        bench.photos.ensure().await.unwrap();
        bench
    }

    /// As [`Bench::start`], but the store has no buckets.
    pub async fn without_buckets() -> Self {
        let cloud = LocalCloud::start(localcloud::Config::default()).await;
        let aws = cloud.aws(PREFIX).await;
        let names = Names::new(PREFIX);
        let photos = aws.objects(names.in_bucket());
        let results = aws.objects(names.out_bucket());
        let plain = plain_queue(Duration::from_secs(3));
        let dead_letters = aws
            .ensure_queue(&names.dead_letter_queue(), &plain)
            .await
            .unwrap();
        let replies = aws
            .ensure_queue(&names.reply_queue(), &plain)
            .await
            .unwrap();
        let redrive = Redrive {
            dead_letter_queue: dead_letters.clone(),
            max_receive_count: 5,
        };
        let attributes = QueueAttributes {
            maximum_message_size: Some(proto::names::REQUEST_MAX_BYTES),
            redrive: Some(redrive),
            ..plain
        };
        let requests = aws
            .ensure_queue(&names.request_queue(), &attributes)
            .await
            .unwrap();
        Self {
            aws,
            photos,
            results,
            requests,
            replies,
            dead_letters,
            cloud,
        }
    }

    /// As [`Bench::start`], with a worker.
    pub async fn with_worker() -> (Self, RunningWorker) {
        let bench = Self::start().await;
        let worker = bench.worker(&[]);
        (bench, worker)
    }

    /// Starts a worker with these further arguments.
    pub fn worker(&self, arguments: &[&str]) -> RunningWorker {
        #[derive(Debug, Parser)]
        #[command(args_override_self = true)]
        struct Cli {
            #[command(flatten)]
            serve: ServeArgs,
        }
        let all = self.arguments();
        let arguments = arguments.iter().copied().map(str::to_owned);
        let cli = Cli::try_parse_from(all.into_iter().chain(arguments)).unwrap();
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(service::run(
            cli.serve,
            LinkedEngines::NATIVE_ONLY,
            self.aws.clone(),
            shutdown.clone(),
        ));
        RunningWorker { shutdown, ended }
    }

    /// Starts a worker as a process of its own.
    pub fn worker_process(&self, arguments: &[&str]) -> Program {
        let mut all = self.arguments();
        all[0] = "serve".to_owned();
        let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
        Program::start(command.args(all).args(arguments))
    }

    /// What every worker is told, after the program's name.
    fn arguments(&self) -> Vec<String> {
        let (models, gallery) = (samples::models(), samples::gallery());
        [
            "worker",
            "--models",
            models.to_str().unwrap(),
            "--gallery",
            gallery.to_str().unwrap(),
            "--instance-id",
            "i-test",
            "--engine",
            "native",
            "--prefix",
            PREFIX,
            "--aws-endpoint-url",
            &self.cloud.url,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Has SQS refuse every call of this action, from now on.
    pub async fn refuse(&self, action: &str) {
        let fault = serde_json::json!({
            "call": [{ "service": "sqs", "action": action, "error": { "code": "ServiceUnavailable", "status": 503 } }],
        });
        self.cloud.inject(&fault.to_string()).await;
    }

    /// Stores a photo.
    pub async fn put(&self, key: &str, photo: &[u8]) {
        let body = Bytes::copy_from_slice(photo);
        let put = self.photos.put(key, body, Metadata::new());
        put.await.unwrap();
    }

    /// Stores the photo and sends a job for it, as front does.
    pub async fn submit(&self, file_name: &str, photo: &[u8]) -> String {
        self.put(file_name, photo).await;
        self.send(job(file_name)).await
    }

    pub async fn send(&self, job: RecognitionJob) -> String {
        let id = job.job_id.clone();
        self.requests.send(proto::encode(&job)).await.unwrap();
        id
    }

    /// The next reply.
    pub async fn reply(&self) -> RecognitionResult {
        let started = Instant::now();
        while started.elapsed() < TIMEOUT {
            let received = self
                .replies
                .receive(1, Duration::from_secs(5))
                .await
                .unwrap();
            if let Some(message) = received.first() {
                self.replies.delete(&message.receipt_handle).await.unwrap();
                return proto::decode(&message.body).unwrap();
            }
        }
        panic!("no reply came within {TIMEOUT:?}");
    }

    /// Waits until this many jobs are in flight at once.
    pub async fn in_flight(&self, jobs: u64) {
        eventually("the jobs are in flight", async || {
            self.requests.counters().await.unwrap().in_flight == jobs
        })
        .await;
    }

    /// Waits until the request queue holds nothing, neither visible nor in flight.
    pub async fn drained(&self) {
        eventually("the request queue is empty", async || {
            let counters = self.requests.counters().await.unwrap();
            counters.visible + counters.in_flight == 0
        })
        .await;
    }

    pub async fn result(&self, key: &str) -> String {
        String::from_utf8(self.results.get(key).await.unwrap().to_vec()).unwrap()
    }
}

impl RunningWorker {
    /// Asks the worker to end and waits for it.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.ended.await.unwrap().unwrap();
    }
}

/// A job for the object of this name with a deadline far away.
pub fn job(file_name: &str) -> RecognitionJob {
    RecognitionJob {
        job_id: JobId::random().to_string(),
        object_key: file_name.to_owned(),
        file_name: String::new(),
        reply_queue: Names::new(PREFIX).reply_queue(),
        deadline: Some((SystemTime::now() + Duration::from_secs(600)).into()),
        photo_sha256: String::new(),
        time_to_live_ms: 600_000,
        traceparent: String::new(),
        frame: None,
    }
}

/// A photo without a face, so large that tests see the worker at work on it.
pub fn slow_photo() -> Vec<u8> {
    gray_photo(6000)
}

/// A photo without a face, with so many pixels a side.
pub fn gray_photo(side: u32) -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::GrayImage::from_pixel(side, side, image::Luma([140]))
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    png.into_inner()
}
