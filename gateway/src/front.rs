//! The front service: stores photos, enqueues jobs, waits for replies and answers, over gRPC.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use platform::access::Role;
use platform::demand::Publisher;
use platform::shutdown::bounded;
use proto::v1::demand_server::{self, DemandServer};
use proto::v1::recognizer_server::{self, RecognizerServer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use backend::Deployment;
pub use config::Config;
pub use photos::SHA256_METADATA;
pub use recognizer::REQUEST_ID_METADATA;

use backend::Backend;
use demand::DemandService;
use gate::Gate;
use photos::Photos;
use recognizer::RecognizerService;
use replies::ReplyReceiver;
use sender::BatchSender;
use waiting::Waiting;

mod backend;
mod config;
mod dead_letters;
mod demand;
mod gate;
mod grpc_timeout;
mod inspect;
pub mod pending;
mod photos;
mod recognizer;
mod replies;
mod reply_queue;
mod sender;
mod turn;
mod waiting;

/// What front's reflection lists.
const SERVICES: [&str; 2] = [recognizer_server::SERVICE_NAME, demand_server::SERVICE_NAME];

fn role_for(service: &str) -> Option<Role> {
    match service {
        recognizer_server::SERVICE_NAME => Some(Role::Recognize),
        _ => Some(Role::Operate),
    }
}

/// The overhead of a message over the photo in it.
const MESSAGE_SLACK: usize = 64 * 1024;
/// How long connections may take to close and replies to be deleted, after the requests in flight were waited for.
/// Instances have ten seconds to end, of which the drain deadline takes five.
const CLOSING_DEADLINE: Duration = Duration::from_secs(3);

/// Serves `muster.v1.Recognizer` and `muster.v1.Demand` until `shutdown`, with health and reflection.
///
/// At shutdown new requests are refused, those in flight are waited for, and the reply receivers stop last.
///
/// # Errors
/// When it must not listen there without keys, a file of its keys or certificates cannot be read, the admin address cannot
/// be bound, or the listener fails. While AWS is not there front is not ready, and tries
/// again.
#[inline(never)]
pub fn run(
    config: Config,
    deployment: Deployment,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    // Compiled here once, and not in each binary and test: see "Builds" in docs/development.md.
    Box::pin(serve(config, deployment, listener, shutdown))
}

async fn serve(
    config: Config,
    deployment: Deployment,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let door = config.door.open(address, role_for)?;
    crate::metric::describe();
    let ready = watch::Sender::new(false);
    config
        .admin
        .spawn(ready.subscribe(), shutdown.clone())
        .await?;
    tracing::info!(%address, "front serves gRPC");

    let waiting = Arc::new(Waiting::default());
    let backend = Arc::new(OnceLock::new());
    let requests = TaskTracker::new();
    let background = TaskTracker::new();
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();
    background.spawn(waiting::expire_until(Arc::clone(&waiting), stop.clone()));
    if let Some(redis) = &config.demand.demand {
        tracing::info!(%redis, "front keeps its demand in Redis");
        let publisher = Publisher::new(redis.clone(), deployment.names.prefix());
        background.spawn(publisher.publish_until(waiting.counts(), stop.clone()));
    }

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
        door,
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
    /// Ensures buckets and queues, and starts what works on the queues until `stop`.
    async fn start(
        &self,
        deployment: &Deployment,
        waiting: &Arc<Waiting>,
        background: &TaskTracker,
        stop: &CancellationToken,
    ) -> Backend {
        let reply_queue = self.reply_queue.clone();
        let reply_queue = reply_queue.unwrap_or_else(|| deployment.names.new_reply_queue());
        let queues = deployment
            .ensure(&reply_queue, self.visibility_timeout)
            .await;
        if self.reply_queue.is_none() {
            background.spawn(reply_queue::keep_until(
                deployment.clone(),
                reply_queue.clone(),
                stop.clone(),
            ));
        }
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
