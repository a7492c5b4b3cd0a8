//! The faults of a seed.

use std::time::Duration;

use platform::fleet::PowerState;

use crate::event::{Event, FrontStep, WorkerStep};
use crate::random::Random;
use crate::system::Simulation;

#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// A worker's process dies, at any time or before one of the next steps of its jobs.
    KillWorker(usize),
    KillAtJobStep(u32),
    /// SIGSTOP, and SIGCONT after a while.
    Freeze(usize, Duration),
    KillFront {
        front: usize,
        down: Duration,
        same_queue: bool,
    },
    KillAtFrontStep(u32),
    RestartScaler(Duration),
    LoseSqs(Duration),
    LoseS3(Duration),
    Interrupt(usize),
    BreakStream(usize),
}

impl Fault {
    pub fn any(random: &mut Random) -> Self {
        let pick = random.below(100);
        match random.below(14) {
            0 => Self::KillWorker(pick),
            1..=3 => Self::KillAtJobStep(1 + random.below(30) as u32),
            4 | 5 => Self::Freeze(pick, random.millis(200, 12_000)),
            6 => Self::KillFront {
                front: pick,
                down: random.millis(100, 4_000),
                same_queue: random.chance(0.5),
            },
            7 => Self::KillAtFrontStep(1 + random.below(30) as u32),
            8 => Self::RestartScaler(random.millis(500, 4_000)),
            9 => Self::LoseSqs(random.millis(100, 5_000)),
            10 => Self::LoseS3(random.millis(100, 5_000)),
            11 => Self::Interrupt(pick),
            _ => Self::BreakStream(pick),
        }
    }
}

impl Simulation {
    pub fn fail(&mut self, fault: Fault) {
        match fault {
            Fault::KillWorker(pick) => {
                if let Some(instance) = self.any_worker(pick) {
                    self.worker_after(Duration::ZERO, instance, WorkerStep::Kill);
                }
            }
            Fault::KillAtJobStep(steps) => self.doomed_job_step = Some(steps),
            Fault::Freeze(pick, time) => {
                let until = self.now + time;
                if let Some(worker) = self
                    .any_worker(pick)
                    .and_then(|it| self.workers.get_mut(&it))
                {
                    worker.frozen_until = until;
                }
            }
            Fault::KillFront {
                front,
                down,
                same_queue,
            } => self.kill_for(front % self.fronts.len(), down, same_queue),
            Fault::KillAtFrontStep(steps) => self.doomed_front_step = Some(steps),
            Fault::RestartScaler(down) => self.restart_scaler(down),
            Fault::LoseSqs(time) => self.sqs.down_until = self.now + time,
            Fault::LoseS3(time) => self.s3.down_until = self.now + time,
            Fault::Interrupt(pick) => {
                let instance = self.any_worker(pick);
                let is_running =
                    |it: &usize| self.ec2.instances[*it].state == Some(PowerState::Running);
                if let Some(instance) = instance.filter(is_running) {
                    self.interrupt(instance);
                }
            }
            Fault::BreakStream(pick) => {
                if let Some(instance) = self.any_worker(pick) {
                    self.break_stream(instance);
                }
            }
        }
    }

    fn any_worker(&self, pick: usize) -> Option<usize> {
        let running = self.workers.len();
        let chosen = (running > 0).then(|| pick % running)?;
        self.workers.keys().nth(chosen).copied()
    }

    fn kill_for(&mut self, front: usize, down: Duration, same_queue: bool) {
        if self.fronts[front].is_up {
            self.kill_front(front);
            self.after(down, Event::FrontReturns { front, same_queue });
        }
    }

    /// Whether a worker dies before this step.
    pub fn is_doomed_job_step(&mut self) -> bool {
        is_last(&mut self.doomed_job_step)
    }

    /// Whether a front dies before this step. Polls and scans do not count.
    pub fn is_doomed_front_step(&mut self, step: &FrontStep) -> bool {
        let counts = !matches!(
            step,
            FrontStep::Poll | FrontStep::Scan | FrontStep::ScanOn(_) | FrontStep::Expire
        );
        counts && is_last(&mut self.doomed_front_step)
    }

    pub fn crash_front(&mut self, front: usize) {
        let (down, same_queue) = (self.random.millis(100, 4_000), self.random.chance(0.5));
        self.kill_for(front, down, same_queue);
    }
}

fn is_last(steps: &mut Option<u32>) -> bool {
    match steps {
        Some(1) => {
            *steps = None;
            true
        }
        Some(more) => {
            *more -= 1;
            false
        }
        None => false,
    }
}
