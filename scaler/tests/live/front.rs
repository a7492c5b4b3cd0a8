//! A front whose demand the test sets.

use std::time::Duration;

use futures::StreamExt;
use platform::shutdown::CancellationToken;
use proto::v1::demand_server::{Demand, DemandServer};
use proto::v1::{DemandUpdate, WatchDemandRequest};
use testkit::listen;
use tokio::sync::watch;
use tokio_stream::wrappers::{IntervalStream, TcpListenerStream, WatchStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

struct Front {
    demand: watch::Receiver<DemandUpdate>,
}

/// Serves it until `shutdown`, and returns its URL.
pub async fn serve(demand: watch::Receiver<DemandUpdate>, shutdown: &CancellationToken) -> String {
    let (listener, url) = listen().await;
    let service = DemandServer::new(Front { demand });
    let serving = Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(serving));
    url
}

#[tonic::async_trait]
impl Demand for Front {
    type WatchDemandStream =
        std::pin::Pin<Box<dyn futures::Stream<Item = Result<DemandUpdate, Status>> + Send>>;

    async fn watch_demand(
        &self,
        _request: Request<WatchDemandRequest>,
    ) -> Result<Response<Self::WatchDemandStream>, Status> {
        let demand = self.demand.clone();
        let changes = WatchStream::new(self.demand.clone());
        let beat = IntervalStream::new(tokio::time::interval(Duration::from_secs(1)))
            .map(move |_| *demand.borrow());
        let updates = futures::stream::select(changes, beat).map(Ok);
        Ok(Response::new(Box::pin(updates)))
    }
}
