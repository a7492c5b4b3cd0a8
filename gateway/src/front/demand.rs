use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use proto::v1::demand_server::Demand;
use proto::v1::{DemandUpdate, WatchDemandRequest};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::pending::Counts;
use super::waiting::Waiting;

/// Changes within this time are sent as one.
const COALESCE: Duration = Duration::from_millis(10);
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The service `muster.v1.Demand`.
#[derive(Debug)]
pub struct DemandService {
    waiting: Arc<Waiting>,
    stop: CancellationToken,
}

impl DemandService {
    /// Streams end at `stop`.
    #[must_use]
    pub fn new(waiting: Arc<Waiting>, stop: CancellationToken) -> Self {
        Self { waiting, stop }
    }
}

#[tonic::async_trait]
impl Demand for DemandService {
    type WatchDemandStream = Pin<Box<dyn Stream<Item = Result<DemandUpdate, Status>> + Send>>;

    async fn watch_demand(
        &self,
        _request: Request<WatchDemandRequest>,
    ) -> Result<Response<Self::WatchDemandStream>, Status> {
        let mut counts = self.waiting.counts();
        let first = update(*counts.borrow_and_update());
        // The stream holds what it watches, so that the watch cannot end before it.
        let watched = (counts, Arc::clone(&self.waiting), self.stop.clone());
        let updates = stream::unfold(watched, |(mut counts, waiting, stop)| async {
            stop.run_until_cancelled(next_moment(&mut counts)).await?;
            let update = update(*counts.borrow_and_update());
            Some((Ok(update), (counts, waiting, stop)))
        });
        let updates = stream::once(async move { Ok(first) }).chain(updates);
        Ok(Response::new(Box::pin(updates)))
    }
}

/// Returns when an update is due.
async fn next_moment(counts: &mut watch::Receiver<Counts>) {
    if let Ok(Ok(())) = tokio::time::timeout(HEARTBEAT, counts.changed()).await {
        tokio::time::sleep(COALESCE).await;
    }
}

impl From<Counts> for platform::demand::Demand {
    fn from(counts: Counts) -> Self {
        Self {
            unanswered: counts.unanswered,
            accepted_total: counts.accepted_total,
            answered_total: counts.answered_total(),
        }
    }
}

fn update(counts: Counts) -> DemandUpdate {
    DemandUpdate {
        unanswered: counts.unanswered,
        accepted_total: counts.accepted_total,
        answered_total: counts.answered_total(),
    }
}
