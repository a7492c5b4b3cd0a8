use std::time::Duration;

use gateway::front::Deployment;
use gateway::{front, http};
use platform::objects::Objects;
use platform::queue::Queue;
use platform::tls::PeerTlsArgs;
use proto::Names;
use proto::v1::demand_client::DemandClient;
use proto::v1::recognizer_client::RecognizerClient;
use proto::v1::{DemandUpdate, WatchDemandRequest};
pub use testkit::Answer;
use testkit::{LocalCloud, TIMEOUT, eventually, http_client, listen, parse, until_ready, upload};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// A local cloud, front and gateway of one test; they end with it.
pub struct Stack {
    /// Of the HTTP gateway.
    pub url: String,
    pub client: reqwest::Client,
    pub deployment: Deployment,
    pub front: Channel,
    pub stop_front: CancellationToken,
    pub front_ended: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
    cloud: Option<LocalCloud>,
}

impl Stack {
    pub async fn start() -> Self {
        Self::configured(|_, _| {}).await
    }

    /// Ready to serve, with a configuration that the test changed.
    pub async fn configured(change: impl FnOnce(&mut front::Config, &mut http::Config)) -> Self {
        Self::with_faults(localcloud::Faults::default(), change).await
    }

    /// The same in a cloud with these faults.
    pub async fn with_faults(
        faults: localcloud::Faults,
        change: impl FnOnce(&mut front::Config, &mut http::Config),
    ) -> Self {
        let (cloud, url) = listen().await;
        let mut stack = Self::in_cloud(&url, change).await;
        let config = localcloud::Config {
            faults,
            ..localcloud::Config::default()
        };
        stack.cloud = Some(LocalCloud::serve(config, cloud));
        stack.until_ready().await;
        stack
    }

    /// Front and gateway alone: the cloud at this URL is the test's.
    pub async fn in_cloud(
        cloud_url: &str,
        change: impl FnOnce(&mut front::Config, &mut http::Config),
    ) -> Self {
        let (front_listener, front_url) = listen().await;
        let (http_listener, url) = listen().await;
        let mut http_config = http::Config {
            front: front_url.clone(),
            ..parse(&[])
        };
        let mut front_config = front::Config {
            drain_deadline: Duration::from_secs(5),
            ..parse(&[])
        };
        change(&mut front_config, &mut http_config);

        let stop = CancellationToken::new();
        let stop_front = stop.child_token();
        let deployment = deployment(cloud_url).await;
        let front_ended = tokio::spawn(front::run(
            front_config,
            deployment.clone(),
            front_listener,
            stop_front.clone(),
        ));
        tokio::spawn(http::run(http_config, http_listener, stop.clone()));
        let front = platform::grpc::channel(&front_url, &PeerTlsArgs::default()).unwrap();
        let client = http_client();
        Self {
            url,
            client,
            deployment,
            front,
            stop_front,
            front_ended,
            stop,
            cloud: None,
        }
    }

    pub async fn until_ready(&self) {
        until_ready(&self.url).await;
    }

    pub async fn status_of(&self, path: &str) -> u16 {
        Answer::status_of(self.client.get(format!("{}{path}", self.url))).await
    }

    /// Posts one photo as `inputFile`.
    pub async fn post(&self, file_name: &str, photo: &[u8]) -> Answer {
        let form = upload(file_name, photo.to_vec());
        Answer::of(self.client.post(&self.url).multipart(form)).await
    }

    /// Posts a body that was put together by hand.
    pub async fn post_raw(&self, content_type: &str, body: Vec<u8>) -> Answer {
        let request = self
            .client
            .post(&self.url)
            .header("content-type", content_type)
            .body(body);
        Answer::of(request).await
    }

    pub fn recognizer(&self) -> RecognizerClient<Channel> {
        RecognizerClient::new(self.front.clone())
    }

    pub fn in_bucket(&self) -> Objects {
        self.deployment
            .aws
            .objects(self.deployment.names.in_bucket())
    }

    pub async fn photos(&self) -> Vec<String> {
        self.in_bucket().keys().await.unwrap()
    }

    pub async fn queue(&self, name: String) -> Queue {
        self.deployment.aws.queue(&name).await.unwrap()
    }

    /// The names of all fronts' reply queues, but for those that have other names.
    pub async fn reply_queues(&self) -> Vec<String> {
        let Deployment { aws, names } = &self.deployment;
        aws.queue_names(&names.reply_queue()).await.unwrap()
    }

    /// The first demand that fits.
    pub async fn until_demand(&self, fits: impl Fn(&DemandUpdate) -> bool) -> DemandUpdate {
        let mut client = DemandClient::new(self.front.clone());
        let mut updates = client
            .watch_demand(WatchDemandRequest {})
            .await
            .unwrap()
            .into_inner();
        let search = async {
            loop {
                let update = updates.message().await.unwrap().expect("front goes on");
                if fits(&update) {
                    return update;
                }
            }
        };
        tokio::time::timeout(TIMEOUT, search)
            .await
            .expect("the demand becomes as expected")
    }

    /// The sum of all samples of a metric. All tests of the process share it, so it may grow at any time.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = platform::telemetry::render_metrics();
        let samples = text.lines().filter(|line| line.starts_with(name));
        samples
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Waits until all queues are empty, and asserts that nothing is in the in-bucket but `photos`.
    pub async fn assert_left_behind(&self, photos: &[&str]) {
        let names = &self.deployment.names;
        let mut queues = self.reply_queues().await;
        queues.extend([names.request_queue(), names.dead_letter_queue()]);
        for name in queues {
            let queue = self.queue(name.clone()).await;
            eventually(&format!("{name} is empty"), || async {
                let counters = queue.counters().await.unwrap();
                counters.visible + counters.in_flight + counters.delayed == 0
            })
            .await;
        }
        assert_eq!(self.photos().await, photos);
        let out_bucket = self.deployment.aws.objects(names.out_bucket());
        assert_eq!(
            out_bucket.count().await.unwrap(),
            0,
            "simulated workers store nothing"
        );
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub async fn deployment(endpoint_url: &str) -> Deployment {
    Deployment {
        aws: testkit::aws(endpoint_url, "test").await,
        names: Names::new("test"),
    }
}
