//! A clip's way from its file to its timeline. Each step can be repeated, by this front or another one.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt, stream};
use platform::backoff::Backoff;
use proto::v1::recognition_result::Outcome;
use proto::v1::{Failure, FrameFaces, FrameJob, RecognitionJob, VideoRecord, VideoState};
use proto::{JobId, VideoKeys};
use video::timeline::{TrackOptions, assemble};
use video::{FrameFile, Sampling};

use super::Videos;
use super::folder::ClipFolder;
use super::progress::Progress;
use super::refusal::{failure_of, is_at_fault, refused_by_ffmpeg};
use crate::error::{ErrorCode, RequestError};
use crate::metric;

/// Attempts at a frame before it counts as failed.
const FRAME_ATTEMPTS: u32 = 3;
/// Attempts at a step that fails on this machine, as when the disk is full.
const LOCAL_ATTEMPTS: u32 = 3;
/// Frames of one clip that wait for a permit or a reply at once.
const FRAMES_AT_ONCE: usize = 64;
/// Objects that are read, written or deleted at once.
const OBJECTS_AT_ONCE: usize = 16;
const RETRY: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

/// A clip that this front works on.
#[derive(Debug)]
pub struct Clip {
    pub video: JobId,
    pub record: VideoRecord,
    pub progress: Arc<Progress>,
    /// The uploaded file, unless another front received it.
    pub upload: Option<ClipFolder>,
}

impl Videos {
    /// Works on a clip until it is done or has failed for good. While AWS cannot be reached, it retries.
    pub(super) async fn finish(&self, clip: &mut Clip) {
        let (mut backoff, mut failures) = (RETRY, 0);
        loop {
            let Err(error) = self.advance(clip).await else {
                return;
            };
            let is_local = error.code == ErrorCode::Internal;
            failures += u32::from(is_local);
            tracing::warn!(video_id = %clip.video, %error, "a clip is held up");
            if failures >= LOCAL_ATTEMPTS {
                fail(clip, &error);
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
    }

    async fn advance(&self, clip: &mut Clip) -> Result<(), RequestError> {
        if clip.state() == VideoState::Splitting {
            match self.split(clip).await {
                Err(error) if is_at_fault(&error) => fail(clip, &error),
                split => split?,
            }
            self.store.put_record(clip.video, &clip.record).await?;
        }
        if clip.state() == VideoState::Recognizing {
            self.recognize(clip).await?;
            self.assemble(clip).await?;
        }
        // Also after a failure that was not stored.
        self.store.put_record(clip.video, &clip.record).await?;
        self.clean_up(clip).await
    }

    /// Takes the frames and stores them.
    async fn split(&self, clip: &mut Clip) -> Result<(), RequestError> {
        let ffmpeg = self.ffmpeg()?;
        let settings = clip.record.settings.clone().unwrap_or_default();
        let folder = match clip.upload.take() {
            Some(folder) => folder,
            None => {
                let folder = ClipFolder::create(&self.options.clip_folder, clip.video)?;
                let key = &clip.record.clip_key;
                self.store.get_clip(key, &folder.clip()).await?;
                folder
            }
        };
        let sampling = Sampling::Timeline {
            frames_per_second: settings.frames_per_second.into(),
            scene_threshold: (settings.scene_threshold > 0.0)
                .then_some(settings.scene_threshold.into()),
        };
        let (file, pictures) = (folder.clip(), folder.frames()?);
        let frames = ffmpeg.extract(&file, &sampling, &pictures).await;
        let frames = frames.map_err(|error| refused_by_ffmpeg(&error))?;
        let times: Vec<f64> = frames.iter().map(|frame| frame.at_seconds).collect();
        let keys = VideoKeys { video: clip.video };
        let storing = frames.into_iter().zip(0..).map(|(frame, number)| {
            let key = keys.frame(number).photo();
            async move { self.store_frame(&key, frame).await }
        });
        let storing = stream::iter(storing).buffer_unordered(OBJECTS_AT_ONCE);
        storing.try_collect::<()>().await?;
        let found = clip.record.video.get_or_insert_default();
        found.set_state(VideoState::Recognizing);
        found.frames = clip_len(&times);
        clip.record.frame_times = times;
        Ok(())
    }

    async fn store_frame(&self, key: &str, frame: FrameFile) -> Result<(), RequestError> {
        let path: PathBuf = frame.path;
        let jpeg = tokio::fs::read(&path).await.map_err(|error| {
            tracing::error!(%error, "a frame cannot be read");
            RequestError::new(ErrorCode::Internal, "front cannot read a frame")
        })?;
        self.store.put_frame(key, jpeg.into()).await
    }

    /// Has the workers recognize all frames whose faces are not stored.
    async fn recognize(&self, clip: &mut Clip) -> Result<(), RequestError> {
        let done = self.store.frames_done(clip.video).await?;
        let done: HashSet<u32> = done.into_iter().collect();
        let all = clip_len(&clip.record.frame_times);
        let missing: Vec<u32> = (0..all).filter(|frame| !done.contains(frame)).collect();
        clip.progress.begin(all, missing.len() as u64);
        let recognizing = missing.into_iter().map(|frame| {
            let at_seconds = clip.record.frame_times[frame as usize];
            self.recognize_frame(clip, frame, at_seconds)
        });
        let mut results = stream::iter(recognizing).buffer_unordered(FRAMES_AT_ONCE);
        while let Some(is_done) = results.next().await {
            clip.progress.end_frame(is_done);
        }
        Ok(())
    }

    /// Returns whether the frame's faces are stored.
    async fn recognize_frame(&self, clip: &Clip, frame: u32, at_seconds: f64) -> bool {
        let keys = VideoKeys { video: clip.video }.frame(frame);
        for attempt in 1..=FRAME_ATTEMPTS {
            let permit = self.frames.acquire().await;
            let sent = self.frames.register();
            let deadline = self.options.frame_deadline;
            let milliseconds = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
            let job = RecognitionJob {
                job_id: sent.id.to_string(),
                object_key: keys.photo(),
                reply_queue: self.reply_queue.clone(),
                deadline: Some((SystemTime::now() + deadline).into()),
                time_to_live_ms: milliseconds.max(1),
                traceparent: clip.progress.traceparent.clone(),
                frame: Some(FrameJob {
                    frame,
                    at_seconds,
                    faces_key: keys.faces(),
                }),
                ..RecognitionJob::default()
            };
            let mut backoff = RETRY;
            while self.requests.send(proto::encode(&job)).await.is_err() {
                tokio::time::sleep(backoff.next_pause()).await;
            }
            let reply = sent.reply(deadline).await;
            drop(permit);
            // It was received five times, and may have ended as many workers.
            let is_dead = matches!(reply, Some(Err(_)));
            let error = match reply {
                Some(Ok((Outcome::Frame(_), _))) => {
                    metric::FRAMES.of("done").increment(1);
                    return true;
                }
                Some(Ok((Outcome::Failure(failure), _))) => RequestError::from(failure),
                Some(Ok((Outcome::Recognition(_), _))) => {
                    RequestError::new(ErrorCode::Internal, "the reply is for a photo")
                }
                Some(Err(error)) => error,
                None => RequestError::new(ErrorCode::DeadlineExceeded, "no worker replied"),
            };
            let is_last = attempt == FRAME_ATTEMPTS || is_dead || error.code.is_bad_photo();
            let outcome = if is_last { "failed" } else { "retried" };
            metric::FRAMES.of(outcome).increment(1);
            tracing::warn!(video_id = %clip.video, frame, attempt, %error, "a frame was not recognized");
            if is_last {
                break;
            }
        }
        false
    }

    /// Stores the timeline of all frames whose faces are stored.
    async fn assemble(&self, clip: &mut Clip) -> Result<(), RequestError> {
        let done = self.store.frames_done(clip.video).await?;
        let video = clip.video;
        let reading = done.into_iter().map(|frame| self.store.faces(video, frame));
        let reading = stream::iter(reading).buffer_unordered(OBJECTS_AT_ONCE);
        let mut faces: Vec<FrameFaces> = reading.try_collect().await?;
        faces.sort_by_key(|faces| faces.frame);
        let all = clip_len(&clip.record.frame_times);
        let found = clip.record.video.get_or_insert_default();
        found.frames_done = clip_len(&faces);
        found.frames_failed = all.saturating_sub(found.frames_done);
        if faces.is_empty() && all > 0 {
            let error = RequestError::new(ErrorCode::Internal, "no worker could recognize a frame");
            fail(clip, &error);
            return Ok(());
        }
        let info = clip.record.info.clone().unwrap_or_default();
        let timeline = assemble(&found.file_name, &info, faces, &TrackOptions::default());
        self.store.put_timeline(clip.video, &timeline).await?;
        found.set_state(VideoState::Done);
        Ok(())
    }

    /// Deletes the frames, and the clip if it is not to be kept.
    async fn clean_up(&self, clip: &Clip) -> Result<(), RequestError> {
        let keys = VideoKeys { video: clip.video };
        let frames = 0..clip_len(&clip.record.frame_times);
        let mut unneeded: Vec<String> = frames.map(|frame| keys.frame(frame).photo()).collect();
        if self.options.delete_clips {
            unneeded.push(clip.record.clip_key.clone());
        }
        let deleting = unneeded.into_iter();
        let deleting = deleting.map(|key| async move { self.store.delete(&key).await });
        let deleting = stream::iter(deleting).buffer_unordered(OBJECTS_AT_ONCE);
        deleting.try_collect().await
    }
}

impl Clip {
    pub fn state(&self) -> VideoState {
        self.record
            .video
            .as_ref()
            .map_or(VideoState::Unspecified, |video| video.state())
    }
}

/// Marks the clip as failed for good.
fn fail(clip: &mut Clip, error: &RequestError) {
    let found = clip.record.video.get_or_insert_default();
    found.set_state(VideoState::Failed);
    found.failure = Some(Failure {
        code: failure_of(error.code).into(),
        message: error.message.clone(),
    });
}

/// Limits keep it far below the maximum.
fn clip_len<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}
