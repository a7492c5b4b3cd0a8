//! The gRPC service `muster.v1.Scaler`.

mod control;
mod watching;

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

use crate::access::Operators;
use crate::attend::{Attendance, Session};
use crate::board::{Board, Settings};
use crate::fleet_token::FleetToken;
use crate::lease::Leadership;
use crate::plan::{InstanceId, Policy};
use crate::wire;

/// How many decisions are listed unless the request says it.
const LISTED: u32 = 100;
/// The largest message that the service takes. A worker's report has less than 100 bytes.
pub const MOST_REQUEST_BYTES: usize = 4 * 1024;
/// How many workers attend at a time.
pub const MOST_STREAMS: usize = 16 * 1024;
/// How long a worker may take for its first report.
const FIRST_REPORT_DEADLINE: Duration = Duration::from_secs(5);

/// Answers from the loop's board, and takes in the workers' streams.
#[derive(Debug)]
pub struct ScalerService {
    /// What the loop goes by.
    pub settings: watch::Sender<Settings>,
    pub operators: Operators,
    /// What workers prove themselves with.
    pub fleet_token: FleetToken,
    /// Where instances are bought: some bounds do not go with some markets.
    pub market: Market,
    pub attendance: Attendance,
    /// A permit for each worker that attends.
    pub streams: Arc<Semaphore>,
    pub board: Board,
    pub leadership: Leadership,
    pub shutdown: CancellationToken,
}

type AnswerStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Scaler for ScalerService {
    type WatchStatusStream = AnswerStream<ScalerStatus>;
    type AttendStream = AnswerStream<WorkerOrder>;

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        self.operators.may_see(request.metadata())?;
        let latest = Arc::clone(&self.board.latest.borrow());
        Ok(Response::new(wire::encode(&latest)))
    }

    async fn watch_status(
        &self,
        request: Request<WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        self.operators.may_see(request.metadata())?;
        let statuses = watching::statuses(&self.board, request.get_ref().every).map(Ok);
        let until = self.shutdown.clone().cancelled_owned();
        Ok(Response::new(Box::pin(statuses.take_until(until))))
    }

    async fn list_decisions(
        &self,
        request: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        self.operators.may_see(request.metadata())?;
        let ListDecisionsRequest { limit, since } = request.into_inner();
        let since = wire::moment(since, "since")
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let limit = if limit == 0 { LISTED } else { limit };
        let recent = self.board.recent(limit as usize, since);
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
            control::set_bounds(&mut policy.bounds, &request, self.market)?;
            tracing::info!(bounds = ?policy.bounds, "the bounds were changed");
            Ok(())
        })
        .await
    }

    async fn pause(
        &self,
        request: Request<PauseRequest>,
    ) -> Result<Response<ScalerStatus>, Status> {
        self.operators.may_change(request.metadata())?;
        let by = control::pauser(request.into_inner())?;
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
        let Some(token) = self.fleet_token.settled().await else {
            return Err(Status::unavailable(
                "the fleet's token is not known yet: try again",
            ));
        };
        token.check(request.metadata())?;
        if let Some(why) = self.leadership.clone().settled().await {
            return Err(Status::unavailable(format!("standing by: {why}")));
        }
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        let permit = permit.map_err(|_| Status::resource_exhausted("too many workers attend"))?;
        let mut reports = request.into_inner();
        let first = first_report(&mut reports).await?;
        let id = InstanceId::from(first.instance_id.as_str());
        let (orders, ordered) = watch::channel(None);
        let session = self
            .attendance
            .join(&id, orders)
            .ok_or_else(|| stranger(&id))?;
        tracing::debug!(instance = %id, state = first.state().as_str_name(), "a worker attends");
        let (fault, found_fault) = oneshot::channel();
        let replaced = closed(ordered.clone());
        // Dropping what it hears with ends the stream, so that the worker looks for the scaler that leads now.
        let lost = self.leadership.clone().lost();
        let hearing = async move {
            let heard = tokio::select! {
                heard = hear(&session, &id, first, reports) => heard,
                () = replaced => Ok(()),
                () = lost => Ok(()),
            };
            if let Err(status) = heard {
                // The worker may be gone.
                drop(fault.send(status));
            }
            tracing::debug!(instance = %id, "a worker's stream ended");
            drop(permit);
        };
        tokio::spawn(self.shutdown.clone().run_until_cancelled_owned(hearing));
        // The orders end when the roster drops the sender: the worker left, or came back on another stream.
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
        // Nothing would come of it here, and the leader would not know.
        if let Some(why) = self.leadership.clone().settled().await {
            return Err(control::stands_by(&why));
        }
        let decision = control::change(
            &self.settings,
            &self.board,
            control::EFFECT_DEADLINE,
            change,
        )
        .await?;
        Ok(Response::new(wire::encode(&decision)))
    }
}

/// The report that begins a stream.
async fn first_report(reports: &mut Streaming<WorkerReport>) -> Result<WorkerReport, Status> {
    let first = tokio::time::timeout(FIRST_REPORT_DEADLINE, reports.message());
    let Ok(first) = first.await else {
        return Err(Status::deadline_exceeded("the first report is late"));
    };
    let first = first?.ok_or_else(|| Status::invalid_argument("there is no report"))?;
    if first.order_sequence != 0 {
        return Err(Status::invalid_argument(
            "the first report of a stream names an order, and none was sent on it yet",
        ));
    }
    Ok(first)
}

/// Hears a worker's reports out.
async fn hear(
    session: &Session,
    id: &InstanceId,
    first: WorkerReport,
    mut reports: Streaming<WorkerReport>,
) -> Result<(), Status> {
    let mut next = Some(first);
    while let Some(report) = next {
        if report.instance_id != id.as_str() {
            return Err(Status::invalid_argument(
                "a stream's reports are all of the instance that it began with",
            ));
        }
        if !session.report(&report) {
            return Ok(());
        }
        next = reports.message().await?;
    }
    Ok(())
}

/// Waits until no order can come any more.
async fn closed(mut ordered: watch::Receiver<Option<WorkerOrder>>) {
    while ordered.changed().await.is_ok() {}
}

/// EC2's list may lag, so that an instance which is not known now is known soon.
fn stranger(id: &InstanceId) -> Status {
    Status::not_found(format!(
        "{id} is none of the fleet's instances, or is not listed yet: try again"
    ))
}

#[cfg(test)]
mod tests {
    use platform::access::{Access, called_with};
    use platform::token::Token;
    use tonic::Code;

    use super::*;
    use crate::clock::Clock;

    fn ordered<T>(request: T) -> Request<T> {
        called_with(Some(&Token::parse("secret").unwrap()), request)
    }

    #[tokio::test]
    async fn a_standby_refuses_orders_and_names_the_leader() {
        let clock = Clock::start();
        let service = ScalerService {
            settings: watch::Sender::new(Settings::default()),
            operators: Operators {
                access: Access::anybody(),
                token: Some(Token::parse("secret").unwrap()),
            },
            fleet_token: FleetToken::given(Token::parse("fleet").unwrap()),
            market: Market::OnDemand,
            attendance: Attendance::new(clock),
            streams: Arc::new(Semaphore::new(1)),
            board: Board::new(Settings::default()),
            leadership: Leadership::standing_by_for(clock, "10.0.0.9:50052 leads"),
            shutdown: CancellationToken::new(),
        };
        let pause = PauseRequest { by: String::new() };
        let bounds = SetBoundsRequest {
            max_workers: Some(3),
            ..SetBoundsRequest::default()
        };
        let refusals = [
            service.pause(ordered(pause)).await.unwrap_err(),
            service.resume(ordered(ResumeRequest {})).await.unwrap_err(),
            service.set_bounds(ordered(bounds)).await.unwrap_err(),
        ];
        for refused in refusals {
            assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
            assert!(refused.message().contains("10.0.0.9:50052"), "{refused}");
        }
        assert_eq!(service.settings.borrow().version, 0);
        // Strangers do not learn that much.
        let stranger = service.resume(Request::new(ResumeRequest {})).await;
        assert_eq!(stranger.unwrap_err().code(), Code::Unauthenticated);
    }
}
