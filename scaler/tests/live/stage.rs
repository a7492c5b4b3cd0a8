//! A real scaler in a local cloud, with a front whose demand the test sets.

use std::time::Duration;

use clap::Parser;
use platform::aws::Aws;
use platform::fleet::{Fleet, FleetInstance, PowerState};
use platform::objects::Objects;
use platform::queue::Queue;
use platform::shutdown::CancellationToken;
use platform::tls::PeerTlsArgs;
use platform::token::Token;
use proto::names::WORKER_INSTANCE;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{DemandUpdate, GetStatusRequest, InstanceState, ScalerStatus, Totals};
use scaler::Config;
use scaler::cli::Cli;
use scaler::fleet::FleetToken;
use scaler::lease::LeaseTimes;
use testkit::{LocalCloud, listen, plain_queue};
pub use testkit::{TIMEOUT, eventually};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Request;
use tonic::transport::Channel;

/// What runs on an instance.
const RUN: &str = r#"cat "$EC2_USER_DATA_FILE" > "$PROCESSES/$EC2_INSTANCE_ID.user-data"; echo "$IMAGE" > "$PROCESSES/$EC2_INSTANCE_ID.image"; echo $$ > "$PROCESSES/$EC2_INSTANCE_ID"; exec sleep 600"#;

/// A second image, which runs the same.
pub const NEW_IMAGE: &str = "ami-new";

pub struct Stage {
    pub aws: Aws,
    pub scaler: Channel,
    /// Where that is.
    pub url: String,
    pub cloud: LocalCloud,
    arguments: Vec<String>,
    /// Shorter than what the command line takes.
    lease_time: Option<Duration>,
    /// Shorter than what the command line takes.
    pub silence_deadline: Option<Duration>,
    /// Shared by the scalers of one stage, so that the address stays theirs.
    listener: std::net::TcpListener,
    demand: watch::Sender<DemandUpdate>,
    running: Option<(JoinHandle<anyhow::Result<()>>, CancellationToken)>,
    pub everything: CancellationToken,
    front: CancellationToken,
    /// Where each instance's process leaves its id.
    processes: tempfile::TempDir,
}

impl Stage {
    /// A cloud without instances, a front without demand, and a scaler with `arguments`.
    pub async fn set(arguments: &[&str]) -> Self {
        let mut stage = Self::without_scaler(arguments).await;
        stage.start_scaler().await;
        stage
    }

    /// As [`Stage::set`], with a lease that lapses sooner than any that is configured.
    pub async fn with_lease_time(lease_time: Duration) -> Self {
        let mut stage = Self::without_scaler(&[]).await;
        stage.lease_time = Some(lease_time);
        stage.start_scaler().await;
        stage
    }

    pub async fn without_scaler(arguments: &[&str]) -> Self {
        Self::with_faults(localcloud::Ec2Faults::default(), arguments).await
    }

    /// As [`Stage::without_scaler`], in a cloud with these faults.
    pub async fn with_faults(ec2: localcloud::Ec2Faults, arguments: &[&str]) -> Self {
        let everything = CancellationToken::new();
        let processes = tempfile::tempdir().unwrap();
        let cloud = start_cloud(ec2, processes.path()).await;
        let (demand, demanded) = watch::channel(DemandUpdate::default());
        let front = everything.child_token();
        let front_url = crate::front::serve(demanded, &front).await;
        let aws = cloud.aws("muster").await;
        let (listener, url) = listen().await;
        let mut all = vec!["scaler".to_owned(), "--front".to_owned(), front_url];
        all.extend(["--aws-endpoint-url".to_owned(), cloud.url.clone()]);
        // Its calls count toward the limits of EC2.
        if !arguments.iter().any(|it| it.starts_with("--preflight")) {
            all.push("--preflight=off".to_owned());
        }
        // The policy whose numbers are plain to see, unless a test names another one.
        if !arguments.contains(&"--policy") {
            all.extend(["--policy", "step"].map(str::to_owned));
        }
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        Self {
            aws,
            scaler: platform::grpc::channel(&url, &PeerTlsArgs::default()).unwrap(),
            url,
            cloud,
            arguments: all,
            lease_time: None,
            silence_deadline: None,
            listener: listener.into_std().unwrap(),
            demand,
            running: None,
            everything,
            front,
            processes,
        }
    }

    pub async fn start_scaler(&mut self) {
        let listener = TcpListener::from_std(self.listener.try_clone().unwrap()).unwrap();
        let shutdown = self.everything.child_token();
        let config = self.config();
        let running = scaler::run(config, self.aws.clone(), listener, shutdown.clone());
        self.running = Some((tokio::spawn(running), shutdown));
    }

    /// Adds arguments for the scalers that are started from now on.
    pub fn configure(&mut self, arguments: &[&str]) {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        self.arguments.extend(arguments);
    }

    pub fn config(&self) -> Config {
        self.config_with(&[])
    }

    fn config_with(&self, more: &[&str]) -> Config {
        let arguments = self.arguments.iter().map(String::as_str);
        let cli = Cli::try_parse_from(arguments.chain(more.iter().copied())).unwrap();
        let mut config = cli.serve.config().unwrap();
        if let (Some(lease), Some(lease_time)) = (&mut config.lease, self.lease_time) {
            lease.times = LeaseTimes {
                lease: lease_time,
                slack: lease_time / 5,
            };
        }
        let timeouts = &mut config.policy.timeouts;
        timeouts.silence_deadline = self.silence_deadline.unwrap_or(timeouts.silence_deadline);
        config
    }

    pub async fn stop_scaler(&mut self) {
        let (running, shutdown) = self.running.take().unwrap();
        shutdown.cancel();
        running.await.unwrap().unwrap();
    }

    /// It ends without a word, as a process that is killed. The next one may listen at its address.
    pub fn kill_scaler(&mut self) {
        let (running, _) = self.running.take().unwrap();
        running.abort();
    }

    /// Another scaler in the same cloud, at an address of its own.
    pub async fn rival(&self) -> Rival {
        self.rival_with(&[]).await
    }

    pub async fn rival_with(&self, arguments: &[&str]) -> Rival {
        let (listener, url) = listen().await;
        let config = self.config_with(arguments);
        let shutdown = self.everything.child_token();
        tokio::spawn(scaler::run(config, self.aws.clone(), listener, shutdown));
        let scaler = platform::grpc::channel(&url, &PeerTlsArgs::default()).unwrap();
        Rival { scaler }
    }

    /// Returns the address at which the stage's scaler listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub fn bucket(&self) -> Objects {
        self.aws.objects("muster-scaler-bucket")
    }

    pub async fn create_queue(&self) -> Queue {
        let attributes = plain_queue(Duration::from_secs(30));
        self.aws
            .ensure_queue("muster-req-queue", &attributes)
            .await
            .unwrap()
    }

    /// Sets how many requests front waits for.
    pub fn demand(&self, unanswered: u64) {
        self.demand
            .send_modify(|demand| demand.unanswered = unanswered);
    }

    /// Sets how many frames of clips are not done.
    pub fn frames(&self, waiting: u64) {
        self.demand.send_modify(|demand| {
            let done = demand.waiting_frames.saturating_sub(waiting);
            demand.frames_done_total += done;
            demand.waiting_frames = waiting;
        });
    }

    /// Front has got replies to so many more requests.
    pub fn answer(&self, requests: u64) {
        self.demand.send_modify(|demand| {
            demand.accepted_total += requests;
            demand.answered_total += requests;
        });
    }

    pub fn lose_front(&self) {
        self.front.cancel();
    }

    /// The fleet's token, once a scaler has made it.
    pub async fn fleet_token(&self) -> Token {
        let bucket = self.bucket();
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        loop {
            if let Ok(Some(object)) = bucket.get_tagged("fleet-token").await {
                let text = String::from_utf8(object.body.to_vec()).unwrap();
                return Token::parse(&text).unwrap();
            }
            assert!(tokio::time::Instant::now() < deadline, "no token");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A request that carries the fleet's token.
    pub async fn proven<T>(&self, message: T) -> Request<T> {
        proven_by(&self.fleet_token().await, message)
    }

    /// Returns what an instance was told at its launch; empty when it never ran.
    pub fn user_data(&self, id: &str) -> String {
        let file = self.processes.path().join(format!("{id}.user-data"));
        std::fs::read_to_string(file).unwrap_or_default()
    }

    /// The image that an instance was launched from; empty when it never ran.
    pub fn image(&self, id: &str) -> String {
        let file = self.processes.path().join(format!("{id}.image"));
        let image = std::fs::read_to_string(file).unwrap_or_default();
        image.trim().to_owned()
    }

    pub fn fleet(&self) -> Fleet {
        self.aws.fleet().of_prefix("muster")
    }

    pub async fn instances(&self) -> Vec<FleetInstance> {
        self.fleet()
            .find(&format!("{WORKER_INSTANCE}*"))
            .await
            .unwrap()
    }

    pub async fn ids(&self) -> Vec<String> {
        let instances = self.instances().await;
        instances.into_iter().map(|it| it.id).collect()
    }

    pub async fn count(&self, power: PowerState) -> usize {
        self.instances()
            .await
            .iter()
            .filter(|instance| instance.state == power)
            .count()
    }

    /// Returns whether the instance has a process: one whose boot fails has none, though EC2 says that it runs.
    pub fn has_process(&self, id: &str) -> bool {
        let process = std::fs::read_to_string(self.processes.path().join(id));
        process.is_ok_and(|process| std::fs::exists(format!("/proc/{}", process.trim())).unwrap())
    }

    /// Puts stopped instances into the pool, as a scaler launches them; returns their ids.
    pub async fn prepare_stopped(&self, count: u32) -> Vec<String> {
        let mut spec = self.config().executor.launch;
        let bucket = self.bucket();
        let token = FleetToken::kept_in(bucket, self.everything.child_token());
        token.known().await.unwrap();
        spec.user_data = token.fill_in(&spec.user_data).unwrap();
        let fleet = self.fleet();
        let ids = fleet
            .launch(&spec, count, WORKER_INSTANCE, "prepared")
            .await
            .unwrap();
        for (id, number) in ids.iter().zip(1..) {
            fleet
                .set_name(id, &proto::names::worker_instance(number))
                .await
                .unwrap();
        }
        let count = ids.len();
        eventually("they run", async || {
            self.count(PowerState::Running).await == count
        })
        .await;
        fleet.stop(&ids).await.unwrap();
        eventually("they are stopped", async || {
            self.count(PowerState::Stopped).await == count
        })
        .await;
        ids
    }

    pub async fn status(&self) -> ScalerStatus {
        status_of(&self.scaler).await
    }

    pub async fn totals(&self) -> Totals {
        self.status().await.totals.unwrap()
    }

    /// Returns how many instances the scaler sees in a state.
    pub async fn seen(&self, state: InstanceState) -> usize {
        let observation = self.status().await.observation.unwrap_or_default();
        observation
            .instances
            .iter()
            .filter(|instance| instance.state() == state)
            .count()
    }

    /// Returns how often an action was answered with success.
    pub async fn calls(&self, action: &str) -> u64 {
        self.cloud.answers(action, 200).await
    }
}

/// A request that carries a token.
pub fn proven_by<T>(token: &Token, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("authorization", token.bearer());
    request
}

/// A second scaler.
pub struct Rival {
    pub scaler: Channel,
}

/// Returns the status of a scaler, which may still be starting.
pub async fn status_of(scaler: &Channel) -> ScalerStatus {
    let mut client = ScalerClient::new(scaler.clone());
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    loop {
        match client.get_status(GetStatusRequest {}).await {
            Ok(status) => return status.into_inner(),
            Err(error) if tokio::time::Instant::now() > deadline => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.everything.cancel();
    }
}

async fn start_cloud(ec2: localcloud::Ec2Faults, processes: &std::path::Path) -> LocalCloud {
    let image = |id: &str| localcloud::Image {
        id: id.to_owned(),
        name: None,
        command: ["sh", "-c", RUN].map(str::to_owned).to_vec(),
        env: [
            ("PROCESSES".to_owned(), processes.display().to_string()),
            ("IMAGE".to_owned(), id.to_owned()),
        ]
        .into(),
        user_data_env: Vec::new(),
    };
    let config = localcloud::Config {
        images: ["ami-muster-worker", NEW_IMAGE].map(image).to_vec(),
        faults: ec2.into(),
        ..localcloud::Config::default()
    };
    LocalCloud::start(config).await
}
