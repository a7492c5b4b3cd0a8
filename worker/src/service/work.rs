use std::sync::Arc;

use anyhow::Context;
use platform::queue::{BATCH_LIMIT, Message, QueueError};
use platform::shutdown::CancellationToken;
use proto::v1::WorkerState;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use tracing::Instrument;

use super::attend::{Attendance, Standing, Status};
use super::inference::InferenceError;
use super::process::{Outcome, Processor};

/// Jobs by outcome.
const JOBS: &str = "muster_worker_jobs_total";
/// From receiving a message to deleting it.
const JOB_SECONDS: &str = "muster_worker_job_seconds";

/// How long one receive call waits for a message. A cordoned worker may have to wait for its end, so this bounds how
/// fast the fleet scales in; the price is one call a second for each idle worker.
const RECEIVE_WAIT: Duration = Duration::from_secs(1);

/// Takes messages, several at once, has each processed by [`Processor::turn`], and obeys the scaler and EC2's notices.
#[derive(Debug)]
pub struct Worker {
    processor: Arc<Processor>,
    attendance: Attendance,
    shutdown: CancellationToken,
    /// Jobs in flight at most.
    most_jobs: usize,
    /// The jobs in flight and, if `is_receiving`, the receive call. Each goes on to its end.
    activities: JoinSet<Event>,
    is_receiving: bool,
    completed: u64,
    standing: Standing,
    trouble: Trouble,
    /// Why the process cannot go on.
    fatal: Option<anyhow::Error>,
}

/// An activity's end.
#[derive(Debug)]
enum Event {
    Received(Result<Vec<Message>, QueueError>),
    Processed(Outcome),
}

/// Calls to S3 or SQS that failed. A worker that went on at once would use up the receive counts of good jobs.
#[derive(Debug, Default)]
struct Trouble {
    /// Failures in a row; those during a pause are of the trouble that the pause is for.
    failures: u32,
    pause_ends: Option<Instant>,
}

impl Worker {
    pub fn new(
        processor: Processor,
        attendance: Attendance,
        most_jobs: usize,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            processor: Arc::new(processor),
            attendance,
            shutdown,
            most_jobs,
            activities: JoinSet::new(),
            is_receiving: false,
            completed: 0,
            standing: Standing::default(),
            trouble: Trouble::default(),
            fatal: None,
        }
    }

    /// Works until the shutdown, and then until every message that it received or is about to receive is answered.
    ///
    /// # Errors
    /// When an inference thread ended.
    pub async fn work(mut self) -> anyhow::Result<()> {
        loop {
            self.standing = self.attendance.standing();
            let is_ending = self.shutdown.is_cancelled() || self.fatal.is_some();
            if is_ending && self.activities.is_empty() {
                break;
            }
            if !is_ending && !self.standing.is_cordoned() && self.trouble.pause_ends.is_none() {
                self.receive();
            }
            self.report();
            tokio::select! {
                Some(event) = self.activities.join_next() => self.take(event.context("a job's task ended")?),
                () = self.attendance.changed() => {}
                () = self.shutdown.cancelled(), if !is_ending => {}
                () = end_of(self.trouble.pause_ends) => self.trouble.pause_ends = None,
            }
        }
        tracing::info!(completed = self.completed, "stopped");
        self.fatal.map_or(Ok(()), Err)
    }

    /// Asks for as many messages as there is room for, unless a call is outstanding. It is always awaited to its end,
    /// also when a cordon or the shutdown comes in between: messages that it was about to bring would be hidden from
    /// the other workers.
    fn receive(&mut self) {
        let limit = room(self.most_jobs, self.jobs_in_flight());
        if self.is_receiving || limit == 0 {
            return;
        }
        self.is_receiving = true;
        let requests = self.processor.requests.clone();
        // Leases are renewed by this, whatever the queue's own has become since.
        let hidden_for = Some(self.processor.visibility_timeout);
        self.activities.spawn(async move {
            Event::Received(
                requests
                    .receive_hiding(limit, RECEIVE_WAIT, hidden_for)
                    .await,
            )
        });
    }

    fn take(&mut self, event: Event) {
        if self.processor.inference.hangs() && self.fatal.is_none() {
            self.fatal = Some(anyhow::anyhow!(
                "a photo took longer than --max-job-time, and the thread at work on it cannot be stopped"
            ));
        }
        match event {
            Event::Received(received) => {
                self.is_receiving = false;
                match received {
                    Ok(messages) => messages.into_iter().for_each(|message| self.start(message)),
                    Err(error) => {
                        tracing::warn!(%error, "cannot receive");
                        self.trouble.failed(Instant::now());
                    }
                }
            }
            Event::Processed(Outcome::Recognised | Outcome::Failed(_)) => {
                self.completed += 1;
                self.trouble.failures = 0;
            }
            Event::Processed(Outcome::Rejected(error)) => {
                if error.is::<InferenceError>() {
                    self.fatal.get_or_insert(error);
                }
            }
            Event::Processed(Outcome::Abandoned(_)) => self.trouble.failed(Instant::now()),
        }
    }

    fn start(&mut self, message: Message) {
        let processor = Arc::clone(&self.processor);
        // The processor records the id once it has parsed the message.
        let span = tracing::info_span!("job", request_id = tracing::field::Empty);
        let processing = async move {
            let started = Instant::now();
            let outcome = processor.turn(&message).await;
            note(&outcome, started.elapsed(), message.receive_count);
            Event::Processed(outcome)
        };
        self.activities.spawn(processing.instrument(span));
    }

    fn jobs_in_flight(&self) -> usize {
        self.activities.len() - usize::from(self.is_receiving)
    }

    fn report(&self) {
        self.attendance.status.send_replace(Status {
            state: state(
                self.standing.is_cordoned(),
                self.is_receiving,
                self.jobs_in_flight(),
            ),
            completed: self.completed,
            interruption: self.standing.interruption,
            obeyed: self.standing.order,
        });
    }
}

impl Trouble {
    fn failed(&mut self, now: Instant) {
        if self.pause_ends.is_none() {
            self.pause_ends = Some(now + Duration::from_secs(1 << self.failures.min(4)));
            self.failures += 1;
        }
    }
}

/// How many messages to ask for: no more than can be started at once, as another worker may be idle.
fn room(most_jobs: usize, in_flight: usize) -> usize {
    most_jobs.saturating_sub(in_flight).min(BATCH_LIMIT)
}

/// A cordon is confirmed only when nothing can make the worker busy any more.
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

fn note(outcome: &Outcome, elapsed: Duration, receive_count: u32) {
    metrics::histogram!(JOB_SECONDS).record(elapsed);
    metrics::counter!(JOBS, "outcome" => outcome.label()).increment(1);
    let elapsed_ms = elapsed.as_millis();
    match outcome {
        Outcome::Recognised => tracing::debug!(elapsed_ms, receive_count, "recognised"),
        Outcome::Failed(code) => {
            let code = code.as_str_name();
            tracing::info!(code, receive_count, "answered with an error");
        }
        Outcome::Rejected(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, receive_count, "refused a message");
        }
        Outcome::Abandoned(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, receive_count, "gave up a job for now");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_asks_for_no_more_than_it_can_start() {
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
        let mut trouble = Trouble::default();
        for expected in [1, 2, 4, 8, 16, 16] {
            trouble.failed(now);
            trouble.failed(now + Duration::from_millis(500));
            let pause = Duration::from_secs(expected);
            assert_eq!(trouble.pause_ends.take(), Some(now + pause));
        }
    }
}
