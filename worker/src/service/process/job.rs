//! A job as a message has it.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use platform::queue::Message;
use proto::v1::RecognitionJob;
use proto::{FileName, FrameKeys, JobId};

/// A parsed job.
#[derive(Debug)]
pub struct Job {
    pub id: JobId,
    pub subject: Subject,
    pub reply_queue: String,
    /// Whether the message was received before. Its photo may be one that hangs.
    pub is_repeated: bool,
    /// When the client stops waiting for the result.
    pub expires_at: Option<Instant>,
    /// Empty if the job does not name one.
    pub photo_sha256: String,
    /// Empty outside of traces.
    pub traceparent: String,
}

/// What is to be recognized.
#[derive(Debug)]
pub enum Subject {
    /// The largest face of a photo.
    Photo {
        object_key: FileName,
        file_name: FileName,
    },
    /// All faces of a clip's frame.
    Frame { keys: FrameKeys, at_seconds: f64 },
}

impl Job {
    /// Parses a message that was received at `now`.
    ///
    /// # Errors
    /// When it is not a job, or names objects that do not belong together.
    pub fn parse(message: &Message, now: Instant) -> anyhow::Result<Self> {
        let job: RecognitionJob = proto::decode(&message.body)?;
        let subject = Subject::of(&job)?;
        // SQS says how long the message waited, so no two machines' clocks are compared. A message that was received
        // before has waited longer than that.
        let time_to_live = Duration::from_millis(job.time_to_live_ms.into());
        let left = time_to_live.saturating_sub(message.waited);
        let expires_at = (!time_to_live.is_zero()).then(|| now + left);
        anyhow::ensure!(!job.reply_queue.is_empty(), "reply_queue is empty");
        let id = job.job_id.parse()?;
        Ok(Self {
            id,
            subject,
            reply_queue: job.reply_queue,
            is_repeated: message.receive_count > 1,
            expires_at,
            photo_sha256: job.photo_sha256,
            traceparent: job.traceparent,
        })
    }

    #[must_use]
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|time| time <= now)
    }

    /// Returns whether the job is for a photo with this digest: its key may have another photo by now.
    #[must_use]
    pub fn is_for(&self, photo_sha256: &str) -> bool {
        self.photo_sha256.is_empty() || self.photo_sha256 == photo_sha256
    }
}

impl Subject {
    fn of(job: &RecognitionJob) -> anyhow::Result<Self> {
        let Some(frame) = &job.frame else {
            let object_key: FileName = job.object_key.parse().context("object_key")?;
            let file_name = match job.file_name.as_str() {
                "" => object_key.clone(),
                name => name.parse().context("file_name")?,
            };
            return Ok(Self::Photo {
                object_key,
                file_name,
            });
        };
        // A frame's keys follow from each other, so that no message names an object of another clip.
        let keys: FrameKeys = job.object_key.parse().context("object_key")?;
        anyhow::ensure!(
            keys.frame == frame.frame,
            "the frame is not that of its key"
        );
        anyhow::ensure!(
            keys.faces() == frame.faces_key,
            "faces_key is not the frame's"
        );
        let at_seconds = frame.at_seconds;
        anyhow::ensure!(at_seconds.is_finite(), "at_seconds is not finite");
        Ok(Self::Frame { keys, at_seconds })
    }

    /// Returns the photo's file name without its last extension; nothing for a frame.
    pub fn stem(&self) -> &str {
        match self {
            Self::Photo { file_name, .. } => file_name.stem(),
            Self::Frame { .. } => "",
        }
    }

    /// Returns the key in the in-bucket.
    #[must_use]
    pub fn photo_key(&self) -> String {
        match self {
            Self::Photo { object_key, .. } => object_key.as_str().to_owned(),
            Self::Frame { keys, .. } => keys.photo(),
        }
    }
}
