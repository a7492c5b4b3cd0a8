//! A worker's stream to the scaler, as `worker::service::attend`.

use std::time::Duration;

use proto::v1::{WorkerOrder, WorkerState};
use worker::service::pure::Order;

use crate::event::{Event, ScalerStep, Time, WorkerStep};
use crate::injected_bugs::InjectedBug;
use crate::system::Simulation;

const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Default)]
pub struct Link {
    /// The open stream, or the one that is being opened.
    stream: Option<u64>,
    retries: u32,
    /// When the last message arrives: none overtakes another.
    last_arrives: Time,
    reported_at: Time,
}

impl Simulation {
    /// Opens a stream, with the first report.
    pub fn attend(&mut self, instance: usize) {
        let arrives = self.now + self.latency();
        let scaler = self.scaler.life;
        let Some(worker) = self.workers.get_mut(&instance) else {
            return;
        };
        worker.order = worker.order.on_next_stream();
        let stream = worker.order.stream;
        worker.link.stream = Some(stream);
        (worker.link.last_arrives, worker.link.reported_at) = (arrives, self.now);
        let first = worker.status.report(&id(instance), stream);
        let step = ScalerStep::Join {
            instance,
            life: worker.life,
            stream,
            first,
        };
        let life = scaler;
        self.event_queue.add(arrives, Event::Scaler { life, step });
        self.worker_after(REPORT_INTERVAL, instance, WorkerStep::Report);
        // The loop sees the new stream.
        self.turn(instance);
    }

    /// The scaler does not know the instance yet, or is gone.
    fn refused(&mut self, instance: usize) {
        if let Some(worker) = self.workers.get_mut(&instance) {
            worker.link.stream = None;
            let wait = (FIRST_RETRY * (1 << worker.link.retries.min(6))).min(LONGEST_RETRY);
            worker.link.retries += 1;
            self.worker_after(wait, instance, WorkerStep::Attend);
        }
    }

    pub fn stream_ends(&mut self, instance: usize, stream: u64) {
        let worker = self.workers.get_mut(&instance);
        if let Some(worker) = worker.filter(|it| it.link.stream == Some(stream)) {
            worker.link.retries = 0;
            self.refused(instance);
        }
    }

    /// Reports a change of the status at once, and an unchanged one every second.
    pub fn report(&mut self, instance: usize) {
        let (now, latency, scaler) = (self.now, self.latency(), self.scaler.life);
        let lies = self.breaks(InjectedBug::ConfirmsWhileBusy);
        let Some(worker) = self.workers.get_mut(&instance) else {
            return;
        };
        let Some(stream) = worker.link.stream else {
            return;
        };
        let arrives = (now + latency).max(worker.link.last_arrives);
        worker.link.last_arrives = arrives;
        let is_next_due = worker.link.reported_at + REPORT_INTERVAL <= now;
        let mut report = worker.status.report(&id(instance), stream);
        if lies && report.state() == WorkerState::Busy {
            report.set_state(WorkerState::Cordoned);
        }
        let step = ScalerStep::Report {
            instance,
            stream,
            report,
        };
        let life = scaler;
        self.event_queue.add(arrives, Event::Scaler { life, step });
        if is_next_due {
            worker.link.reported_at = now;
            self.worker_after(REPORT_INTERVAL, instance, WorkerStep::Report);
        }
    }

    pub fn ordered(&mut self, instance: usize, stream: u64, order: &WorkerOrder) {
        let worker = self.workers.get_mut(&instance);
        if let Some(worker) = worker.filter(|it| it.link.stream == Some(stream)) {
            worker.order = Order::parse(order, stream);
            self.turn(instance);
        }
    }

    /// The scaler learns that the process is gone.
    pub fn leave(&mut self, instance: usize, link: &Link) {
        if let Some(stream) = link.stream {
            let (life, wait) = (self.scaler.life, self.latency());
            let step = ScalerStep::Leave { instance, stream };
            self.after(wait, Event::Scaler { life, step });
        }
    }
}

/// Returns the id of an instance.
pub fn id(instance: usize) -> String {
    format!("i-{instance:08x}")
}
