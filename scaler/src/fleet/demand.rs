//! Watches the demand: of one front over gRPC, or of all fronts in Redis.

use std::time::Duration;

use platform::access::called_with;
use platform::demand::Reader;
use platform::shutdown::CancellationToken;
use platform::token::Token;
use proto::v1::demand_client::DemandClient;
use proto::v1::{DemandUpdate, WatchDemandRequest};
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Channel;

use crate::clock::Clock;
use crate::plan::{FrontDemand, Timestamped};

/// Front sends its demand at least once a second.
const LONGEST_SILENCE: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(200);

type Watched = watch::Receiver<Option<Timestamped<FrontDemand>>>;

/// Watches the demand that all fronts together keep in Redis until `shutdown`; `None` while it is not known.
pub fn watch_redis(reader: Reader, clock: Clock, shutdown: CancellationToken) -> Watched {
    let (demand, watched) = watch::channel(None);
    let following = reader.follow(move |sum| {
        demand.send_replace(sum.map(|sum| seen(sum.into(), clock)));
    });
    tokio::spawn(shutdown.run_until_cancelled_owned(following));
    watched
}

/// Watches one front's demand until `shutdown`; `None` while front is unreachable. `key` is the API key for front.
pub fn watch_front(
    front: Channel,
    key: Option<Token>,
    clock: Clock,
    shutdown: CancellationToken,
) -> Watched {
    let (demand, watched) = watch::channel(None);
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        loop {
            let ended = follow(front.clone(), key.as_ref(), clock, &demand).await;
            let was_reachable = demand.send_replace(None).is_some();
            if was_reachable {
                tracing::warn!(reason = ended.message(), "front's demand is lost");
            } else {
                tracing::debug!(reason = ended.message(), "front's demand cannot be watched");
            }
            tokio::time::sleep(RETRY).await;
        }
    }));
    watched
}

/// Follows one stream to its end, and returns why it ended.
async fn follow(
    front: Channel,
    key: Option<&Token>,
    clock: Clock,
    demand: &watch::Sender<Option<Timestamped<FrontDemand>>>,
) -> Status {
    let silent = |_| Status::deadline_exceeded("front is silent");
    let mut client = DemandClient::new(front);
    let request = called_with(key, WatchDemandRequest {});
    let stream = tokio::time::timeout(LONGEST_SILENCE, client.watch_demand(request));
    let mut updates = match stream.await.map_err(silent).flatten() {
        Ok(stream) => stream.into_inner(),
        Err(status) => return status,
    };
    loop {
        let update = tokio::time::timeout(LONGEST_SILENCE, updates.message()).await;
        let update = match update.map_err(silent).flatten() {
            Ok(Some(update)) => update,
            Ok(None) => return Status::unavailable("front has ended the stream"),
            Err(status) => return status,
        };
        let before = demand.send_replace(Some(seen(update, clock)));
        if before.is_none() {
            tracing::info!(unanswered = update.unanswered, "watching front's demand");
        }
    }
}

/// Returns an update as seen now.
fn seen(update: DemandUpdate, clock: Clock) -> Timestamped<FrontDemand> {
    let value = FrontDemand {
        unanswered: update.unanswered,
        accepted_total: update.accepted_total,
        answered_total: update.answered_total,
        waiting_frames: update.waiting_frames,
        frames_done_total: update.frames_done_total,
    };
    let at = clock.now();
    Timestamped { value, at }
}
