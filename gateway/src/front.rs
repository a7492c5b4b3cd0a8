//! The gRPC service `front`: stores photos, enqueues jobs, waits for the replies, and returns them.
//!
//! A call passes `admission`, is checked and registered by `recognizer`, and runs as an `accepted` request: `photo_store`
//! and `sender`, then `registry` until `replies`, `dead_letters` or the deadline finish it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;
use platform::access::Role;
use platform::demand::Publisher;
use platform::shutdown::bounded;
use proto::v1::demand_server::{self, DemandServer};
use proto::v1::recognizer_server::{self, RecognizerServer};
use proto::v1::videos_server::{self, VideosServer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use backend::Deployment;
pub use config::Config;
pub use photo_store::SHA256_METADATA;
pub use recognizer::{CHOSEN_ID_METADATA, REQUEST_ID_METADATA};
pub use videos::VideoArgs;

use admission::AdmissionControl;
use backend::Backend;
use demand::DemandService;
use kept_results::KeptResults;
use photo_store::PhotoStore;
use recognizer::RecognizerService;
use registry::RequestRegistry;
use replies::ReplyReceiver;
use sender::BatchSender;
use videos::{FrameQueue, VideoParts, Videos, VideosService};

mod accepted;
mod admission;
mod backend;
mod config;
mod dead_letters;
mod demand;
mod grpc_timeout;
mod inspect;
mod kept_results;
pub mod pending;
mod photo_store;
mod recognizer;
mod registry;
mod replies;
mod reply_queue;
mod sender;
mod videos;

/// The pure parts, of which chaos simulates a front. [`pending`] is one, too.
#[doc(hidden)]
pub mod pure {
    pub use super::accepted::job;
    pub use super::dead_letters::{MIN_AGE, failed_job};
    pub use super::photo_store::derived;
    pub use super::registry::{Reply, deadline_exceeded};
    pub use super::replies::{WorkerReply, parse};
}

/// The services that reflection lists.
const SERVICES: [&str; 3] = [
    recognizer_server::SERVICE_NAME,
    demand_server::SERVICE_NAME,
    videos_server::SERVICE_NAME,
];

fn role_for(service: &str) -> Option<Role> {
    match service {
        recognizer_server::SERVICE_NAME | videos_server::SERVICE_NAME => Some(Role::Recognize),
        _ => Some(Role::Operate),
    }
}

/// Bytes of a message besides its photo.
const MESSAGE_OVERHEAD: usize = 64 * 1024;
/// Longest time to close connections and to delete replies after the drain. An instance has ten seconds to stop, of which
/// the drain takes five.
const CLOSING_DEADLINE: Duration = Duration::from_secs(3);

/// Serves `muster.v1.Recognizer`, `muster.v1.Videos` and `muster.v1.Demand` until `shutdown`, with health and reflection.
///
/// At shutdown new requests are refused, requests in flight are awaited, and the reply receivers stop last.
///
/// # Errors
/// When the address needs keys, a file of keys or certificates cannot be read, the admin address cannot be bound, or the
/// listener fails. While AWS cannot be reached, front is not ready, and retries.
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
    let options = config.server.open(address, role_for)?;
    crate::metric::describe();
    let ready = watch::Sender::new(false);
    config
        .admin
        .spawn(ready.subscribe(), shutdown.clone())
        .await?;
    platform::service_manager::report(ready.subscribe(), shutdown.clone(), || true);
    tracing::info!(%address, "front serves gRPC");

    let registry = Arc::new(RequestRegistry::default());
    let (backend, videos) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
    let requests = TaskTracker::new();
    let background = TaskTracker::new();
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();
    background.spawn(registry::expire_until(Arc::clone(&registry), stop.clone()));
    if let Some(redis) = &config.demand.demand {
        tracing::info!(%redis, "front keeps its demand in Redis");
        let publisher = Publisher::new(redis.clone(), deployment.names.prefix());
        background.spawn(publisher.publish_until(registry.demand(), stop.clone()));
    }

    let limits = config.limits();
    let recognizer = RecognizerService::new(
        limits,
        Arc::clone(&registry),
        Arc::clone(&backend),
        requests.clone(),
        shutdown.clone(),
    );
    let demand = DemandService::new(registry.demand(), stop.clone());
    let server = platform::grpc::serve(
        listener,
        options,
        ready.subscribe(),
        stop.clone(),
        &SERVICES,
        |routes| {
            let limit = limits.max_image_bytes + MESSAGE_OVERHEAD;
            let recognizer = RecognizerServer::new(recognizer).max_decoding_message_size(limit);
            let (calls, bytes) = (config.max_in_flight, config.max_buffered_bytes);
            routes.add_service(AdmissionControl::new(recognizer, calls, bytes, limit));
            routes.add_service(DemandServer::new(demand));
            let videos = VideosService::new(Arc::clone(&videos), shutdown.clone());
            routes.add_service(VideosServer::new(videos));
        },
    );
    let life = async {
        let started = config.start(&deployment, &registry, &background, &stop, &shutdown);
        if let Some((ready_backend, ready_videos)) = shutdown.run_until_cancelled(started).await {
            backend.set(ready_backend).expect("it is set only here");
            videos.set(ready_videos).expect("it is set only here");
            ready.send_replace(true);
            shutdown.cancelled().await;
        }
        ready.send_replace(false);
        drain(&registry, &requests, config.drain_deadline).await;
        stop.cancel();
    };
    let serving = async {
        let served = server.await;
        // If the listener failed, the whole service ends.
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
    /// Creates buckets and queues, and spawns the tasks that serve the queues until `stop`.
    async fn start(
        &self,
        deployment: &Deployment,
        registry: &Arc<RequestRegistry>,
        background: &TaskTracker,
        stop: &CancellationToken,
        shutdown: &CancellationToken,
    ) -> (Backend, Arc<Videos>) {
        let reply_queue = self.reply_queue.clone();
        let reply_queue = reply_queue.unwrap_or_else(|| deployment.names.new_reply_queue());
        let queues = deployment
            .ensure(&reply_queue, self.visibility_timeout)
            .await;
        let objects = |bucket| deployment.aws.objects(bucket);
        let results = objects(deployment.names.out_bucket());
        let kept_results = KeptResults::new(results.clone());
        if self.reply_queue.is_none() {
            background.spawn(reply_queue::maintain_until(
                deployment.clone(),
                reply_queue.clone(),
                kept_results.clone(),
                stop.clone(),
            ));
        }
        let frames = FrameQueue::new(Arc::clone(registry), self.videos.frames_per_worker);
        let frames = Arc::new(frames);
        let receiver = ReplyReceiver::new(
            queues.replies,
            Arc::clone(registry),
            Arc::clone(&frames),
            kept_results.clone(),
            self.reply_receivers,
            background.clone(),
        );
        background.spawn(receiver.receive_until(stop.clone()));
        background.spawn(dead_letters::fail_until(
            queues.dead_letters,
            Arc::clone(registry),
            Arc::clone(&frames),
            stop.clone(),
        ));
        let inputs = objects(deployment.names.in_bucket());
        let backend = Backend {
            photos: PhotoStore::new(inputs.clone()),
            requests: BatchSender::new(queues.requests, self.max_in_flight.max(1)),
            reply_queue: reply_queue.clone(),
            kept_results,
        };
        let parts = VideoParts {
            inputs,
            results,
            requests: backend.requests.clone(),
            reply_queue,
            frames,
            registry: Arc::clone(registry),
            tasks: background.clone(),
            // Their claims are given up while the photos in flight are awaited.
            stop: shutdown.clone(),
        };
        let videos = Videos::new(self.videos.clone(), parts);
        background.spawn(Arc::clone(&videos).take_over_until(shutdown.clone()));
        (backend, videos)
    }
}

/// Waits until no request is in flight, up to `deadline`.
async fn drain(registry: &RequestRegistry, requests: &TaskTracker, deadline: Duration) {
    requests.close();
    if tokio::time::timeout(deadline, requests.wait())
        .await
        .is_err()
    {
        let unanswered = registry.demand().borrow().unanswered;
        tracing::warn!(
            unanswered,
            ?deadline,
            "requests did not end within the drain deadline"
        );
    }
}
