//! The front service: stores photos, enqueues jobs, waits for replies and answers, over gRPC.

use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::builder::{RangedU64ValueParser, TypedValueParser};
use platform::admin::AdminArgs;
use platform::shutdown::bounded;
use proto::v1::demand_server::{self, DemandServer};
use proto::v1::recognizer_server::{self, RecognizerServer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use backend::Deployment;
pub use photos::SHA256_METADATA;
pub use recognizer::REQUEST_ID_METADATA;

use backend::Backend;
use demand::DemandService;
use gate::Gate;
use photos::Photos;
use recognizer::{Limits, RecognizerService};
use replies::ReplyReceiver;
use sender::BatchSender;
use waiting::Waiting;

mod backend;
mod dead_letters;
mod demand;
mod gate;
mod grpc_timeout;
mod inspect;
pub mod pending;
mod photos;
mod recognizer;
mod replies;
mod sender;
mod turn;
mod waiting;

/// How front runs.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Front")]
pub struct Config {
    /// Recognize calls in flight; more are refused with RESOURCE_EXHAUSTED before their photo is read
    #[arg(
        long,
        env = "MUSTER_MAX_IN_FLIGHT",
        value_name = "N",
        default_value = "1000"
    )]
    pub max_in_flight: usize,
    /// Bytes of photos held until they are stored. A call that needs more waits for its turn before its photo is read;
    /// one that waits longer than a minute is refused with RESOURCE_EXHAUSTED
    #[arg(
        long,
        env = "MUSTER_MAX_BUFFERED_BYTES",
        value_name = "BYTES",
        default_value = "268435456"
    )]
    pub max_buffered_bytes: usize,
    /// Bytes of one photo
    #[arg(
        long,
        env = "MUSTER_MAX_IMAGE_BYTES",
        value_name = "BYTES",
        default_value = "10485760"
    )]
    pub max_image_bytes: usize,
    /// Pixels of one photo
    #[arg(
        long,
        env = "MUSTER_MAX_PIXELS",
        value_name = "PIXELS",
        default_value = "40000000"
    )]
    pub max_pixels: u64,
    /// How long a request waits for a worker's answer
    #[arg(long, env = "MUSTER_DEADLINE", value_name = "SECONDS", value_parser = crate::seconds, default_value = "120")]
    pub deadline: Duration,
    /// Visibility timeout of the request queue, in whole seconds: how soon the job of a worker that died is taken up
    /// again. Workers read it from the queue when they start
    #[arg(
        long,
        env = "MUSTER_VISIBILITY_TIMEOUT",
        value_name = "SECONDS",
        value_parser = RangedU64ValueParser::<u64>::new().range(VISIBILITY_TIMEOUT_SECONDS).map(Duration::from_secs),
        default_value = "10"
    )]
    pub visibility_timeout: Duration,
    /// Receive calls under way on the reply queue at once
    #[arg(
        long,
        env = "MUSTER_REPLY_RECEIVERS",
        value_name = "N",
        default_value = "2"
    )]
    pub reply_receivers: usize,
    /// How long requests in flight may take to end at shutdown
    #[arg(long, env = "MUSTER_FRONT_DRAIN", value_name = "SECONDS", value_parser = crate::seconds, default_value = "5")]
    pub drain_deadline: Duration,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// What front's reflection lists.
const SERVICES: [&str; 2] = [recognizer_server::SERVICE_NAME, demand_server::SERVICE_NAME];

/// The overhead of a message over the photo in it.
const MESSAGE_SLACK: usize = 64 * 1024;
/// At least 3, so that a worker has time to renew it; at most what SQS allows.
const VISIBILITY_TIMEOUT_SECONDS: RangeInclusive<u64> = 3..=43_200;
/// How long connections may take to close and replies to be deleted, after the requests in flight were waited for.
/// Instances have ten seconds to end, of which the drain deadline takes five.
const CLOSING_DEADLINE: Duration = Duration::from_secs(3);

/// Serves `muster.v1.Recognizer` and `muster.v1.Demand` until `shutdown`, with health and reflection.
///
/// At shutdown new requests are refused, those in flight are waited for, and the reply receivers stop last.
///
/// # Errors
/// When the admin address cannot be bound or the listener fails. While AWS is not there front is not ready, and tries
/// again.
pub async fn run(
    config: Config,
    deployment: Deployment,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    crate::metric::describe();
    let ready = watch::Sender::new(false);
    config
        .admin
        .spawn(ready.subscribe(), shutdown.clone())
        .await?;
    tracing::info!(address = %listener.local_addr()?, "front serves gRPC");

    let waiting = Arc::new(Waiting::default());
    let backend = Arc::new(OnceLock::new());
    let requests = TaskTracker::new();
    let background = TaskTracker::new();
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();
    background.spawn(waiting::expire_until(Arc::clone(&waiting), stop.clone()));

    let limits = config.limits();
    let recognizer = RecognizerService::new(
        limits,
        Arc::clone(&waiting),
        Arc::clone(&backend),
        requests.clone(),
        shutdown.clone(),
    );
    let demand = DemandService::new(Arc::clone(&waiting), stop.clone());
    let server = platform::grpc::serve(
        listener,
        ready.subscribe(),
        stop.clone(),
        &SERVICES,
        |routes| {
            let limit = limits.max_image_bytes + MESSAGE_SLACK;
            let recognizer = RecognizerServer::new(recognizer).max_decoding_message_size(limit);
            let (calls, bytes) = (config.max_in_flight, config.max_buffered_bytes);
            routes.add_service(Gate::new(recognizer, calls, bytes, limit));
            routes.add_service(DemandServer::new(demand));
        },
    );
    let life = async {
        let started = config.start(&deployment, &waiting, &background, &stop);
        if let Some(ready_backend) = shutdown.run_until_cancelled(started).await {
            backend.set(ready_backend).expect("it is set only here");
            ready.send_replace(true);
            shutdown.cancelled().await;
        }
        ready.send_replace(false);
        drain(&waiting, &requests, config.drain_deadline).await;
        stop.cancel();
    };
    let serving = async {
        let served = server.await;
        // A listener that failed ends the whole service.
        shutdown.cancel();
        served
    };
    let closing = async {
        stop.cancelled().await;
        background.close();
        background.wait().await;
    };
    let work = async { tokio::join!(serving, closing).0 };
    let (served, ()) = tokio::join!(bounded("front", &stop, CLOSING_DEADLINE, work), life);
    served.unwrap_or(Ok(()))
}

impl Config {
    fn limits(&self) -> Limits {
        Limits {
            max_image_bytes: self.max_image_bytes,
            max_pixels: self.max_pixels,
            deadline: self.deadline,
        }
    }

    /// Ensures buckets and queues, and starts what works on the queues until `stop`.
    async fn start(
        &self,
        deployment: &Deployment,
        waiting: &Arc<Waiting>,
        background: &TaskTracker,
        stop: &CancellationToken,
    ) -> Backend {
        let queues = deployment.ensure(self.visibility_timeout).await;
        let reply_queue = queues.replies.name().to_owned();
        let receiver = ReplyReceiver::new(queues.replies, Arc::clone(waiting), background.clone());
        for _ in 0..self.reply_receivers.max(1) {
            background.spawn(receiver.clone().receive_until(stop.clone()));
        }
        let letters = queues.dead_letters;
        background.spawn(dead_letters::answer_until(
            letters,
            Arc::clone(waiting),
            stop.clone(),
        ));
        Backend {
            photos: Photos::new(deployment.aws.objects(deployment.names.in_bucket())),
            requests: BatchSender::new(queues.requests, self.max_in_flight.max(1)),
            reply_queue,
        }
    }
}

/// Waits until no request is in flight.
async fn drain(waiting: &Waiting, requests: &TaskTracker, deadline: Duration) {
    requests.close();
    if tokio::time::timeout(deadline, requests.wait())
        .await
        .is_err()
    {
        let unanswered = waiting.counts().borrow().unanswered;
        tracing::warn!(
            unanswered,
            ?deadline,
            "requests did not end within the drain deadline"
        );
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Config, clap::Error> {
        let command = Config::augment_args(Command::new("front"));
        let arguments = [&["front"], arguments].concat();
        Config::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn the_visibility_timeout_is_whole_seconds_and_at_least_three() {
        let of = |seconds| parse(&["--visibility-timeout", seconds]).map(|c| c.visibility_timeout);
        assert_eq!(of("3").unwrap(), Duration::from_secs(3));
        for refused in ["2", "0", "3.5", "43201", "-5"] {
            assert!(of(refused).is_err(), "{refused}");
        }
        assert_eq!(parse(&[]).unwrap().visibility_timeout.as_secs(), 10);
    }

    #[test]
    fn a_shutdown_takes_less_than_the_ten_seconds_that_an_instance_has() {
        let front = parse(&[]).unwrap().drain_deadline;
        assert!(front + CLOSING_DEADLINE <= Duration::from_secs(9));
        let command = crate::http::Config::augment_args(Command::new("gateway"));
        let matches = command.get_matches_from(["gateway"]);
        let gateway = crate::http::Config::from_arg_matches(&matches).unwrap();
        assert!(front < gateway.drain_deadline);
        assert!(gateway.drain_deadline <= Duration::from_secs(9));
    }
}
