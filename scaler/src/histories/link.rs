use std::collections::VecDeque;
use std::time::Duration;

use proto::v1::worker_order::Order;
use proto::v1::{WorkerOrder, WorkerReport, WorkerState};
use tokio::sync::watch;

use crate::fleet::fixtures::report;
use crate::fleet::worker_registry::{SessionId, Workers};
use crate::plan::{InstanceId, Timestamp};
use crate::simulate::{Machine, Phase};

pub const REPORT_EVERY: Duration = Duration::from_secs(1);

/// A worker's end of its stream to the scaler.
#[derive(Debug)]
pub struct Link {
    pub id: InstanceId,
    /// When EC2 was first polled after the instance ran, as the scaler records it.
    pub running_since: Option<Timestamp>,
    stream: Option<Stream>,
    /// When an idle worker's receive call ends.
    reads_at: Timestamp,
    /// How many jobs it had finished when it last read its orders.
    completed: u64,
}

#[derive(Debug)]
struct Stream {
    session: SessionId,
    orders: watch::Receiver<Option<WorkerOrder>>,
    /// The last order that was obeyed.
    sequence: u64,
    reported_at: Timestamp,
    reported: Option<WorkerReport>,
    /// Reports on their way, and when they arrive.
    reports: VecDeque<(Timestamp, WorkerReport)>,
}

impl Link {
    pub fn new(id: InstanceId) -> Self {
        Self {
            id,
            running_since: None,
            stream: None,
            reads_at: Timestamp::default(),
            completed: 0,
        }
    }

    /// Reports on their way are lost.
    pub fn break_stream(&mut self) {
        self.stream = None;
    }

    /// Opens a stream unless there is one. When the registry refuses it, the worker tries again at the next step.
    pub fn connect(&mut self, workers: &mut Workers, now: Timestamp) {
        if self.stream.is_some() {
            return;
        }
        let (sender, orders) = watch::channel(None);
        let session = workers.join(&self.id, sender, now);
        self.stream = session.map(|session| Stream {
            session,
            orders,
            sequence: 0,
            reported_at: now,
            reported: None,
            reports: VecDeque::new(),
        });
    }

    /// Returns the newest order when the worker reads it: between receive calls, or always while it loads or is cordoned. A
    /// busy worker obeys after its job, and acknowledges the order then.
    pub fn read_order(
        &mut self,
        machine: &Machine,
        now: Timestamp,
        reads_again_at: Timestamp,
    ) -> Option<Order> {
        let is_receiving = machine.phase == Phase::Idle && !machine.confirmed;
        let had_no_job = machine.completed == self.completed;
        if is_receiving && had_no_job && now < self.reads_at {
            return None;
        }
        (self.reads_at, self.completed) = (reads_again_at, machine.completed);
        let stream = self.stream.as_mut()?;
        let order = (*stream.orders.borrow())?;
        if machine.phase != Phase::Busy {
            stream.sequence = order.sequence;
        }
        order.order
    }

    /// Sends a report when anything changed, or when the last one is a while ago.
    pub fn report(&mut self, machine: &Machine, now: Timestamp, arrives: Timestamp) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let state = match machine.phase {
            Phase::Busy => WorkerState::Busy,
            _ if machine.cordoned => WorkerState::Cordoned,
            Phase::Loading => WorkerState::Booting,
            _ => WorkerState::Idle,
        };
        let report = WorkerReport {
            completed: machine.completed,
            order_sequence: stream.sequence,
            ..report(&self.id, state)
        };
        let is_due = now.since(stream.reported_at) >= REPORT_EVERY;
        if is_due || stream.reported.as_ref() != Some(&report) {
            stream.reported_at = now;
            stream.reported = Some(report.clone());
            let after_last = stream.reports.back().map(|(last, _)| *last);
            stream
                .reports
                .push_back((arrives.max(after_last.unwrap_or(arrives)), report));
        }
    }

    /// Delivers the reports that arrive by `now`. The stream ends when the registry knows a newer one.
    pub fn deliver(&mut self, workers: &mut Workers, now: Timestamp) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        while let Some((_, report)) = stream.reports.pop_front_if(|(arrives, _)| *arrives <= now) {
            if workers.report(&stream.session, &report, now).is_none() {
                self.stream = None;
                return;
            }
        }
    }
}
