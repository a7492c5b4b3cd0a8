use std::time::Duration;

use platform::access::called_with;
use platform::shutdown::CancellationToken;
use platform::token::Token;
use proto::v1::WatchDemandRequest;
use proto::v1::demand_client::DemandClient;
use tokio::sync::watch;
use tonic::transport::Channel;

use crate::clock::Clock;
use crate::plan::{FrontDemand, Seen};

/// Front sends its demand at least once a second.
const LONGEST_SILENCE: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(200);

/// Watches front's demand until `shutdown`; `None` while front is unreachable. `key` is what front asks for.
pub fn watch(
    front: Channel,
    key: Option<Token>,
    clock: Clock,
    shutdown: CancellationToken,
) -> watch::Receiver<Option<Seen<FrontDemand>>> {
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

/// Follows one stream to its end, and says why it ended.
async fn follow(
    front: Channel,
    key: Option<&Token>,
    clock: Clock,
    demand: &watch::Sender<Option<Seen<FrontDemand>>>,
) -> tonic::Status {
    let silent = |_| tonic::Status::deadline_exceeded("front is silent");
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
            Ok(None) => return tonic::Status::unavailable("front has ended the stream"),
            Err(status) => return status,
        };
        let value = FrontDemand {
            unanswered: update.unanswered,
            accepted_total: update.accepted_total,
            answered_total: update.answered_total,
        };
        let before = demand.send_replace(Some(Seen {
            value,
            at: clock.now(),
        }));
        if before.is_none() {
            tracing::info!(unanswered = value.unanswered, "front's demand is watched");
        }
    }
}
