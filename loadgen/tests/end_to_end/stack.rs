//! All of Muster: localcloud in this process; front, gateway and scaler as processes on ephemeral ports; and workers,
//! booted by localcloud because the scaler asked for them.

use std::collections::BTreeMap;
use std::time::Duration;

use platform::aws::Aws;
use platform::fleet::{FleetInstance, PowerState};
use platform::tls::PeerTlsArgs;
use proto::Names;
use proto::names::WORKER_INSTANCE;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{GetStatusRequest, ScalerStatus};
pub use testkit::{Answer, eventually};
use testkit::{
    LocalCloud, Service, Services, http_client, listen, program, samples, until_ready, upload,
};

pub const PREFIX: &str = "e2e";

pub struct Stack {
    pub aws: Aws,
    pub names: Names,
    url: String,
    cloud: LocalCloud,
    scaler_url: String,
    client: reqwest::Client,
    _services: [Service; 3],
}

impl Stack {
    /// Ready to serve, with no worker.
    pub async fn start(max_workers: u32) -> Self {
        Self::start_with(&["--max-workers", &max_workers.to_string()]).await
    }

    /// As `start`, with arguments for the scaler.
    pub async fn start_with(scaler_arguments: &[&str]) -> Self {
        let (listener, cloud_url) = listen().await;
        // Enrolls the people, which takes a while, before services wait for the cloud.
        samples::gallery();
        let services = Services::new(&cloud_url, PREFIX, &[]);
        let names = Names::new(PREFIX);
        let reply_queue = names.reply_queue();
        // The job of a killed worker soon comes back, and the queue has the name that graders expect.
        let arguments = ["--visibility-timeout=3", "--reply-queue", &reply_queue];
        let (front, front_url) = services.listen("front", &arguments).await;
        let to_front = ["--front", &front_url];
        let (gateway, url) = services.listen("gateway", &to_front).await;
        // Nothing is paid for here, and boots take a moment.
        let short = ["--billing-minimum=0s", "--boot-time=500ms"];
        let arguments = [&to_front[..], &short, scaler_arguments].concat();
        let (scaler, scaler_url) = services.listen("scaler", &arguments).await;
        let cloud = LocalCloud::serve(cloud_config(&cloud_url, &scaler_url), listener);

        let stack = Self {
            aws: cloud.aws(PREFIX).await,
            names,
            url,
            cloud,
            scaler_url,
            client: http_client(),
            _services: [front, gateway, scaler],
        };
        until_ready(&stack.url).await;
        stack
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn cloud_url(&self) -> &str {
        &self.cloud.url
    }

    /// Posts one photo as any HTTP client does.
    pub async fn post(&self, file_name: &str, photo: &[u8]) -> Answer {
        let answer = post(&self.client, &self.url, file_name, photo).await;
        answer.unwrap()
    }

    /// Posts all photos at once; the answers are in their order.
    pub async fn post_all(&self, photos: &[(String, Vec<u8>)]) -> Vec<Answer> {
        let posts = photos
            .iter()
            .map(|(file_name, photo)| self.post(file_name, photo));
        futures::future::join_all(posts).await
    }

    pub async fn workers(&self) -> Vec<FleetInstance> {
        workers(&self.aws).await
    }

    pub async fn running_workers(&self) -> usize {
        self.workers()
            .await
            .iter()
            .filter(|worker| worker.state == PowerState::Running)
            .count()
    }

    pub async fn until_no_worker_runs(&self) {
        until_no_worker_runs(&self.aws).await;
    }

    /// Has EC2 announce that it is going to take a spot instance away.
    pub async fn interrupt(&self, instance_id: &str, notice: Duration) {
        let url = format!("{}/_localcloud/ec2/interruptions", self.cloud.url);
        let request = serde_json::json!({
            "instance_id": instance_id,
            "notice_ms": notice.as_millis() as u64,
        });
        let answer = self.client.post(url).json(&request).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    pub async fn scaler_status(&self) -> ScalerStatus {
        let channel = platform::grpc::channel(&self.scaler_url, &PeerTlsArgs::default()).unwrap();
        ScalerClient::new(channel)
            .get_status(GetStatusRequest {})
            .await
            .unwrap()
            .into_inner()
    }

    /// The messages on all queues, visible and in flight.
    pub async fn messages(&self) -> u64 {
        let mut sum = 0;
        let replies = self.names.reply_queue();
        let mut names = self.aws.queue_names(&replies).await.unwrap();
        names.extend([self.names.request_queue(), self.names.dead_letter_queue()]);
        for name in names {
            let counters = self
                .aws
                .queue(&name)
                .await
                .unwrap()
                .counters()
                .await
                .unwrap();
            sum += counters.visible + counters.in_flight;
        }
        sum
    }
}

pub async fn workers(aws: &Aws) -> Vec<FleetInstance> {
    let wanted = format!("{WORKER_INSTANCE}*");
    aws.fleet().find(&wanted).await.unwrap()
}

pub async fn until_no_worker_runs(aws: &Aws) {
    eventually("no worker runs", async || {
        let workers = workers(aws).await;
        workers.iter().all(|it| it.state == PowerState::Stopped)
    })
    .await;
}

/// Posts one photo to a gateway; an error is the connection's.
pub async fn post(
    client: &reqwest::Client,
    url: &str,
    file_name: &str,
    photo: &[u8],
) -> reqwest::Result<Answer> {
    let form = upload(file_name, photo.to_vec());
    Answer::try_of(client.post(url).multipart(form)).await
}

/// Asserts that each photo was answered with the person that it shows.
#[track_caller]
pub fn assert_recognized(photos: &[(String, Vec<u8>)], people: &[String], answers: &[Answer]) {
    assert_eq!(answers.len(), photos.len());
    for ((file_name, _), (person, answer)) in photos.iter().zip(people.iter().zip(answers)) {
        answer.assert_recognized(&line(file_name, person));
    }
}

/// Returns the gateway's answer for a photo of this person.
pub fn line(file_name: &str, person: &str) -> String {
    let stem = file_name.split('.').next().unwrap();
    format!("{stem}:{person}")
}

/// The process id of the worker on this instance.
pub fn process_of(instance_id: &str) -> Option<i32> {
    let wanted = format!("EC2_INSTANCE_ID={instance_id}");
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .find_map(|entry| {
            let process: i32 = entry.file_name().to_str()?.parse().ok()?;
            let command = std::fs::read(entry.path().join("cmdline")).ok()?;
            let environment = std::fs::read(entry.path().join("environ")).ok()?;
            let is_worker = command
                .split(|byte| *byte == 0)
                .any(|word| word == b"serve");
            let is_instance = environment
                .split(|byte| *byte == 0)
                .any(|line| line == wanted.as_bytes());
            (is_worker && is_instance).then_some(process)
        })
}

/// `count` validation photos under distinct names, and who they show.
pub fn photos(count: usize) -> (Vec<(String, Vec<u8>)>, Vec<String>) {
    let labeled = samples::validation_photos();
    let chosen = labeled.iter().cycle().take(count).enumerate();
    chosen
        .map(|(index, (name, photo))| {
            let extension = photo.extension().unwrap().to_str().unwrap();
            (
                (
                    format!("test_{index:02}.{extension}"),
                    std::fs::read(photo).unwrap(),
                ),
                name.clone(),
            )
        })
        .unzip()
}

/// Returns the configuration of a cloud that boots workers.
pub fn cloud_config(cloud_url: &str, scaler_url: &str) -> localcloud::Config {
    localcloud::Config {
        images: vec![worker_image(cloud_url, scaler_url)],
        stop_grace: Duration::from_secs(5),
        ..localcloud::Config::default()
    }
}

pub fn worker_image(cloud_url: &str, scaler_url: &str) -> localcloud::Image {
    let (models, gallery) = (samples::models(), samples::gallery());
    let settings = [
        ("AWS_ENDPOINT_URL", cloud_url),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("MUSTER_PREFIX", PREFIX),
        ("MUSTER_SCALER", scaler_url),
        ("MUSTER_MODELS", models.to_str().unwrap()),
        ("MUSTER_ENGINE", "native"),
        ("MUSTER_INFERENCE_THREADS", "1"),
        ("MUSTER_GALLERY", gallery.to_str().unwrap()),
    ];
    let env: BTreeMap<_, _> = settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    localcloud::Image {
        id: "ami-muster-worker".to_owned(),
        name: None,
        command: vec![
            program("worker").to_str().unwrap().to_owned(),
            "serve".to_owned(),
        ],
        env,
        // Of the scaler's own user data.
        user_data_env: vec!["MUSTER_FLEET_TOKEN".to_owned()],
    }
}
