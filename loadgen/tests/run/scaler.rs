//! A scaler with a worker that runs and never stops.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use proto::v1::scaler_server::{Scaler, ScalerServer};
use proto::v1::{
    GetStatusRequest, Instance, InstanceState, ListDecisionsRequest, ListDecisionsResponse,
    Observation, PauseRequest, ResumeRequest, ScalerStatus, SetBoundsRequest, WatchStatusRequest,
    WorkerOrder, WorkerReport,
};
use testkit::listen;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

/// It responds while its gate is open.
pub struct BusyScaler {
    pub url: String,
    pub gate: watch::Sender<bool>,
}

pub async fn busy_scaler(is_open: bool) -> BusyScaler {
    let (listener, url) = listen().await;
    let (gate, gated) = watch::channel(is_open);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(ScalerServer::new(Busy { gated }));
    tokio::spawn(server.serve_with_incoming(incoming));
    BusyScaler { url, gate }
}

struct Busy {
    gated: watch::Receiver<bool>,
}

fn not_called<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not part of the test"))
}

#[tonic::async_trait]
impl Scaler for Busy {
    type WatchStatusStream = BoxStream<'static, Result<ScalerStatus, Status>>;
    type AttendStream = BoxStream<'static, Result<WorkerOrder, Status>>;

    async fn watch_status(
        &self,
        _: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        self.gated.clone().wait_for(|open| *open).await.unwrap();
        let status = ScalerStatus {
            observation: Some(Observation {
                instances: vec![Instance {
                    state: InstanceState::Idle.into(),
                    ..Instance::default()
                }],
                ..Observation::default()
            }),
            ..ScalerStatus::default()
        };
        let once = stream::iter([Ok(status)]).chain(stream::pending());
        Ok(Response::new(once.boxed()))
    }

    async fn get_status(
        &self,
        _: Request<GetStatusRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        not_called()
    }

    async fn list_decisions(
        &self,
        _: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        not_called()
    }

    async fn set_bounds(
        &self,
        _: Request<SetBoundsRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        not_called()
    }

    async fn pause(&self, _: Request<PauseRequest>) -> Result<Response<ScalerStatus>, Status> {
        not_called()
    }

    async fn resume(&self, _: Request<ResumeRequest>) -> Result<Response<ScalerStatus>, Status> {
        not_called()
    }

    async fn attend(
        &self,
        _: Request<Streaming<WorkerReport>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        not_called()
    }
}
