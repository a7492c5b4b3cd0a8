use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use platform::demand::{Demand, next_update};
use proto::v1::demand_server::Demand as Service;
use proto::v1::{DemandUpdate, WatchDemandRequest};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// The service `muster.v1.Demand`.
#[derive(Debug)]
pub struct DemandService {
    demand: watch::Receiver<Demand>,
    stop: CancellationToken,
}

impl DemandService {
    /// Streams end at `stop`.
    #[must_use]
    pub fn new(demand: watch::Receiver<Demand>, stop: CancellationToken) -> Self {
        Self { demand, stop }
    }
}

#[tonic::async_trait]
impl Service for DemandService {
    type WatchDemandStream = Pin<Box<dyn Stream<Item = Result<DemandUpdate, Status>> + Send>>;

    async fn watch_demand(
        &self,
        _request: Request<WatchDemandRequest>,
    ) -> Result<Response<Self::WatchDemandStream>, Status> {
        let mut demand = self.demand.clone();
        let first = DemandUpdate::from(*demand.borrow_and_update());
        let watched = (demand, self.stop.clone());
        let updates = stream::unfold(watched, |(mut demand, stop)| async {
            let due = stop.run_until_cancelled(next_update(&mut demand));
            due.await?.ok()?;
            let update = DemandUpdate::from(*demand.borrow_and_update());
            Some((Ok(update), (demand, stop)))
        });
        let updates = stream::once(async move { Ok(first) }).chain(updates);
        Ok(Response::new(Box::pin(updates)))
    }
}
