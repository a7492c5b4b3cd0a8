use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use platform::telemetry::trace;
use proto::v1::submit_video_request::Part;
use proto::v1::videos_server::Videos as Service;
use proto::v1::{
    GetVideoRequest, SubmitVideoRequest, Video, VideoRecord, VideoSettings, VideoState,
};
use proto::{FileName, JobId, VideoKeys};
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::claim::Claim;
use super::folder::{ClipFolder, failed};
use super::refusal::refused_by_ffmpeg;
use super::{Videos, metric};
use crate::error::{ErrorCode, RequestError};
use crate::front::admission::too_slow;

/// The service's default.
const FRAMES_PER_SECOND: f32 = 2.0;
const MOST_FRAMES_PER_SECOND: f32 = 60.0;

/// The service `muster.v1.Videos`.
#[derive(Debug, Clone)]
pub struct VideosService {
    videos: Arc<OnceLock<Arc<Videos>>>,
    shutdown: CancellationToken,
}

impl VideosService {
    /// Calls are refused with `UNAVAILABLE` until `videos` is set, and clips after `shutdown`.
    #[must_use]
    pub fn new(videos: Arc<OnceLock<Arc<Videos>>>, shutdown: CancellationToken) -> Self {
        Self { videos, shutdown }
    }

    fn videos(&self) -> Result<&Arc<Videos>, RequestError> {
        let unavailable = |message: &str| RequestError::new(ErrorCode::Unavailable, message);
        if self.shutdown.is_cancelled() {
            return Err(unavailable("the service is shutting down"));
        }
        let videos = self.videos.get();
        videos.ok_or_else(|| unavailable("the service is starting"))
    }
}

#[tonic::async_trait]
impl Service for VideosService {
    async fn submit_video(
        &self,
        request: Request<Streaming<SubmitVideoRequest>>,
    ) -> Result<Response<Video>, Status> {
        let videos = self.videos()?;
        let submitted = videos.submit(request.into_inner()).await;
        let outcome = submitted
            .as_ref()
            .map_or_else(|error| error.code.name(), |_| "accepted");
        metric::VIDEOS.of(outcome).increment(1);
        Ok(Response::new(submitted?))
    }

    async fn get_video(
        &self,
        request: Request<GetVideoRequest>,
    ) -> Result<Response<Video>, Status> {
        let videos = self.videos()?;
        let id = request.into_inner().video_id.parse();
        let id =
            id.map_err(|_| RequestError::new(ErrorCode::NotFound, "there is no clip of this id"))?;
        Ok(Response::new(videos.find(id).await?))
    }
}

impl Videos {
    async fn find(&self, video: JobId) -> Result<Video, RequestError> {
        // Before the record is read: while it is, the clip may become done.
        let progress = self.lock().get(&video).cloned();
        let Some(progress) = progress else {
            return self.store.video(video).await;
        };
        let mut found = self.store.record(video).await?.video.unwrap_or_default();
        if found.state() == VideoState::Done {
            return self.store.video(video).await;
        }
        progress.complete(&mut found);
        Ok(found)
    }

    /// Receives a clip, checks and stores it, and spawns its task.
    async fn submit(
        self: &Arc<Self>,
        mut parts: impl Stream<Item = Result<SubmitVideoRequest, Status>> + Unpin,
    ) -> Result<Video, RequestError> {
        let ffmpeg = self.ffmpeg()?;
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            let message = "too many clips are in work; try again when one of them is done";
            RequestError::new(ErrorCode::Overloaded, message)
        })?;
        let video = JobId::random();
        let timeout = self.options.clip_upload_timeout;
        let receiving = self.receive(video, &mut parts);
        let received = tokio::time::timeout(timeout, receiving).await;
        let (settings, folder) = received.map_err(|_| too_slow())??;
        let info = ffmpeg.probe(&folder.clip()).await;
        let info = info.map_err(|error| refused_by_ffmpeg(&error))?;
        let extension = settings.file_name.rsplit_once('.');
        let clip_key = VideoKeys { video }.clip(extension.map_or("", |(_, extension)| extension));
        let found = Video {
            video_id: video.to_string(),
            file_name: settings.file_name.clone(),
            state: VideoState::Splitting.into(),
            ..Video::default()
        };
        let record = VideoRecord {
            video: Some(found.clone()),
            settings: Some(settings),
            info: Some(info),
            clip_key,
            frame_times: Vec::new(),
        };
        self.store
            .put_clip(&record.clip_key, &folder.clip())
            .await?;
        self.store.put_record(video, &record).await?;
        // Before the claim, which has this front's name: it must not be taken for one of an earlier run.
        let active = self.activate(video, trace::traceparent().unwrap_or_default());
        let claim = Claim::make(self.store.inputs.clone(), video, &self.reply_queue).await?;
        self.work_on(active, record, Some(folder), claim, permit);
        tracing::info!(video_id = %video, "accepted a clip");
        Ok(found)
    }

    /// Writes the clip into a file.
    async fn receive(
        &self,
        video: JobId,
        parts: &mut (impl Stream<Item = Result<SubmitVideoRequest, Status>> + Unpin),
    ) -> Result<(VideoSettings, ClipFolder), RequestError> {
        let Some(Part::Settings(settings)) = next(parts).await? else {
            return Err(bad_request("the first message has no settings"));
        };
        let settings = checked(settings)?;
        let folder = ClipFolder::create(&self.options.clip_folder, video)?;
        let file = tokio::fs::File::create(folder.clip()).await;
        let mut file = file.map_err(|error| failed(&error))?;
        let limit = self.options.limits.max_clip_bytes;
        let mut size = 0;
        loop {
            match next(parts).await? {
                Some(Part::Chunk(chunk)) => {
                    size += chunk.len() as u64;
                    if size > limit {
                        let message = format!("the clip is larger than {limit} bytes");
                        return Err(RequestError::new(ErrorCode::TooLarge, message));
                    }
                    write(&mut file, &chunk).await?;
                }
                Some(Part::Size(sent)) if sent == size => break,
                Some(Part::Settings(_)) => return Err(bad_request("the settings came twice")),
                Some(Part::Size(_)) | None => return Err(bad_request("the upload broke off")),
            }
        }
        file.flush().await.map_err(|error| failed(&error))?;
        if size == 0 {
            return Err(bad_request("the clip is empty"));
        }
        Ok((settings, folder))
    }
}

async fn next(
    parts: &mut (impl Stream<Item = Result<SubmitVideoRequest, Status>> + Unpin),
) -> Result<Option<Part>, RequestError> {
    match parts.next().await {
        Some(Ok(message)) => Ok(message.part),
        Some(Err(_)) => Err(bad_request("the upload broke off")),
        None => Ok(None),
    }
}

async fn write(file: &mut tokio::fs::File, chunk: &Bytes) -> Result<(), RequestError> {
    file.write_all(chunk).await.map_err(|error| failed(&error))
}

fn checked(settings: VideoSettings) -> Result<VideoSettings, RequestError> {
    FileName::parse(&settings.file_name)?;
    let frames_per_second = match settings.frames_per_second {
        0.0 => FRAMES_PER_SECOND,
        given if given > 0.0 && given <= MOST_FRAMES_PER_SECOND => given,
        _ => {
            let message =
                format!("give more than 0 and at most {MOST_FRAMES_PER_SECOND} frames a second");
            return Err(bad_request(&message));
        }
    };
    if !(0.0..=1.0).contains(&settings.scene_threshold) {
        return Err(bad_request("give a scene threshold from 0 to 1"));
    }
    Ok(VideoSettings {
        frames_per_second,
        ..settings
    })
}

fn bad_request(message: &str) -> RequestError {
    RequestError::new(ErrorCode::BadRequest, message)
}
