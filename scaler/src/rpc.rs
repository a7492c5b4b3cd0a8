//! The gRPC service `muster.v1.Scaler`.
//!
//! | module | what it does |
//! |---|---|
//! | `access` | authorizes operators |
//! | `control` | changes bounds, pauses and resumes |
//! | `status_stream` | streams decisions |
//! | `wire` | encodes decisions as protobuf |

mod access;
mod control;
mod status_stream;
pub(crate) mod wire;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use platform::fleet::Market;
use platform::shutdown::CancellationToken;
use proto::v1::scaler_server::Scaler;
use proto::v1::{
    GetStatusRequest, ListDecisionsRequest, ListDecisionsResponse, PauseRequest, ResumeRequest,
    ScalerStatus, SetBoundsRequest, WatchStatusRequest, WorkerOrder, WorkerReport,
};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};

pub use self::access::{Operators, TOKEN_VARIABLE, TokenArgs};
use crate::decision_log::{ActivePolicy, DecisionLog};
use crate::fleet::worker_registry::WorkerSession;
use crate::fleet::{FleetToken, WorkerRegistry};
use crate::lease::Leadership;
use crate::plan::{InstanceId, Policy};

/// How many decisions are listed when the request gives no limit.
const DEFAULT_LIMIT: u32 = 100;
/// The largest request that the service accepts. A worker's report has less than 100 bytes.
pub const MOST_REQUEST_BYTES: usize = 4 * 1024;
/// How many workers may attend at a time.
pub const MOST_STREAMS: usize = 16 * 1024;
/// How long a worker may take to send its first report.
const FIRST_REPORT_DEADLINE: Duration = Duration::from_secs(5);

/// Serves the decision log and control, and receives the workers' streams.
#[derive(Debug)]
pub struct ScalerService {
    /// The policy that the reconciler applies.
    pub active: watch::Sender<ActivePolicy>,
    pub operators: Operators,
    pub fleet_token: FleetToken,
    /// How instances are bought: some bounds are invalid with some markets.
    pub market: Market,
    pub registry: WorkerRegistry,
    /// One permit for each worker that attends.
    pub streams: Arc<Semaphore>,
    pub log: DecisionLog,
    pub leadership: Leadership,
    pub shutdown: CancellationToken,
}

type ReplyStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Scaler for ScalerService {
    type WatchStatusStream = ReplyStream<ScalerStatus>;
    type AttendStream = ReplyStream<WorkerOrder>;

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        self.operators.may_read(request.metadata())?;
        let latest = Arc::clone(&self.log.latest.borrow());
        Ok(Response::new(wire::encode(&latest)))
    }

    async fn watch_status(
        &self,
        request: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        self.operators.may_read(request.metadata())?;
        let WatchStatusRequest { every, interval } = request.into_inner();
        let statuses = match status_stream::display_interval(every, interval)? {
            Some(interval) => status_stream::newest(&self.log, interval).boxed(),
            None => status_stream::statuses(&self.log, every).boxed(),
        };
        let until = self.shutdown.clone().cancelled_owned();
        Ok(Response::new(Box::pin(statuses.map(Ok).take_until(until))))
    }

    async fn list_decisions(
        &self,
        request: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        self.operators.may_read(request.metadata())?;
        let ListDecisionsRequest { limit, since } = request.into_inner();
        let since = wire::decode_timestamp(since, "since")
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let limit = if limit == 0 { DEFAULT_LIMIT } else { limit };
        let recent = self.log.recent(limit as usize, since);
        Ok(Response::new(ListDecisionsResponse {
            decisions: recent.iter().map(|it| wire::encode(it)).collect(),
        }))
    }

    async fn set_bounds(
        &self,
        request: Request<SetBoundsRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        self.operators.may_change(request.metadata())?;
        let request = request.into_inner();
        self.change(|policy| {
            let price = policy.prices.per_hour;
            control::set_bounds(&mut policy.bounds, &request, self.market, price)?;
            tracing::info!(bounds = ?policy.bounds, "changed the bounds");
            Ok(())
        })
        .await
    }

    async fn pause(
        &self,
        request: Request<PauseRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        self.operators.may_change(request.metadata())?;
        let by = control::paused_by(request.into_inner())?;
        self.change(|policy| {
            tracing::info!(by, "paused");
            policy.paused_by = Some(by);
            Ok(())
        })
        .await
    }

    async fn resume(
        &self,
        request: Request<ResumeRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        self.operators.may_change(request.metadata())?;
        self.change(|policy| {
            tracing::info!("resumed");
            policy.paused_by = None;
            Ok(())
        })
        .await
    }

    async fn attend(
        &self,
        request: Request<Streaming<WorkerReport>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let Some(token) = self.fleet_token.known().await else {
            return Err(Status::unavailable(
                "the fleet's token is not known yet: retry",
            ));
        };
        token.check(request.metadata())?;
        if let Some(why) = self.leadership.clone().known().await {
            return Err(Status::unavailable(format!("standing by: {why}")));
        }
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        let permit = permit.map_err(|_| Status::resource_exhausted("too many workers attend"))?;
        let mut reports = request.into_inner();
        let first = first_report(&mut reports).await?;
        let id = InstanceId::from(first.instance_id.as_str());
        let (orders, ordered) = watch::channel(None);
        let session = self.registry.join(&id, orders);
        let session = session.ok_or_else(|| not_of_the_fleet(&id))?;
        tracing::debug!(instance = %id, state = first.state().as_str_name(), "a worker attends");
        let (fault, found_fault) = oneshot::channel();
        let replaced = closed(ordered.clone());
        // The end of the stream makes the worker look for the scaler that leads now.
        let lost = self.leadership.clone().lost();
        let receiving = async move {
            let received = tokio::select! {
                received = receive_reports(&session, &id, first, reports) => received,
                () = replaced => Ok(()),
                () = lost => Ok(()),
            };
            if let Err(status) = received {
                // The worker may be gone.
                drop(fault.send(status));
            }
            tracing::debug!(instance = %id, "a worker's stream ended");
            drop(permit);
        };
        tokio::spawn(self.shutdown.clone().run_until_cancelled_owned(receiving));
        // The orders end when the registry drops the sender: the worker left, or came back on another stream.
        let orders = WatchStream::new(ordered).filter_map(async |order| order.map(Ok));
        let fault = stream::once(found_fault).filter_map(async |fault| fault.ok().map(Err));
        let until = self.shutdown.clone().cancelled_owned();
        Ok(Response::new(Box::pin(
            orders.chain(fault).take_until(until),
        )))
    }
}

impl ScalerService {
    async fn change(
        &self,
        change: impl FnOnce(&mut Policy) -> Result<(), Status>,
    ) -> Result<Response<ScalerStatus>, Status> {
        if let Some(why) = self.leadership.clone().known().await {
            return Err(control::refuse_as_standby(&why));
        }
        let decision =
            control::change(&self.active, &self.log, control::EFFECT_DEADLINE, change).await?;
        Ok(Response::new(wire::encode(&decision)))
    }
}

/// Waits for the first report of a stream.
async fn first_report(reports: &mut Streaming<WorkerReport>) -> Result<WorkerReport, Status> {
    let first = tokio::time::timeout(FIRST_REPORT_DEADLINE, reports.message());
    let Ok(first) = first.await else {
        return Err(Status::deadline_exceeded("the first report is late"));
    };
    let first =
        first?.ok_or_else(|| Status::invalid_argument("the stream ended without a report"))?;
    if first.order_sequence != 0 {
        return Err(Status::invalid_argument(
            "the first report acknowledges an order, but none was sent on this stream: send order_sequence 0",
        ));
    }
    Ok(first)
}

/// Processes a worker's reports until the stream ends or another one replaces it.
async fn receive_reports(
    session: &WorkerSession,
    id: &InstanceId,
    first: WorkerReport,
    mut reports: Streaming<WorkerReport>,
) -> Result<(), Status> {
    let mut next = Some(first);
    while let Some(report) = next {
        if report.instance_id != id.as_str() {
            return Err(Status::invalid_argument(
                "all reports of a stream must name the instance of the first one",
            ));
        }
        if !session.report(&report) {
            return Ok(());
        }
        next = reports.message().await?;
    }
    Ok(())
}

/// Waits until the channel of orders is closed.
async fn closed(mut ordered: watch::Receiver<Option<WorkerOrder>>) {
    while ordered.changed().await.is_ok() {}
}

/// EC2's list may lag: an instance that is not known now may be known soon.
fn not_of_the_fleet(id: &InstanceId) -> Status {
    Status::not_found(format!(
        "{id} is not an instance of the fleet, or EC2 does not list it yet: retry"
    ))
}

#[cfg(test)]
mod tests {
    use platform::access::{Authenticator, called_with};
    use platform::token::Token;
    use tonic::Code;

    use super::*;
    use crate::clock::Clock;

    fn authorized<T>(request: T) -> Request<T> {
        called_with(Some(&Token::parse("secret").unwrap()), request)
    }

    #[tokio::test]
    async fn a_standby_refuses_changes_and_names_the_leader() {
        let clock = Clock::start();
        let service = ScalerService {
            active: watch::Sender::new(ActivePolicy::default()),
            operators: Operators {
                access: Authenticator::open_to_all(),
                token: Some(Token::parse("secret").unwrap()),
            },
            fleet_token: FleetToken::given(Token::parse("fleet").unwrap()),
            market: Market::OnDemand,
            registry: WorkerRegistry::new(clock),
            streams: Arc::new(Semaphore::new(1)),
            log: DecisionLog::new(ActivePolicy::default()),
            leadership: Leadership::standby(clock, "10.0.0.9:50052 leads"),
            shutdown: CancellationToken::new(),
        };
        let pause = PauseRequest { by: String::new() };
        let bounds = SetBoundsRequest {
            max_workers: Some(3),
            ..SetBoundsRequest::default()
        };
        let refusals = [
            service.pause(authorized(pause)).await.unwrap_err(),
            service
                .resume(authorized(ResumeRequest {}))
                .await
                .unwrap_err(),
            service.set_bounds(authorized(bounds)).await.unwrap_err(),
        ];
        for refused in refusals {
            assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
            assert!(refused.message().contains("10.0.0.9:50052"), "{refused}");
        }
        assert_eq!(service.active.borrow().version, 0);
        // A caller without a token does not learn who leads.
        let refused = service.resume(Request::new(ResumeRequest {})).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    }
}
