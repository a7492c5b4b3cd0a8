//! `video-splitting`: takes frames from a clip, stores them, and has each recognized by another function.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tracing::Instrument;
use video::{Ffmpeg, FrameFile, VideoError};

use crate::event::{Invocation, ObjectName, created_objects};
use crate::failure::Failure;
use crate::keys::{self, ClipStem, file_name};
use crate::metadata::{OUTCOME, REASON, REQUEST_ID, ascii};
use crate::objects::{Download, Metadata, Objects, Source, Stored};
use crate::settings::{ClipMode, FunctionSettings};

mod frames;

use frames::FrameSender;

/// FFmpeg ends so long before Lambda ends the function, so that its outcome can be stored.
const MARGIN: Duration = Duration::from_secs(5);

const TOO_LARGE: &str = "too-large";

#[derive(Debug)]
pub struct Splitting {
    pub settings: FunctionSettings,
    pub objects: Objects,
    pub lambda: aws_sdk_lambda::Client,
}

/// What became of a clip.
#[derive(Debug, Serialize)]
struct Split {
    clip: String,
    /// `split`, `ignored`, or why there are no frames.
    outcome: &'static str,
    frames: usize,
    /// Frames of which a recognition was asked. The others have their results already.
    invoked: usize,
}

/// A clip with all that is known of it.
struct Clip<'a> {
    name: &'a ObjectName,
    /// As [`keys::label`].
    label: String,
    etag: String,
    stem: ClipStem,
}

impl Splitting {
    /// Splits each clip that the event names. Other events are answered, and change nothing.
    ///
    /// # Errors
    /// When a clip could not be split and a retry may help. The other clips are split all the same.
    pub async fn call(&self, event: &Value, invocation: &Invocation) -> Result<Value, Failure> {
        let Some(clips) = created_objects(event)? else {
            return Ok(json!({"ignored": "this is no event of S3 about created objects"}));
        };
        let (mut done, mut failures) = (Vec::new(), Vec::new());
        for name in &clips {
            let span = tracing::info_span!("clip", bucket = name.bucket, key = name.key);
            match self.split(name, invocation).instrument(span).await {
                Ok(split) => done.push(split),
                Err(failure) => {
                    tracing::warn!(error = %failure, key = name.key, "a clip could not be split");
                    failures.push(failure);
                }
            }
        }
        Failure::first_of(failures, clips.len())?;
        Ok(json!({"clips": done}))
    }

    async fn split(&self, name: &ObjectName, invocation: &Invocation) -> Result<Split, Failure> {
        let split = |outcome| Split {
            clip: name.key.clone(),
            outcome,
            frames: 0,
            invoked: 0,
        };
        let Some(stem) = ClipStem::of(&name.key) else {
            tracing::info!("ignored: the key names a folder");
            return Ok(split("ignored"));
        };
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("clip");
        let limit = self.settings.clip_limits.max_clip_bytes;
        let clip = |etag| Clip {
            name,
            label: keys::label(&name.key),
            etag,
            stem,
        };
        let clip = match self.objects.download(name, limit, &file).await? {
            Download::Done(etag) => clip(etag),
            Download::Missing => {
                tracing::info!("ignored: the clip is gone");
                return Ok(split("ignored"));
            }
            Download::TooLarge(etag) => {
                let reason = format!("it has more than {limit} bytes");
                let clip = clip(etag);
                self.refuse(&clip, TOO_LARGE, &reason, invocation).await?;
                return Ok(split(TOO_LARGE));
            }
        };
        match self.take_frames(&file, folder.path(), invocation).await {
            Ok((info, frames)) => {
                let invoked = self.send(&clip, info, &frames).await?;
                Ok(Split {
                    frames: frames.len(),
                    invoked,
                    ..split("split")
                })
            }
            Err(error) if error.is_permanent() => {
                let (outcome, reason) = (outcome(&error), error.to_string());
                self.refuse(&clip, outcome, &reason, invocation).await?;
                Ok(split(outcome))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the clip's description as JSON, where it is needed, and its frames.
    async fn take_frames(
        &self,
        clip: &Path,
        folder: &Path,
        invocation: &Invocation,
    ) -> Result<(Option<String>, Vec<FrameFile>), VideoError> {
        let mut limits = self.settings.clip_limits;
        let left = invocation.time_left().saturating_sub(MARGIN);
        limits.max_clip_time = limits.max_clip_time.min(left);
        let ffmpeg = Ffmpeg::find(limits)?;
        let info = match self.settings.clip_mode {
            ClipMode::Timeline => Some(proto::encode(&ffmpeg.probe(clip).await?)),
            ClipMode::Frame | ClipMode::Frames => None,
        };
        let sampling = self.settings.sampling();
        let frames = ffmpeg.extract(clip, &sampling, folder).await?;
        Ok((info, frames))
    }

    /// Stores the frames and has them recognized. Returns of how many that was asked.
    async fn send(
        &self,
        clip: &Clip<'_>,
        info: Option<String>,
        frames: &[FrameFile],
    ) -> Result<usize, Failure> {
        let sender = FrameSender {
            objects: self.objects.clone(),
            lambda: self.lambda.clone(),
            function: self.settings.recognition_function.clone(),
            mode: self.settings.clip_mode,
            stage: self.settings.stage_bucket(&clip.name.bucket)?,
            output: self.settings.output_bucket(&clip.name.bucket)?,
            stem: clip.stem.clone(),
            other_stem: clip.stem.derived(&clip.name.key),
            label: clip.label.clone(),
            etag: clip.etag.clone(),
            info,
            frames: frames.len(),
        };
        let sent = sender.send_all(frames).await?;
        if sent.replaced > 0 {
            self.objects.check_unchanged(clip.name, &clip.etag).await?;
        }
        Ok(sent.invoked)
    }

    /// Stores an empty result that says why the clip has no frames. A retry could not help.
    async fn refuse(
        &self,
        clip: &Clip<'_>,
        outcome: &str,
        reason: &str,
        invocation: &Invocation,
    ) -> Result<(), Failure> {
        tracing::warn!(outcome, reason, "no frames can be taken from the clip");
        let metadata = Metadata::from([
            (OUTCOME.to_owned(), outcome.to_owned()),
            (REASON.to_owned(), ascii(reason)),
            (REQUEST_ID.to_owned(), invocation.id.clone()),
        ]);
        let mode = self.settings.clip_mode;
        let body = match mode {
            ClipMode::Frame | ClipMode::Frames => String::new(),
            ClipMode::Timeline => proto::encode(&proto::v1::Timeline {
                clip: file_name(&clip.name.key).to_owned(),
                ..proto::v1::Timeline::default()
            }),
        };
        let bucket = self.settings.output_bucket(&clip.name.bucket)?;
        let source = Source {
            label: &clip.label,
            etag: &clip.etag,
        };
        for stem in [&clip.stem, &clip.stem.derived(&clip.name.key)] {
            let name = ObjectName {
                bucket: bucket.clone(),
                key: stem.outcome(mode),
            };
            let body = body.clone().into_bytes();
            let stored = self.objects.store(&name, body, metadata.clone(), source);
            if stored.await? != Stored::Taken {
                break;
            }
        }
        Ok(())
    }
}

/// The value of `muster-outcome` for a clip that no frames can be taken from.
fn outcome(error: &VideoError) -> &'static str {
    match error {
        VideoError::NotAClip(_) => "not-a-clip",
        VideoError::NoPicture => "no-picture",
        VideoError::NoFrames => "no-frames",
        VideoError::TooLarge { .. } => TOO_LARGE,
        VideoError::TooLong { .. } => "too-long",
        VideoError::TooManyPixels { .. } => "too-many-pixels",
        VideoError::TooManyFrames(_) => "too-many-frames",
        VideoError::TimedOut(_) => "timed-out",
        VideoError::OutOfMemory(_) => "out-of-memory",
        VideoError::ToolMissing(..) | VideoError::Failed(_) | VideoError::Io(_) => "failed",
    }
}
