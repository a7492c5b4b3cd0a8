//! What is stored of clips.

use std::path::Path;

use bytes::Bytes;
use platform::objects::{Metadata, ObjectError, Objects};
use proto::v1::{FrameFaces, Timeline, Video, VideoRecord, VideoState};
use proto::{JobId, MessageError, VideoKeys};

use crate::error::{ErrorCode, RequestError};

/// Both buckets.
#[derive(Debug, Clone)]
pub struct VideoStore {
    /// The in-bucket: clips, records, frames, claims.
    pub inputs: Objects,
    /// The out-bucket: faces and timelines.
    pub results: Objects,
}

impl VideoStore {
    /// Returns a clip's record.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] when there is no such clip.
    pub async fn record(&self, video: JobId) -> Result<VideoRecord, RequestError> {
        let found = self.inputs.get(&VideoKeys { video }.record()).await;
        decoded(&found.map_err(|error| refused(&error))?, proto::decode)
    }

    pub async fn put_record(&self, video: JobId, record: &VideoRecord) -> Result<(), RequestError> {
        let key = VideoKeys { video }.record();
        put(&self.inputs, &key, proto::encode(record)).await
    }

    pub async fn put_clip(&self, key: &str, file: &Path) -> Result<(), RequestError> {
        let put = self.inputs.put_file(key, file).await;
        put.map_err(|error| refused(&error))
    }

    pub async fn get_clip(&self, key: &str, file: &Path) -> Result<(), RequestError> {
        let got = self.inputs.get_file(key, file).await;
        got.map_err(|error| refused(&error))
    }

    pub async fn put_frame(&self, key: &str, jpeg: Bytes) -> Result<(), RequestError> {
        let put = self.inputs.put(key, jpeg, Metadata::new()).await;
        put.map_err(|error| refused(&error))
    }

    /// Returns the numbers of the frames whose faces are stored.
    pub async fn frames_done(&self, video: JobId) -> Result<Vec<u32>, RequestError> {
        let keys = VideoKeys { video };
        let found = self.results.keys_under(&keys.folder()).await;
        let found = found.map_err(|error| refused(&error))?;
        let numbers = found.iter().filter_map(|key| keys.frame_of_faces(key));
        Ok(numbers.collect())
    }

    pub async fn faces(&self, video: JobId, frame: u32) -> Result<FrameFaces, RequestError> {
        let key = VideoKeys { video }.frame(frame).faces();
        let found = self.results.get(&key).await;
        decoded(&found.map_err(|error| refused(&error))?, proto::decode)
    }

    pub async fn timeline(&self, video: JobId) -> Result<Timeline, RequestError> {
        let found = self.results.get(&VideoKeys { video }.timeline()).await;
        decoded(&found.map_err(|error| refused(&error))?, proto::decode)
    }

    pub async fn put_timeline(
        &self,
        video: JobId,
        timeline: &Timeline,
    ) -> Result<(), RequestError> {
        let key = VideoKeys { video }.timeline();
        put(&self.results, &key, proto::encode(timeline)).await
    }

    /// Deletes an object of the in-bucket, if it exists.
    pub async fn delete(&self, key: &str) -> Result<(), RequestError> {
        let deleted = self.inputs.delete(key).await;
        deleted.map_err(|error| refused(&error))
    }

    /// Returns how far a clip is by what is stored, for fronts that do not work on it.
    pub async fn video(&self, video: JobId) -> Result<Video, RequestError> {
        let record = self.record(video).await?;
        let mut found = record.video.unwrap_or_default();
        match found.state() {
            VideoState::Recognizing => {
                let done = self.frames_done(video).await?.len();
                found.frames_done = u32::try_from(done).unwrap_or(u32::MAX);
            }
            VideoState::Done => found.timeline = Some(self.timeline(video).await?),
            VideoState::Unspecified | VideoState::Splitting | VideoState::Failed => {}
        }
        Ok(found)
    }
}

async fn put(objects: &Objects, key: &str, json: String) -> Result<(), RequestError> {
    let put = objects.put(key, json.into(), Metadata::new()).await;
    put.map_err(|error| refused(&error))
}

/// `read` is `proto::decode` of the document's type.
fn decoded<M>(body: &Bytes, read: fn(&str) -> Result<M, MessageError>) -> Result<M, RequestError> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    read(text).map_err(|error| {
        tracing::error!(%error, "a stored document about a clip is damaged");
        let message = "a stored document about the clip is damaged";
        RequestError::new(ErrorCode::Internal, message)
    })
}

pub fn refused(error: &ObjectError) -> RequestError {
    match error {
        ObjectError::NotFound(_) => {
            RequestError::new(ErrorCode::NotFound, "there is no clip of this id")
        }
        ObjectError::File(why) => {
            tracing::error!(why, "a clip's file failed");
            RequestError::new(
                ErrorCode::Internal,
                "front cannot keep the clip on its disk",
            )
        }
        error => {
            tracing::warn!(%error, "an object of a clip cannot be read or stored");
            RequestError::new(ErrorCode::Unavailable, "the object store cannot be reached")
        }
    }
}
