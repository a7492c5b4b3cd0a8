//! The gRPC service `muster.v1.Videos`: stores clips, splits them into frames, and has the workers recognize these after the
//! photos.
//!
//! | module | what it does |
//! |---|---|
//! | `service` | the calls; receives a clip into a file |
//! | `clip` | a clip's way to its timeline |
//! | `claim` | which front works on a clip, and how others take it over |
//! | `frames` | the few frames on the request queue, and the wait for their replies |
//! | `progress` | how far a clip is; its frames as demand |
//! | `store` | what is stored of clips |
//! | `folder` | clips and frames on this machine |
//! | `refusal` | FFmpeg's errors for clients |

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform::duration;
use proto::JobId;
use proto::v1::VideoRecord;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use video::{ClipLimits, Ffmpeg};

use super::registry::RequestRegistry;
use super::sender::BatchSender;
use crate::error::{ErrorCode, RequestError};
use crate::metric;
use claim::{Claim, OtherClaims};
use clip::Clip;
use folder::ClipFolder;
use progress::Progress;
use refusal::refused_by_ffmpeg;
use store::VideoStore;

pub use frames::FrameQueue;
pub use service::VideosService;

mod claim;
mod clip;
mod folder;
mod frames;
mod progress;
mod refusal;
mod service;
mod store;

/// Settings of clips.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Clips")]
pub struct VideoArgs {
    /// Clips in work at once. Further ones are refused with RESOURCE_EXHAUSTED before they are read
    #[arg(long, env = "MUSTER_MAX_CLIPS", value_name = "N", default_value = "4")]
    pub max_clips: usize,
    /// Folder for clips while FFmpeg reads them. It needs room for --max-clips clips and their frames
    #[arg(long, env = "MUSTER_CLIP_FOLDER", value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub clip_folder: PathBuf,
    /// Longest time of a clip's upload
    #[arg(long, env = "MUSTER_CLIP_UPLOAD_TIMEOUT", value_name = "DURATION", value_parser = duration::parse, default_value = "10m")]
    pub clip_upload_timeout: Duration,
    /// Longest wait for a frame's reply, in each of three attempts. Then the frame counts as failed
    #[arg(long, env = "MUSTER_FRAME_DEADLINE", value_name = "DURATION", value_parser = duration::parse, default_value = "10m")]
    pub frame_deadline: Duration,
    /// Frames that a worker may have at once. With more, workers with several threads are faster, and photos wait longer
    #[arg(
        long,
        env = "MUSTER_FRAMES_PER_WORKER",
        value_name = "N",
        default_value = "1"
    )]
    pub frames_per_worker: usize,
    /// After this time without a sign of life of its front, another front takes a clip over
    #[arg(long, env = "MUSTER_CLIP_LEASE", value_name = "DURATION", value_parser = duration::parse_positive, default_value = "30s")]
    pub clip_lease: Duration,
    /// Delete a clip when it is done. Its frames are always deleted; its results stay
    #[arg(long, env = "MUSTER_DELETE_CLIPS")]
    pub delete_clips: bool,
    #[command(flatten)]
    pub limits: ClipLimits,
}

/// What clips need of AWS, and those that this front works on.
#[derive(Debug)]
pub struct Videos {
    options: VideoArgs,
    store: VideoStore,
    requests: BatchSender,
    reply_queue: String,
    frames: Arc<FrameQueue>,
    registry: Arc<RequestRegistry>,
    room: Arc<Semaphore>,
    active: Mutex<HashMap<JobId, Arc<Progress>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The parts of front that clips use.
#[derive(Debug)]
pub struct VideoParts {
    pub inputs: platform::objects::Objects,
    pub results: platform::objects::Objects,
    pub requests: BatchSender,
    /// Names this front in its claims, too.
    pub reply_queue: String,
    pub frames: Arc<FrameQueue>,
    pub registry: Arc<RequestRegistry>,
    /// Clips run here until `stop`.
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

/// A clip that this front works on, for as long as it has a claim on it, or is about to.
#[derive(Debug)]
struct ActiveClip {
    videos: Arc<Videos>,
    video: JobId,
    progress: Arc<Progress>,
}

impl Drop for ActiveClip {
    fn drop(&mut self) {
        self.videos.lock().remove(&self.video);
    }
}

impl Videos {
    #[must_use]
    pub fn new(options: VideoArgs, parts: VideoParts) -> Arc<Self> {
        Arc::new(Self {
            room: Arc::new(Semaphore::new(options.max_clips)),
            options,
            store: VideoStore {
                inputs: parts.inputs,
                results: parts.results,
            },
            requests: parts.requests,
            reply_queue: parts.reply_queue,
            frames: parts.frames,
            registry: parts.registry,
            active: Mutex::default(),
            tasks: parts.tasks,
            stop: parts.stop,
        })
    }

    /// Finds FFmpeg each time, so that one that is installed later is found.
    fn ffmpeg(&self) -> Result<Ffmpeg, RequestError> {
        Ffmpeg::find(self.options.limits).map_err(|error| refused_by_ffmpeg(&error))
    }

    /// Takes over the clips of fronts that are gone, until `stop`.
    pub async fn take_over_until(self: Arc<Self>, stop: CancellationToken) {
        ClipFolder::sweep(&self.options.clip_folder);
        let mut others = OtherClaims::default();
        loop {
            if let Err(error) = self.take_over(&mut others).await {
                tracing::warn!(%error, "unfinished clips cannot be listed");
            }
            let pause = tokio::time::sleep(self.options.clip_lease / 3);
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    async fn take_over(self: &Arc<Self>, others: &mut OtherClaims) -> Result<(), RequestError> {
        let Ok(mut permit) = Arc::clone(&self.room).try_acquire_owned() else {
            return Ok(());
        };
        let (lease, owner) = (self.options.clip_lease, &self.reply_queue);
        let is_own = |video| self.lock().contains_key(&video);
        let room = self.room.available_permits() + 1;
        let taken = others
            .take_over(&self.store.inputs, owner, lease, room, is_own)
            .await?;
        for (video, claim) in taken {
            let record = match self.store.record(video).await {
                Ok(record) => record,
                Err(error) => {
                    tracing::warn!(video_id = %video, %error, "an unfinished clip has no record");
                    // It is stored before the claim, so it was deleted on purpose.
                    if error.code == ErrorCode::NotFound {
                        claim.finish().await?;
                    }
                    continue;
                }
            };
            metric::VIDEOS.of("taken_over").increment(1);
            tracing::info!(video_id = %video, "took an unfinished clip over");
            let active = self.activate(video, String::new());
            self.work_on(active, record, None, claim, permit);
            let Ok(next) = Arc::clone(&self.room).try_acquire_owned() else {
                return Ok(());
            };
            permit = next;
        }
        Ok(())
    }

    fn activate(self: &Arc<Self>, video: JobId, traceparent: String) -> ActiveClip {
        let progress = Arc::new(Progress::new(Arc::clone(&self.registry), traceparent));
        self.lock().insert(video, Arc::clone(&progress));
        ActiveClip {
            videos: Arc::clone(self),
            video,
            progress,
        }
    }

    /// Spawns the task that finishes a clip.
    fn work_on(
        self: &Arc<Self>,
        active: ActiveClip,
        record: VideoRecord,
        upload: Option<ClipFolder>,
        mut claim: Claim,
        permit: OwnedSemaphorePermit,
    ) {
        let (videos, video) = (Arc::clone(self), active.video);
        self.tasks.spawn(async move {
            let mut clip = Clip {
                video,
                record,
                progress: Arc::clone(&active.progress),
                upload,
            };
            let is_done = tokio::select! {
                () = videos.finish(&mut clip) => true,
                // At the shutdown, or because another front has the clip.
                () = claim.keep(videos.options.clip_lease, &videos.stop) => false,
            };
            if is_done {
                let state = clip.state();
                let outcome = match state {
                    proto::v1::VideoState::Done => "done",
                    _ => "failed",
                };
                metric::VIDEOS.of(outcome).increment(1);
                tracing::info!(video_id = %video, outcome, "a clip is finished");
                if let Err(error) = claim.finish().await {
                    tracing::warn!(%error, "the claim on a finished clip stays until it is stale");
                }
            } else if videos.stop.is_cancelled() {
                claim.release().await;
            }
            drop((active, permit));
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Progress>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
