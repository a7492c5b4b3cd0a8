//! The worker's loop.

use std::sync::Arc;

use anyhow::Context;
use platform::queue::{Message, QueueError};
use platform::shutdown::CancellationToken;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use tracing::Instrument;
use tracing::field::Empty;

use super::attend::ScalerLink;
use super::deletes::{Deletes, Settled};
use super::inference::InferenceError;
use super::intake::{Intake, JobEnd};
use super::metric;
use super::process::{Outcome, Processor};
use super::receive_policy::ReceiveRequest;

/// Receives messages, runs each by [`Processor::process`], several at once, and obeys the scaler and EC2's notices.
#[derive(Debug)]
pub struct Worker {
    processor: Arc<Processor>,
    link: ScalerLink,
    shutdown: CancellationToken,
    intake: Intake,
    /// The messages of jobs that have ended.
    deletes: Deletes,
    /// The jobs in flight and the outstanding receive call, as `intake` counts them. Each runs to its end.
    activities: JoinSet<Event>,
    /// Why the process must end.
    fatal: Option<anyhow::Error>,
}

/// The result of an activity.
#[derive(Debug)]
enum Event {
    Received(Result<Vec<Message>, QueueError>),
    Processed {
        outcome: Outcome,
        /// The message to delete.
        settled: Option<Settled>,
        elapsed: Duration,
    },
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
            if self.shutdown.is_cancelled() || self.fatal.is_some() {
                self.intake.end();
            }
            let undeleted = self.deletes.len();
            if self.intake.is_over(undeleted) {
                break;
            }
            let actions = self
                .intake
                .next_actions(self.link.control(), undeleted, now());
            self.deletes.hurry(actions.hurries_deletes);
            if let Some(request) = actions.receive {
                self.receive(request);
            }
            self.link.status.send_replace(actions.status);
            tokio::select! {
                Some(event) = self.activities.join_next() => self.settle(event.context("a job's task ended")?),
                Some(()) = self.deletes.next() => {}
                () = self.link.changed() => {}
                () = self.shutdown.cancelled(), if !self.intake.is_ending() => {}
                () = end_of(self.intake.pause_ends()) => {}
            }
        }
        tracing::info!(completed = self.intake.completed(), "stopped");
        self.fatal.map_or(Ok(()), Err)
    }

    fn receive(&mut self, request: ReceiveRequest) {
        let requests = self.processor.requests.clone();
        // Leases extend by this, even if the queue's own timeout has changed since.
        let hidden_for = Some(self.processor.visibility_timeout);
        self.activities.spawn(async move {
            let received = requests.receive_hiding(request.limit, request.wait, hidden_for);
            Event::Received(received.await)
        });
    }

    fn settle(&mut self, event: Event) {
        if self.processor.inference.hangs() && self.fatal.is_none() {
            self.fatal = Some(anyhow::anyhow!(
                "a photo took longer than --max-job-time, and its thread cannot be stopped"
            ));
        }
        match event {
            Event::Received(Ok(messages)) => {
                self.intake.received(messages.len(), now());
                messages.into_iter().for_each(|message| self.start(message));
            }
            Event::Received(Err(error)) => {
                tracing::warn!(%error, "cannot receive");
                self.intake.receive_failed(now());
            }
            Event::Processed {
                outcome,
                settled,
                elapsed,
            } => {
                if let Some(settled) = settled {
                    self.deletes.add(settled);
                }
                self.intake.job_ended(end_of_job(&outcome), elapsed, now());
                if let Outcome::Rejected(error) = outcome
                    && error.is::<InferenceError>()
                {
                    self.fatal.get_or_insert(error);
                }
            }
        }
    }

    fn start(&mut self, message: Message) {
        let processor = Arc::clone(&self.processor);
        // The span of the job's log lines. The processor records the ids once it has parsed the message.
        let span = tracing::error_span!("job", request_id = Empty, trace_id = Empty);
        let processing = async move {
            let started = Instant::now();
            // Boxed: a task is copied several times on its way to the runtime.
            let (outcome, settled) = Box::pin(processor.process(&message)).await;
            let elapsed = started.elapsed();
            record(&outcome, elapsed, message.receive_count);
            Event::Processed {
                outcome,
                settled,
                elapsed,
            }
        };
        self.activities.spawn(processing.instrument(span));
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn end_of_job(outcome: &Outcome) -> JobEnd {
    match outcome {
        Outcome::Recognized | Outcome::FrameDone | Outcome::Failed(_) => JobEnd::Answered,
        Outcome::Rejected(_) => JobEnd::Rejected,
        Outcome::Abandoned(_) => JobEnd::Abandoned,
    }
}

async fn end_of(pause: Option<std::time::Instant>) {
    match pause {
        Some(end) => tokio::time::sleep_until(end.into()).await,
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
