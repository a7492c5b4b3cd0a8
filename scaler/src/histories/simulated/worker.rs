use std::collections::VecDeque;

use proto::v1::{WorkerOrder, WorkerReport, WorkerState, worker_order};
use tokio::sync::watch;

use crate::attend::SessionId;
use crate::plan::{InstanceId, Moment};

#[derive(Debug, Clone)]
pub struct Worker {
    pub phase: Phase,
    pub until: Moment,
    pub cordoned: bool,
    pub sequence: u64,
    pub completed: u64,
    pub session: Option<SessionId>,
    pub orders: Option<watch::Receiver<Option<WorkerOrder>>>,
    pub reported_at: Moment,
    /// Reports on their way, and when they arrive.
    pub reports: VecDeque<(Moment, WorkerReport)>,
    pub hung: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Loading,
    Receiving,
    Working,
    Parked,
}

impl Worker {
    pub fn new(now: Moment, ready_at: Moment) -> Self {
        Self {
            phase: Phase::Loading,
            until: ready_at,
            cordoned: false,
            sequence: 0,
            completed: 0,
            session: None,
            orders: None,
            reported_at: now,
            reports: VecDeque::new(),
            hung: false,
        }
    }

    /// Obeys the newest order, and receives unless it is cordoned.
    pub fn next_turn(&mut self, now: Moment, poll_ends: Moment) {
        if let Some(order) = self.orders.as_ref().and_then(|orders| *orders.borrow()) {
            self.sequence = order.sequence;
            self.cordoned = matches!(order.order, Some(worker_order::Order::Cordon(_)));
        }
        if self.phase == Phase::Loading && now < self.until {
            return;
        }
        self.phase = if self.cordoned {
            Phase::Parked
        } else {
            Phase::Receiving
        };
        self.until = poll_ends;
    }

    pub fn report(&mut self, id: &InstanceId, now: Moment, arrives: Moment) {
        let state = match self.phase {
            _ if self.cordoned && self.phase != Phase::Working => WorkerState::Cordoned,
            Phase::Loading => WorkerState::Booting,
            Phase::Receiving | Phase::Parked => WorkerState::Idle,
            Phase::Working => WorkerState::Busy,
        };
        self.reported_at = now;
        let arrives = self
            .reports
            .back()
            .map_or(arrives, |(last, _)| arrives.max(*last));
        let report = WorkerReport {
            instance_id: id.to_string(),
            state: state.into(),
            completed: self.completed,
            order_sequence: self.sequence,
            interruption: None,
        };
        self.reports.push_back((arrives, report));
    }
}
