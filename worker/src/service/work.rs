//! The worker's loop.

use std::sync::Arc;

use anyhow::Context;
use platform::queue::{BATCH_LIMIT, Message, QueueError};
use platform::shutdown::CancellationToken;
use proto::v1::WorkerState;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use tracing::Instrument;
use tracing::field::Empty;

use super::attend::{Control, ScalerLink, Status};
use super::inference::InferenceError;
use super::metric;
use super::process::{Outcome, Processor};

/// How long one receive call waits for a message. A cordoned worker waits for its end, so this bounds how fast the fleet
/// scales in. An idle worker makes one call a second.
const RECEIVE_WAIT: Duration = Duration::from_secs(1);

/// Receives messages, runs each by [`Processor::process`], several at once, and obeys the scaler and EC2's notices.
#[derive(Debug)]
pub struct Worker {
    processor: Arc<Processor>,
    link: ScalerLink,
    shutdown: CancellationToken,
    /// Most jobs in flight at once.
    max_jobs: usize,
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
    Received(Result<Vec<Message>, QueueError>),
    Processed(Outcome),
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
            processor: Arc::new(processor),
            link,
            shutdown,
            max_jobs,
            activities: JoinSet::new(),
            is_receiving: false,
            completed: 0,
            control: Control::default(),
            outage: Outage::default(),
            fatal: None,
        }
    }

    /// Works until the shutdown, and then until every message that was received or is about to be received is settled.
    ///
    /// # Errors
    /// When an inference thread ended.
    pub async fn work(mut self) -> anyhow::Result<()> {
        loop {
            self.control = self.link.control();
            let is_ending = self.shutdown.is_cancelled() || self.fatal.is_some();
            if is_ending && self.activities.is_empty() {
                break;
            }
            if !is_ending && !self.control.is_cordoned() && self.outage.pause_ends.is_none() {
                self.receive();
            }
            self.report();
            tokio::select! {
                Some(event) = self.activities.join_next() => self.settle(event.context("a job's task ended")?),
                () = self.link.changed() => {}
                () = self.shutdown.cancelled(), if !is_ending => {}
                () = end_of(self.outage.pause_ends) => self.outage.pause_ends = None,
            }
        }
        tracing::info!(completed = self.completed, "stopped");
        self.fatal.map_or(Ok(()), Err)
    }

    /// Receives as many messages as there is room for, unless a call is outstanding. The call always runs to its end,
    /// also after a cordon or the shutdown: messages that it was about to return would be hidden from other workers.
    fn receive(&mut self) {
        let limit = room(self.max_jobs, self.jobs_in_flight());
        if self.is_receiving || limit == 0 {
            return;
        }
        self.is_receiving = true;
        let requests = self.processor.requests.clone();
        // Leases extend by this, even if the queue's own timeout has changed since.
        let hidden_for = Some(self.processor.visibility_timeout);
        self.activities.spawn(async move {
            Event::Received(
                requests
                    .receive_hiding(limit, RECEIVE_WAIT, hidden_for)
                    .await,
            )
        });
    }

    fn settle(&mut self, event: Event) {
        if self.processor.inference.hangs() && self.fatal.is_none() {
            self.fatal = Some(anyhow::anyhow!(
                "a photo took longer than --max-job-time, and its thread cannot be stopped"
            ));
        }
        match event {
            Event::Received(received) => {
                self.is_receiving = false;
                match received {
                    Ok(messages) => messages.into_iter().for_each(|message| self.start(message)),
                    Err(error) => {
                        tracing::warn!(%error, "cannot receive");
                        self.outage.failed(Instant::now());
                    }
                }
            }
            Event::Processed(Outcome::Recognized | Outcome::FrameDone | Outcome::Failed(_)) => {
                self.completed += 1;
                self.outage.failures = 0;
            }
            Event::Processed(Outcome::Rejected(error)) => {
                if error.is::<InferenceError>() {
                    self.fatal.get_or_insert(error);
                }
            }
            Event::Processed(Outcome::Abandoned(_)) => self.outage.failed(Instant::now()),
        }
    }

    fn start(&mut self, message: Message) {
        let processor = Arc::clone(&self.processor);
        // The span of the job's log lines. The processor records the ids once it has parsed the message.
        let span = tracing::error_span!("job", request_id = Empty, trace_id = Empty);
        let processing = async move {
            let started = Instant::now();
            let outcome = processor.process(&message).await;
            record(&outcome, started.elapsed(), message.receive_count);
            Event::Processed(outcome)
        };
        self.activities.spawn(processing.instrument(span));
    }

    fn jobs_in_flight(&self) -> usize {
        self.activities.len() - usize::from(self.is_receiving)
    }

    fn report(&self) {
        self.link.status.send_replace(Status {
            state: state(
                self.control.is_cordoned(),
                self.is_receiving,
                self.jobs_in_flight(),
            ),
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

/// Returns how many messages to receive: no more than can be started at once, as another worker may be idle.
fn room(max_jobs: usize, in_flight: usize) -> usize {
    max_jobs.saturating_sub(in_flight).min(BATCH_LIMIT)
}

/// Returns the state to report. A cordon is confirmed only when nothing can make the worker busy any more.
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
    fn a_worker_receives_no_more_than_it_can_start() {
        assert_eq!(room(1, 0), 1);
        assert_eq!(room(1, 1), 0);
        assert_eq!(room(4, 1), 3);
        assert_eq!(room(64, 0), BATCH_LIMIT);
        assert_eq!(room(1, 2), 0);
    }

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
