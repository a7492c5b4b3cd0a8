//! The worker's loop.

use std::sync::Arc;

use anyhow::Context;
use platform::queue::{Message, QueueError};
use platform::shutdown::CancellationToken;
use proto::v1::WorkerState;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use tracing::Instrument;
use tracing::field::Empty;

use super::attend::{Control, ScalerLink, Status};
use super::deletes::{Deletes, Settled};
use super::inference::InferenceError;
use super::intake::{Ask, Intake};
use super::metric;
use super::process::{Outcome, Processor};

/// Receives messages, runs each by [`Processor::process`], several at once, and obeys the scaler and EC2's notices.
#[derive(Debug)]
pub struct Worker {
    processor: Arc<Processor>,
    link: ScalerLink,
    shutdown: CancellationToken,
    intake: Intake,
    /// The messages of jobs that have ended.
    deletes: Deletes,
    /// The jobs in flight and, if `is_receiving`, the receive call. Each runs to its end.
    activities: JoinSet<Event>,
    is_receiving: bool,
    completed: u64,
    control: Control,
    outage: Outage,
    /// Why the process must end.
    fatal: Option<anyhow::Error>,
}

/// The result of an activity.
#[derive(Debug)]
enum Event {
    Received(Ask, Result<Vec<Message>, QueueError>),
    Processed(Processed),
}

#[derive(Debug)]
struct Processed {
    outcome: Outcome,
    settled: Option<Settled>,
    elapsed: Duration,
    /// Jobs in flight at its start, itself included.
    together: usize,
}

/// Failed calls to S3 or SQS. Without a pause the worker would use up the receive counts of good messages.
#[derive(Debug, Default)]
struct Outage {
    /// Failures in a row. Those during a pause do not count.
    failures: u32,
    pause_ends: Option<Instant>,
}

impl Worker {
    pub fn new(
        processor: Processor,
        link: ScalerLink,
        max_jobs: usize,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            deletes: Deletes::new(processor.requests.clone()),
            processor: Arc::new(processor),
            link,
            shutdown,
            intake: Intake::new(max_jobs),
            activities: JoinSet::new(),
            is_receiving: false,
            completed: 0,
            control: Control::default(),
            outage: Outage::default(),
            fatal: None,
        }
    }

    /// Works until the shutdown, and then until every message that was received or is about to be received is settled and
    /// deleted.
    ///
    /// # Errors
    /// When an inference thread ended.
    pub async fn work(mut self) -> anyhow::Result<()> {
        loop {
            self.control = self.link.control();
            let is_ending = self.shutdown.is_cancelled() || self.fatal.is_some();
            if is_ending && self.activities.is_empty() && self.deletes.is_empty() {
                break;
            }
            self.deletes.hurry(is_ending || self.control.is_cordoned());
            if !is_ending && !self.control.is_cordoned() && self.outage.pause_ends.is_none() {
                self.receive();
            }
            self.report();
            tokio::select! {
                Some(event) = self.activities.join_next() => self.settle(event.context("a job's task ended")?),
                Some(()) = self.deletes.next() => {}
                () = end_of(self.intake.pause_ends(Instant::now())) => {}
                () = self.link.changed() => {}
                () = self.shutdown.cancelled(), if !is_ending => {}
                () = end_of(self.outage.pause_ends) => self.outage.pause_ends = None,
            }
        }
        tracing::info!(completed = self.completed, "stopped");
        self.fatal.map_or(Ok(()), Err)
    }

    /// Makes the next receive call, unless one is outstanding. The call always runs to its end,
    /// also after a cordon or the shutdown: messages that it was about to return would be hidden from other workers.
    fn receive(&mut self) {
        let in_flight = self.jobs_in_flight();
        let ask = self.intake.ask(in_flight, Instant::now());
        let Some(ask) = ask.filter(|_| !self.is_receiving) else {
            return;
        };
        self.is_receiving = true;
        let requests = self.processor.requests.clone();
        // Leases extend by this, even if the queue's own timeout has changed since.
        let hidden_for = Some(self.processor.visibility_timeout);
        self.activities.spawn(async move {
            let received = requests.receive_hiding(ask.limit, ask.wait, hidden_for);
            Event::Received(ask, received.await)
        });
    }

    fn settle(&mut self, event: Event) {
        if self.processor.inference.hangs() && self.fatal.is_none() {
            self.fatal = Some(anyhow::anyhow!(
                "a photo took longer than --max-job-time, and its thread cannot be stopped"
            ));
        }
        match event {
            Event::Received(ask, received) => {
                self.is_receiving = false;
                match received {
                    Ok(messages) => {
                        let in_flight = self.jobs_in_flight() + messages.len();
                        let now = Instant::now();
                        self.intake.received(ask, messages.len(), in_flight, now);
                        messages.into_iter().for_each(|message| self.start(message));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot receive");
                        self.outage.failed(Instant::now());
                    }
                }
            }
            Event::Processed(processed) => self.processed(processed),
        }
    }

    fn processed(&mut self, processed: Processed) {
        if let Some(settled) = processed.settled {
            self.deletes.add(settled);
        }
        self.intake.finished(processed.elapsed, processed.together);
        match processed.outcome {
            Outcome::Recognized | Outcome::FrameDone | Outcome::Failed(_) => {
                self.completed += 1;
                self.outage.failures = 0;
            }
            Outcome::Rejected(error) => {
                if error.is::<InferenceError>() {
                    self.fatal.get_or_insert(error);
                }
            }
            Outcome::Abandoned(_) => self.outage.failed(Instant::now()),
        }
    }

    fn start(&mut self, message: Message) {
        let processor = Arc::clone(&self.processor);
        // The span of the job's log lines. The processor records the ids once it has parsed the message.
        let span = tracing::error_span!("job", request_id = Empty, trace_id = Empty);
        let together = self.jobs_in_flight() + 1;
        let processing = async move {
            let started = Instant::now();
            let (outcome, settled) = processor.process(&message).await;
            let elapsed = started.elapsed();
            record(&outcome, elapsed, message.receive_count);
            Event::Processed(Processed {
                outcome,
                settled,
                elapsed,
                together,
            })
        };
        self.activities.spawn(processing.instrument(span));
    }

    fn jobs_in_flight(&self) -> usize {
        self.activities.len() - usize::from(self.is_receiving)
    }

    fn report(&self) {
        let jobs = self.jobs_in_flight();
        self.link.status.send_replace(Status {
            state: match self.control.is_cordoned() {
                true => state(true, self.is_receiving, jobs + self.deletes.len()),
                false => state(false, self.is_receiving, jobs),
            },
            completed: self.completed,
            interruption: self.control.interruption,
            obeyed: self.control.order,
        });
    }
}

impl Outage {
    fn failed(&mut self, now: Instant) {
        if self.pause_ends.is_none() {
            self.pause_ends = Some(now + Duration::from_secs(1 << self.failures.min(4)));
            self.failures += 1;
        }
    }
}

/// Returns the state to report. A cordon is confirmed only when nothing can make the worker busy any more. Messages that are
/// to be deleted count as jobs of a cordoned worker.
fn state(is_cordoned: bool, is_receiving: bool, jobs_in_flight: usize) -> WorkerState {
    match (jobs_in_flight, is_receiving) {
        (0, false) if is_cordoned => WorkerState::Cordoned,
        (0, _) => WorkerState::Idle,
        _ => WorkerState::Busy,
    }
}

async fn end_of(pause: Option<Instant>) {
    match pause {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn record(outcome: &Outcome, elapsed: Duration, receive_count: u32) {
    metric::JOB_SECONDS.get().record(elapsed);
    metric::JOBS.of(outcome.label()).increment(1);
    let elapsed_ms = elapsed.as_millis();
    match outcome {
        Outcome::Recognized => tracing::debug!(elapsed_ms, receive_count, "recognized"),
        Outcome::FrameDone => tracing::debug!(elapsed_ms, receive_count, "recognized a frame"),
        Outcome::Failed(code) => {
            let code = code.as_str_name();
            tracing::info!(code, receive_count, "replied with an error");
        }
        Outcome::Rejected(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, receive_count, "rejected a message");
        }
        Outcome::Abandoned(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, receive_count, "abandoned a job: its message returns");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cordon_is_confirmed_when_nothing_is_in_flight_and_no_call_is_outstanding() {
        use WorkerState::{Busy, Cordoned, Idle};
        assert_eq!(state(true, false, 0), Cordoned);
        assert_eq!(state(true, true, 0), Idle);
        assert_eq!(state(true, false, 1), Busy);
        assert_eq!(state(true, true, 1), Busy);
        assert_eq!(state(false, false, 0), Idle);
        assert_eq!(state(false, true, 2), Busy);
    }

    #[test]
    fn pauses_grow_with_failures_in_a_row_and_jobs_that_fail_together_count_once() {
        let now = Instant::now();
        let mut outage = Outage::default();
        for expected in [1, 2, 4, 8, 16, 16] {
            outage.failed(now);
            outage.failed(now + Duration::from_millis(500));
            let pause = Duration::from_secs(expected);
            assert_eq!(outage.pause_ends.take(), Some(now + pause));
        }
    }
}
