//! The worker's side of `Scaler/Attend`: its status goes up, orders come down.

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

/// Pause between two reports of an unchanged status.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

/// The newest order of the scaler. Without one a worker takes work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Order {
    pub cordoned: bool,
    /// Counts within one stream; 0 before its first order.
    pub sequence: u64,
    /// The stream that brought it. Sequence numbers of different streams are unrelated.
    pub stream: u64,
}

/// What the worker does. The attending task adds the instance id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub state: WorkerState,
    pub completed: u64,
    /// EC2's notice, because of which it takes no more work.
    pub interruption: Option<Interruption>,
    /// The newest order that this status takes into account.
    pub obeyed: Order,
}

/// The channels to the tasks that talk to the scaler and ask for EC2's notices.
#[derive(Debug)]
pub struct ScalerLink {
    pub status: watch::Sender<Status>,
    pub orders: watch::Receiver<Order>,
    pub notices: Notices,
}

/// Whether the worker may take work.
#[derive(Debug, Clone, Copy, Default)]
pub struct Control {
    /// The scaler's newest order.
    pub order: Order,
    /// EC2's notice, which overrules every order.
    pub interruption: Option<Interruption>,
}

impl Order {
    /// Returns the order as a new stream begins: sequence numbers restart, the order stays.
    #[must_use]
    pub fn on_next_stream(self) -> Self {
        Self {
            sequence: 0,
            stream: self.stream + 1,
            ..self
        }
    }

    /// Reads what the scaler sent on a stream.
    #[must_use]
    pub fn parse(received: &WorkerOrder, stream: u64) -> Self {
        Self {
            cordoned: matches!(received.order, Some(OrderKind::Cordon(_))),
            sequence: received.sequence,
            stream,
        }
    }
}

impl ScalerLink {
    /// Returns the link of a worker without a scaler: no order ever comes.
    pub fn alone(notices: Notices) -> Self {
        Self {
            status: watch::Sender::new(Status::booting(Control::default())),
            orders: watch::channel(Order::default()).1,
            notices,
        }
    }

    /// Returns the newest order and notice; [`ScalerLink::changed`] waits for the next one.
    pub fn control(&mut self) -> Control {
        Control {
            order: *self.orders.borrow_and_update(),
            interruption: *self.notices.borrow_and_update(),
        }
    }

    /// Waits for an order or a notice. Never returns once neither can come any more.
    pub async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.orders.changed() => {}
            Ok(()) = self.notices.changed() => {}
            else => std::future::pending().await,
        }
    }
}

impl Control {
    #[must_use]
    pub fn is_cordoned(&self) -> bool {
        self.order.cordoned || self.interruption.is_some()
    }
}

impl Status {
    /// Returns the status of a worker that has received no message yet, so it confirms each cordon and notice at once.
    #[must_use]
    pub fn booting(control: Control) -> Self {
        Self {
            state: if control.is_cordoned() {
                WorkerState::Cordoned
            } else {
                WorkerState::Booting
            },
            completed: 0,
            interruption: control.interruption,
            obeyed: control.order,
        }
    }

    /// Returns the report on a stream. It acknowledges only orders of the same stream.
    #[must_use]
    pub fn report(&self, instance_id: &str, stream: u64) -> WorkerReport {
        let obeys_this_stream = self.obeyed.stream == stream;
        WorkerReport {
            instance_id: instance_id.to_owned(),
            state: self.state.into(),
            completed: self.completed,
            order_sequence: if obeys_this_stream {
                self.obeyed.sequence
            } else {
                0
            },
            interruption: self.interruption,
        }
    }
}

/// Attends one of the `scalers` in the background until `shutdown`, with the fleet's `token`.
///
/// Only one scaler leads. The others refuse, and so does the leader until EC2 lists the instance, so all are tried in
/// turn. Without a scaler the worker keeps working, or stays cordoned if it was.
pub fn attend(
    scalers: Vec<Channel>,
    instance_id: String,
    token: Option<Token>,
    notices: Notices,
    shutdown: CancellationToken,
) -> ScalerLink {
    let (status, statuses) = watch::channel(Status::booting(Control::default()));
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
            // The next scaler is tried at once. A pause follows when all have refused.
            if refused_in_a_row == scalers.len() {
                tokio::time::sleep(retry).await;
                (retry, refused_in_a_row) = ((retry * 2).min(LONGEST_RETRY), 0);
            }
        }
    }));
    ScalerLink {
        status,
        orders,
        notices,
    }
}

/// Logs a missing or wrong token once. Other refusals are temporary.
fn note_refusal(refusal: Option<tonic::Status>, before: Option<Code>) -> Option<Code> {
    let Some(refusal) = refusal else {
        return before;
    };
    let is_new = before != Some(refusal.code());
    match refusal.code() {
        Code::Unauthenticated if is_new => {
            tracing::warn!(
                reason = refusal.message(),
                "the scaler refuses this worker: set MUSTER_FLEET_TOKEN to the fleet's token"
            );
        }
        Code::Unauthenticated => {}
        _ => {
            tracing::debug!(error = %refusal, "cannot attend the scaler");
            return before;
        }
    }
    Some(refusal.code())
}

/// Runs one stream from its first report to its end. Returns how long it was open.
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
        tracing::debug!(%error, "the stream to the scaler broke");
    }
    Ok(opened.elapsed())
}

/// Begins a new stream, and returns its number.
fn next_stream(order: &watch::Sender<Order>) -> u64 {
    order.send_modify(|order| *order = order.on_next_stream());
    order.borrow().stream
}

/// Sends the worker's reports on one stream.
struct Reporter<'a> {
    instance_id: &'a str,
    stream: u64,
    reports: mpsc::Sender<WorkerReport>,
}

impl Reporter<'_> {
    /// Returns `false` when the stream has ended.
    async fn report(&self, status: Status) -> bool {
        let report = status.report(self.instance_id, self.stream);
        self.reports.send(report).await.is_ok()
    }
}

/// Receives orders and reports each change of status, at least every [`REPORT_INTERVAL`], until the stream ends.
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
                    order.send_replace(Order::parse(&received, reporter.stream));
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
