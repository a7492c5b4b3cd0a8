use std::time::{Duration, Instant};

use platform::shutdown::CancellationToken;
use platform::token::Token;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::worker_order::Order as OrderKind;
use proto::v1::{Interruption, WorkerOrder, WorkerReport, WorkerState};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};

use super::notices::Notices;

/// A worker that has nothing new to say still says so this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// The newest order of the scaler. A worker that was never ordered anything takes work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Order {
    pub cordoned: bool,
    /// Counts within one stream; 0 when this stream has brought no order yet.
    pub sequence: u64,
    /// Which connection to the scaler brought it: sequence numbers of an earlier one mean nothing to a later one.
    pub stream: u64,
}

/// What the worker does; the attending task adds who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub state: WorkerState,
    pub completed: u64,
    /// Why it takes no more work, whatever it is ordered.
    pub interruption: Option<Interruption>,
    /// The newest order that was taken into account.
    pub obeyed: Order,
}

/// The worker's side of `Scaler/Attend`: its status goes up, orders come down. EC2's notices come beside them.
#[derive(Debug)]
pub struct Attendance {
    pub status: watch::Sender<Status>,
    pub orders: watch::Receiver<Order>,
    pub notices: Notices,
}

/// Whether the worker may take work.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    /// The scaler's newest order.
    pub order: Order,
    /// EC2's notice, which no order overrules.
    pub interruption: Option<Interruption>,
}

impl Attendance {
    /// Of a worker that has no scaler: its status is seen by nobody and no order ever comes.
    pub fn alone(notices: Notices) -> Self {
        Self {
            status: watch::Sender::new(Status::booting()),
            orders: watch::channel(Order::default()).1,
            notices,
        }
    }

    /// Where the worker stands now; [`Attendance::changed`] waits for the next change of it.
    pub fn standing(&mut self) -> Standing {
        Standing {
            order: *self.orders.borrow_and_update(),
            interruption: *self.notices.borrow_and_update(),
        }
    }

    /// Waits for an order or a notice; for ever when neither can come any more.
    pub async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.orders.changed() => {}
            Ok(()) = self.notices.changed() => {}
            else => std::future::pending().await,
        }
    }
}

impl Standing {
    pub fn is_cordoned(&self) -> bool {
        self.order.cordoned || self.interruption.is_some()
    }
}

impl Status {
    fn booting() -> Self {
        Self {
            state: WorkerState::Booting,
            completed: 0,
            interruption: None,
            obeyed: Order::default(),
        }
    }
}

/// Attends one of the `scalers` in the background until `shutdown`, in turns for as long as it takes: only one of them
/// leads, and the others refuse, as the leader does until EC2 lists the instance. `token` is the fleet's. A worker works on
/// without a scaler, but stays cordoned if it was.
pub fn attend(
    scalers: Vec<Channel>,
    instance_id: String,
    token: Option<Token>,
    notices: Notices,
    shutdown: CancellationToken,
) -> Attendance {
    let (status, statuses) = watch::channel(Status::booting());
    let (order, orders) = watch::channel(Order::default());
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        let mut retry = FIRST_RETRY;
        let mut refused_in_a_row = 0;
        let mut refusal = None;
        for scaler in scalers.iter().cycle() {
            let (id, token) = (&instance_id, token.as_ref());
            let streamed = stream(scaler, id, token, statuses.clone(), &order).await;
            let lasted = streamed.as_ref().copied().unwrap_or_default();
            refusal = note_refusal(streamed.err(), refusal);
            if lasted > LONGEST_RETRY {
                (retry, refused_in_a_row) = (FIRST_RETRY, 0);
            }
            refused_in_a_row += 1;
            // The next one is asked at once, but nobody is asked twice without a pause.
            if refused_in_a_row == scalers.len() {
                tokio::time::sleep(retry).await;
                (retry, refused_in_a_row) = ((retry * 2).min(LONGEST_RETRY), 0);
            }
        }
    }));
    Attendance {
        status,
        orders,
        notices,
    }
}

/// Logs why the worker is not let in, once for each reason. Others than these come and go by themselves.
fn note_refusal(refusal: Option<tonic::Status>, before: Option<Code>) -> Option<Code> {
    let Some(refusal) = refusal else {
        return before;
    };
    let is_news = before != Some(refusal.code());
    match refusal.code() {
        Code::Unauthenticated if is_news => {
            tracing::warn!(
                reason = refusal.message(),
                "the scaler does not let this worker in: give it the fleet's token"
            );
        }
        Code::Unauthenticated => {}
        _ => {
            tracing::debug!(error = %refusal, "the scaler cannot be attended");
            return before;
        }
    }
    Some(refusal.code())
}

/// One stream, from its first report to its end. Returns how long it was open.
///
/// # Errors
/// When it was refused.
async fn stream(
    scaler: &Channel,
    instance_id: &str,
    token: Option<&Token>,
    mut statuses: watch::Receiver<Status>,
    order: &watch::Sender<Order>,
) -> Result<Duration, tonic::Status> {
    let stream = next_stream(order);
    let (reports, outgoing) = mpsc::channel(4);
    let reporter = Reporter {
        instance_id,
        stream,
        reports,
    };
    let first = *statuses.borrow_and_update();
    reporter.report(first).await;
    let mut request = Request::new(ReceiverStream::new(outgoing));
    if let Some(token) = token {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", token.bearer());
    }
    let orders = ScalerClient::new(scaler.clone()).attend(request).await?;
    let opened = Instant::now();
    let ended = exchange(orders.into_inner(), &reporter, statuses, order).await;
    if let Err(error) = ended {
        tracing::debug!(%error, "the scaler cannot be attended any more");
    }
    Ok(opened.elapsed())
}

/// Sequence numbers count anew, while the order itself stands.
fn next_stream(order: &watch::Sender<Order>) -> u64 {
    order.send_modify(|order| {
        *order = Order {
            sequence: 0,
            stream: order.stream + 1,
            ..*order
        }
    });
    order.borrow().stream
}

/// Speaks for the worker on one stream.
struct Reporter<'a> {
    instance_id: &'a str,
    stream: u64,
    reports: mpsc::Sender<WorkerReport>,
}

impl Reporter<'_> {
    /// `false` when the stream has ended.
    async fn report(&self, status: Status) -> bool {
        let obeys_this_stream = status.obeyed.stream == self.stream;
        let report = WorkerReport {
            instance_id: self.instance_id.to_owned(),
            state: status.state.into(),
            completed: status.completed,
            order_sequence: if obeys_this_stream {
                status.obeyed.sequence
            } else {
                0
            },
            interruption: status.interruption,
        };
        self.reports.send(report).await.is_ok()
    }
}

/// Takes orders and reports each change of status, and the status as such now and then, until the stream ends.
async fn exchange(
    mut orders: Streaming<WorkerOrder>,
    reporter: &Reporter<'_>,
    mut statuses: watch::Receiver<Status>,
    order: &watch::Sender<Order>,
) -> Result<(), tonic::Status> {
    let mut ticks = tokio::time::interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            received = orders.message() => match received? {
                Some(received) => {
                    order.send_replace(parse(&received, reporter.stream));
                    continue;
                }
                None => return Ok(()),
            },
            changed = statuses.changed() => if changed.is_err() { return Ok(()) },
            _ = ticks.tick() => {}
        }
        let status = *statuses.borrow_and_update();
        if !reporter.report(status).await {
            return Ok(());
        }
    }
}

fn parse(received: &WorkerOrder, stream: u64) -> Order {
    Order {
        cordoned: matches!(received.order, Some(OrderKind::Cordon(_))),
        sequence: received.sequence,
        stream,
    }
}
