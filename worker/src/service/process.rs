//! One job: fetch the photo or the frame, recognize it, store the result, reply. `deletes` then deletes its message.
//!
//! `job` reads a message; `frame` has what differs for frames of clips.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use platform::kept_results;
use platform::objects::{ObjectError, Objects, Put};
use platform::queue::{Message, Queue, QueueError};
use platform::shutdown::CancellationToken;
use platform::trace_span;
use proto::FileName;
use proto::v1::recognition_result::Outcome as Reply;
use proto::v1::{FailureCode, RecognitionResult, Timings};
use tracing::field::display;
use tracing::{Instrument, Span};

use super::deletes::Settled;
use super::inference::{Inference, InferenceError};
use super::lease::Lease;
use super::metric;
use super::replies::Replies;
use super::reply::{expired, failure, vision_failure};
use super::reply_size;
use super::store::{digest, store_result};
use super::trace;
use crate::frames::recognition;
use job::{Job, Subject};

mod frame;
pub mod job;

/// How long a job retries while the object store fails, longer than clients wait by default.
const STORE_RETRY_TIME: Duration = Duration::from_secs(150);
const STORE_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Runs jobs; the jobs in flight share it.
#[derive(Debug)]
pub struct Processor {
    pub requests: Queue,
    pub photos: Objects,
    pub results: Objects,
    pub inference: Inference,
    pub instance_id: String,
    pub visibility_timeout: Duration,
    /// Retries end with it.
    pub shutdown: CancellationToken,
    pub replies: Replies,
}

/// How a message was settled.
#[derive(Debug)]
pub enum Outcome {
    /// A name was stored and replied.
    Recognized,
    /// The faces of a clip's frame were stored, and this was replied.
    FrameDone,
    /// An error was replied. Another attempt would not help.
    Failed(FailureCode),
    /// The message cannot be replied to. It was given back at once, and ends in the dead-letter queue if other workers
    /// reject it too.
    Rejected(anyhow::Error),
    /// S3 or SQS failed. The message returns after its visibility timeout.
    Abandoned(anyhow::Error),
}

impl Outcome {
    /// Returns the value of the metric's label `outcome`, whose spelling is part of the interface.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Recognized => "recognized",
            Self::FrameDone => "frame",
            Self::Failed(_) => "failed",
            Self::Rejected(_) => "rejected",
            Self::Abandoned(_) => "abandoned",
        }
    }
}

impl Processor {
    /// Runs a message's job and replies. Only then the message may be deleted, and is returned for that.
    pub async fn process(&self, message: &Message) -> (Outcome, Option<Settled>) {
        let lease = Lease::hold(&self.requests, message, self.visibility_timeout);
        let job = Job::parse(message, Instant::now());
        let span = job
            .as_ref()
            .map_or_else(|_| Span::none(), |job| self.span_of(job, message));
        let settling = async {
            let receive_count = message.receive_count;
            tracing::debug!(receive_count, "begun");
            self.settle(job, message, lease).await
        };
        settling.instrument(span).await
    }

    /// Names the job in its log lines, and returns its span in the trace of its request.
    fn span_of(&self, job: &Job, message: &Message) -> Span {
        let lines = Span::current();
        lines.record("request_id", display(job.id));
        let of_trace = trace::of_job(trace::Received {
            traceparent: &job.traceparent,
            request_id: job.id,
            queue: self.requests.name(),
            instance_id: &self.instance_id,
            message,
        });
        if let Some(id) = of_trace.in_scope(platform::telemetry::trace::trace_id) {
            lines.record("trace_id", display(id));
        }
        of_trace
    }

    async fn settle(
        &self,
        job: anyhow::Result<Job>,
        message: &Message,
        lease: Lease,
    ) -> (Outcome, Option<Settled>) {
        let outcome = match job {
            Ok(job) => self.run(&job).await.unwrap_or_else(|error| {
                if error.is::<InferenceError>() {
                    Outcome::Rejected(error)
                } else {
                    Outcome::Abandoned(error)
                }
            }),
            Err(error) => Outcome::Rejected(error),
        };
        let settled = match &outcome {
            Outcome::Recognized | Outcome::FrameDone | Outcome::Failed(_) => Some(Settled {
                receipt_handle: message.receipt_handle.clone(),
                lease,
                span: trace_span!("delete message"),
            }),
            Outcome::Rejected(_) => {
                drop(lease);
                let back = self
                    .requests
                    .change_visibility(&message.receipt_handle, Duration::ZERO);
                if let Err(error) = back.await {
                    tracing::warn!(%error, "cannot give back a message");
                }
                None
            }
            Outcome::Abandoned(_) => None,
        };
        let is_error = matches!(outcome, Outcome::Rejected(_) | Outcome::Abandoned(_));
        trace::note_outcome(outcome.label(), is_error);
        (outcome, settled)
    }

    async fn run(&self, job: &Job) -> anyhow::Result<Outcome> {
        let mut timings = Timings::default();
        let unreplied = self.replies.job();
        let reply = self.recognize(job, &mut timings).await?;
        let outcome = match &reply {
            Reply::Recognition(_) => Outcome::Recognized,
            Reply::Frame(_) => Outcome::FrameDone,
            Reply::Failure(failure) => Outcome::Failed(failure.code()),
        };
        let result = RecognitionResult {
            job_id: job.id.to_string(),
            outcome: Some(reply),
            timings: Some(timings),
            instance_id: self.instance_id.clone(),
            stem: job.subject.stem().to_owned(),
        };
        let body = reply_size::encode(&result);
        let replying = self.replies.send(&job.reply_queue, body, unreplied);
        let span = trace::of_reply(&job.reply_queue);
        match replying.instrument(span).await {
            Ok(()) => {}
            // The queue ended with its front. Other fronts are not affected, and serve what is kept.
            Err(error @ QueueError::NotFound(_)) => {
                tracing::warn!(%error, "the front of this job is gone");
                self.retry(None, || kept_results::keep(&self.results, job.id, &result))
                    .await
                    .context("cannot keep the result of a job whose front is gone")?;
            }
            Err(error) => return Err(error).context("cannot reply"),
        }
        Ok(outcome)
    }

    async fn recognize(&self, job: &Job, timings: &mut Timings) -> anyhow::Result<Reply> {
        if job.is_expired(Instant::now()) {
            return Ok(expired());
        }
        let started = Instant::now();
        let key = job.subject.photo_key();
        let fetching = self.retry(job.expires_at, || self.photos.get(&key));
        let fetched = fetching.instrument(trace_span!("fetch photo")).await;
        // Retries may have taken long.
        if job.is_expired(Instant::now()) {
            return Ok(expired());
        }
        let photo = match fetched {
            Ok(photo) => photo,
            Err(ObjectError::NotFound(_)) => {
                return Ok(failure(
                    FailureCode::ObjectMissing,
                    "the photo is no longer stored",
                ));
            }
            Err(error) => return Err(error.into()),
        };
        timings.fetch_ms = milliseconds(started.elapsed());
        match &job.subject {
            Subject::Photo {
                object_key,
                file_name,
            } => {
                let names = (object_key, file_name);
                self.name_photo(job, names, photo, timings).await
            }
            Subject::Frame { keys, at_seconds } => {
                let frame = (*keys, *at_seconds);
                self.find_faces(job, frame, photo, timings).await
            }
        }
    }

    async fn name_photo(
        &self,
        job: &Job,
        (object_key, file_name): (&FileName, &FileName),
        photo: Bytes,
        timings: &mut Timings,
    ) -> anyhow::Result<Reply> {
        let sha256 = digest(&photo);
        if !job.is_for(&sha256) {
            return Ok(failure(
                FailureCode::ObjectMissing,
                "another photo is stored in the place of this one",
            ));
        }
        let recognizing = async {
            let recognized = self.inference.recognize(photo, job.is_repeated).await;
            trace::note_stages(&recognized);
            recognized
        };
        let recognized = match recognizing.instrument(trace_span!("recognize")).await {
            Ok(recognized) => recognized,
            Err(error) => return refused(error),
        };
        timings.decode_ms = milliseconds(recognized.timings.decode);
        timings.detect_ms = milliseconds(recognized.timings.detect);
        timings.embed_ms = milliseconds(recognized.timings.embed);
        timings.match_ms = milliseconds(recognized.timings.matching);
        let started = Instant::now();
        let result = format!("{}:{}", file_name.stem(), recognized.name);
        let store = || store_result(&self.results, object_key, &sha256, &result);
        let storing = self.retry(None, store);
        let stored = storing.instrument(trace_span!("store result")).await?;
        if stored == Put::Exists {
            let why = "other photos' results have the names for this one";
            return Ok(failure(FailureCode::Internal, why));
        }
        timings.store_ms = milliseconds(started.elapsed());
        Ok(Reply::Recognition(recognition(recognized)))
    }

    /// Retries while the object store fails: for [`STORE_RETRY_TIME`], until `expires_at`, or until the shutdown. The
    /// lease goes on meanwhile. Giving the message back would use up one of its few receives, and no other worker
    /// reaches the store either.
    async fn retry<T, F: Future<Output = Result<T, ObjectError>>>(
        &self,
        expires_at: Option<Instant>,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, ObjectError> {
        let latest = Instant::now() + STORE_RETRY_TIME;
        let give_up_at = expires_at.map_or(latest, |expires_at| expires_at.min(latest));
        loop {
            match attempt().await {
                Err(error @ (ObjectError::Unavailable(_) | ObjectError::NoBucket)) => {
                    let is_over = Instant::now() >= give_up_at || self.shutdown.is_cancelled();
                    if is_over {
                        return Err(error);
                    }
                    metric::STORE_RETRIES.get().increment(1);
                    tracing::debug!(%error, "the object store fails; retrying");
                    let pause = tokio::time::sleep(STORE_RETRY_PAUSE);
                    self.shutdown.run_until_cancelled(pause).await;
                }
                settled => return settled,
            }
        }
    }
}

/// Returns the reply for a photo or frame that was not recognized, or the error if another worker may recognize it.
fn refused(error: InferenceError) -> anyhow::Result<Reply> {
    match error {
        InferenceError::Vision(error) => Ok(vision_failure(&error)),
        InferenceError::Panicked | InferenceError::TooSlow(_) => {
            Ok(failure(FailureCode::Internal, &error.to_string()))
        }
        InferenceError::BatchTooSlow | InferenceError::ThreadsEnded => Err(error.into()),
    }
}

fn milliseconds(duration: Duration) -> f32 {
    duration.as_secs_f32() * 1000.0
}
