use std::time::{Duration, Instant};

use platform::shutdown::CancellationToken;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::worker_order::Order as OrderKind;
use proto::v1::{WorkerOrder, WorkerReport, WorkerState};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

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
    /// The newest order that was taken into account.
    pub obeyed: Order,
}

/// The worker's side of `Scaler/Attend`: its status goes up, orders come down.
#[derive(Debug)]
pub struct Attendance {
    pub status: watch::Sender<Status>,
    pub orders: watch::Receiver<Order>,
}

impl Attendance {
    /// Of a worker that has no scaler: its status is seen by nobody and no order ever comes.
    pub fn alone() -> Self {
        let status = Status {
            state: WorkerState::Booting,
            completed: 0,
            obeyed: Order::default(),
        };
        Self {
            status: watch::Sender::new(status),
            orders: watch::channel(Order::default()).1,
        }
    }

    /// Waits for a change of orders; for ever when there is no scaler any more.
    pub async fn next_order(&mut self) {
        if self.orders.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Attends the scaler in the background until `shutdown`, and reconnects for as long as it takes: a worker works on
/// without a scaler, but stays cordoned if it was.
pub fn attend(scaler: Channel, instance_id: String, shutdown: CancellationToken) -> Attendance {
    let booting = Status {
        state: WorkerState::Booting,
        completed: 0,
        obeyed: Order::default(),
    };
    let (status, statuses) = watch::channel(booting);
    let (order, orders) = watch::channel(Order::default());
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        let mut client = ScalerClient::new(scaler);
        let mut retry = FIRST_RETRY;
        loop {
            let begun = Instant::now();
            if let Err(error) = stream(&mut client, &instance_id, statuses.clone(), &order).await {
                tracing::debug!(%error, "the scaler cannot be attended");
            }
            let lasted = begun.elapsed() > LONGEST_RETRY;
            retry = if lasted {
                FIRST_RETRY
            } else {
                (retry * 2).min(LONGEST_RETRY)
            };
            tokio::time::sleep(retry).await;
        }
    }));
    Attendance { status, orders }
}

/// One stream, from its first report to its end.
async fn stream(
    client: &mut ScalerClient<Channel>,
    instance_id: &str,
    mut statuses: watch::Receiver<Status>,
    order: &watch::Sender<Order>,
) -> Result<(), tonic::Status> {
    order.send_modify(|order| {
        *order = Order {
            sequence: 0,
            stream: order.stream + 1,
            ..*order
        }
    });
    let stream = order.borrow().stream;
    let report = |status: Status| WorkerReport {
        instance_id: instance_id.to_owned(),
        state: status.state.into(),
        completed: status.completed,
        order_sequence: if status.obeyed.stream == stream {
            status.obeyed.sequence
        } else {
            0
        },
    };
    let (reports, outgoing) = mpsc::channel(4);
    let first = *statuses.borrow_and_update();
    drop(reports.send(report(first)).await);
    let mut orders = client
        .attend(ReceiverStream::new(outgoing))
        .await?
        .into_inner();
    let mut ticks = tokio::time::interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            received = orders.message() => match received? {
                Some(received) => {
                    order.send_replace(parse(&received, stream));
                    continue;
                }
                None => return Ok(()),
            },
            changed = statuses.changed() => if changed.is_err() { return Ok(()) },
            _ = ticks.tick() => {}
        }
        let status = *statuses.borrow_and_update();
        if reports.send(report(status)).await.is_err() {
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
