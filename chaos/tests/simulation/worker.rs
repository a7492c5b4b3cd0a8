//! A worker's process: the real intake, orders and reports, with the calls around them in the order of `worker::service`.

mod job;
mod link;

use std::collections::BTreeMap;
use std::time::Duration;

use platform::queue::Message;
use proto::v1::{Interruption, InterruptionAction};
use worker::service::pure::{Control, Intake, Order, Status};

use crate::event::{CloudResult, Event, Time, WorkerStep};
use crate::queues::{REQUESTS, Receiver};
use crate::system::Simulation;

pub use job::JobRun;
use link::Link;
pub use link::id;

/// How long jobs in flight may take at the shutdown, as `--drain-deadline`. EC2 gives about as long.
const DRAIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Worker {
    pub life: u32,
    pub intake: Intake,
    /// Whether the model is loaded.
    pub is_ready: bool,
    pub jobs: BTreeMap<u64, JobRun>,
    next_job: u64,
    order: Order,
    interruption: Option<Interruption>,
    status: Status,
    link: Link,
    /// Until when it is stopped by SIGSTOP.
    pub frozen_until: Time,
    pub is_ending: bool,
    /// Whether the scaler ended its instance because it confirmed to be cordoned.
    pub is_scaled_in: bool,
}

impl Worker {
    fn control(&self) -> Control {
        Control {
            order: self.order,
            interruption: self.interruption,
        }
    }

    /// Whether a message of the queue is with this worker, or may still come to it.
    pub fn may_have_work(&self) -> bool {
        !self.intake.is_free()
    }
}

impl Simulation {
    /// Starts the process on an instance. It loads its model for `loading`.
    pub fn start_worker(&mut self, instance: usize, life: u32, loading: Duration) {
        let worker = Worker {
            life,
            intake: Intake::new(self.scenario.max_jobs),
            is_ready: false,
            jobs: BTreeMap::new(),
            next_job: 0,
            order: Order::default(),
            interruption: None,
            status: Status::booting(Control::default()),
            link: Link::default(),
            frozen_until: Time::ZERO,
            is_ending: false,
            is_scaled_in: false,
        };
        self.workers.insert(instance, worker);
        self.worker_after(loading, instance, WorkerStep::Ready);
        if self.scenario.has_scaler {
            self.worker_after(Duration::ZERO, instance, WorkerStep::Attend);
        }
    }

    pub fn worker_after(&mut self, wait: Duration, instance: usize, step: WorkerStep) {
        let Some(worker) = self.workers.get(&instance) else {
            return;
        };
        let life = worker.life;
        let event = Event::Worker {
            instance,
            life,
            step,
        };
        self.after(wait, event);
    }

    pub fn worker_step(&mut self, instance: usize, life: u32, step: WorkerStep) {
        let Some(worker) = self.workers.get_mut(&instance) else {
            return;
        };
        if worker.life != life {
            return;
        }
        if self.now < worker.frozen_until && !matches!(step, WorkerStep::Kill) {
            let wait = worker.frozen_until - self.now;
            return self.worker_after(wait, instance, step);
        }
        match step {
            WorkerStep::Ready => {
                worker.is_ready = true;
                self.turn(instance);
            }
            WorkerStep::Turn => self.turn(instance),
            WorkerStep::Receive(request) => {
                let (receiver, hide_for) = (
                    Receiver::Worker { instance, life },
                    Some(self.scenario.visibility_timeout),
                );
                self.receive(REQUESTS, receiver, request.limit, request.wait, hide_for);
            }
            WorkerStep::Received(received) => self.received(instance, received),
            WorkerStep::Job { job, step } => self.job_step(instance, job, step),
            WorkerStep::Extend(job) => self.extend(instance, job),
            WorkerStep::Attend => self.attend(instance),
            WorkerStep::Report => self.report(instance),
            WorkerStep::Order { stream, order } => self.ordered(instance, stream, &order),
            WorkerStep::StreamEnds(stream) => self.stream_ends(instance, stream),
            WorkerStep::Notice => {
                worker.interruption = Some(Interruption {
                    action: InterruptionAction::Terminate.into(),
                    at: None,
                });
                self.turn(instance);
            }
            WorkerStep::Terminate => {
                worker.is_ending = true;
                if worker.is_scaled_in && worker.may_have_work() {
                    let what = format!("worker {instance} was stopped as idle with {worker:?}");
                    self.violated(what);
                }
                self.worker_after(DRAIN, instance, WorkerStep::Kill);
                self.turn(instance);
            }
            WorkerStep::Kill => self.kill_worker(instance),
        }
    }

    /// One round of the worker's loop, which follows each event.
    pub fn turn(&mut self, instance: usize) {
        let now = self.instant();
        let Some(worker) = self.workers.get_mut(&instance) else {
            return;
        };
        let control = worker.control();
        let status = if worker.is_ready {
            if worker.is_ending {
                worker.intake.end();
            }
            if worker.intake.is_over(0) {
                return self.exit(instance);
            }
            let actions = worker.intake.next_actions(control, 0, now);
            if let Some(request) = actions.receive {
                let there = self.latency();
                self.worker_after(there, instance, WorkerStep::Receive(request));
            }
            actions.status
        } else if worker.is_ending {
            return self.exit(instance);
        } else {
            Status::booting(control)
        };
        let Some(worker) = self.workers.get_mut(&instance) else {
            return;
        };
        if std::mem::replace(&mut worker.status, status) != status {
            self.report(instance);
        }
    }

    fn received(&mut self, instance: usize, received: CloudResult<Vec<Message>>) {
        let now = self.instant();
        let Some(worker) = self.workers.get_mut(&instance) else {
            return;
        };
        match received {
            Ok(messages) => {
                worker.intake.received(messages.len(), now);
                for message in messages {
                    self.start_job(instance, message);
                }
            }
            Err(_) => worker.intake.receive_failed(now),
        }
        self.pause_and_turn(instance);
    }

    /// Schedules the turn at the end of a new pause, and takes one now.
    fn pause_and_turn(&mut self, instance: usize) {
        let now = self.instant();
        let worker = self.workers.get(&instance);
        if let Some(end) = worker.and_then(|worker| worker.intake.pause_ends()) {
            self.worker_after(
                end.saturating_duration_since(now),
                instance,
                WorkerStep::Turn,
            );
        }
        self.turn(instance);
    }

    /// The process ends by itself: every message that it received is settled.
    fn exit(&mut self, instance: usize) {
        let Some(worker) = self.workers.remove(&instance) else {
            return;
        };
        self.disconnect_worker(instance, &worker);
        self.note(|| format!("worker {instance} stopped"));
        self.worker_exited(instance);
    }

    /// The process dies at once.
    pub fn kill_worker(&mut self, instance: usize) {
        let Some(worker) = self.workers.remove(&instance) else {
            return;
        };
        self.counts.kills += u64::from(worker.may_have_work());
        self.disconnect_worker(instance, &worker);
        self.note(|| format!("worker {instance} is dead"));
        self.worker_exited(instance);
    }

    fn disconnect_worker(&mut self, instance: usize, worker: &Worker) {
        let life = worker.life;
        // SQS may not notice, and hand a message to the closed connection.
        if self.random.chance(0.5) {
            self.sqs.disconnect(Receiver::Worker { instance, life });
        }
        self.leave(instance, &worker.link);
    }
}
