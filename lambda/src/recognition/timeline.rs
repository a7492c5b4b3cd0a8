//! All faces of a frame, and the timeline of a clip whose frames are all done.
//!
//! Each frame's faces are stored, and the invocation that then finds the results of all frames makes the timeline. S3 lists
//! what was stored before, so that one of them does. If two do, they make the same, and the first one's is kept.

use std::sync::Arc;

use photo::decode;
use proto::v1::{ClipInfo, FrameFaces};
use serde_json::json;
use tokio::task::JoinSet;
use video::timeline::{TrackOptions, assemble};
use worker::frames::recognize_frame;

use super::{FrameResult, Named, Recognition, value};
use crate::event::{Invocation, ObjectName, url_decode};
use crate::failure::Failure;
use crate::keys::{TimelineKeys, file_name};
use crate::metadata::{AT_SECONDS, CLIP_ETAG, CLIP_INFO, FRAME, FRAMES, OUTCOME, REQUEST_ID};
use crate::objects::{Metadata, Object, SOURCE, SOURCE_ETAG, Source};

/// Results of frames that are read at once.
const AT_ONCE: usize = 16;

/// A frame of a timeline, by its metadata.
pub(super) struct Part {
    /// In the stage bucket.
    key: String,
    frame: u32,
    frames: usize,
    at_seconds: f64,
    info: ClipInfo,
    /// Of the clip, as [`crate::keys::label`].
    clip: String,
    clip_etag: String,
}

impl Part {
    /// # Errors
    /// When the object is no frame that video-splitting stored.
    pub fn of<B>(name: &ObjectName, frame: &Object<B>) -> Result<Self, Failure> {
        let text = |key: &str| {
            value(frame, key).ok_or_else(|| {
                Failure::BadEvent(format!(
                    "the object {:?} is no frame of a timeline: it has no metadata {key}",
                    name.key
                ))
            })
        };
        let bad = |_| Failure::BadEvent(format!("the metadata of {:?} is damaged", name.key));
        let number = |key: &str| text(key)?.parse::<u32>().map_err(|_| bad(()));
        let is_in_folder = TimelineKeys::of(&name.key).is_some();
        is_in_folder.then_some(()).ok_or_else(|| bad(()))?;
        Ok(Self {
            key: name.key.clone(),
            frame: number(FRAME)?,
            frames: number(FRAMES)? as usize,
            at_seconds: text(AT_SECONDS)?.parse().map_err(|_| bad(()))?,
            info: proto::decode(text(CLIP_INFO)?).map_err(|_| bad(()))?,
            clip: text(SOURCE)?.to_owned(),
            clip_etag: text(SOURCE_ETAG)?.to_owned(),
        })
    }

    fn keys(&self) -> TimelineKeys<'_> {
        TimelineKeys::of(&self.key).expect("checked when it was made")
    }

    /// The clip's file name, or the folder's if the clip's was too long to be kept.
    fn clip_name(&self) -> String {
        if self.clip.starts_with("sha256:") {
            return file_name(self.keys().timeline().trim_end_matches(".json")).to_owned();
        }
        file_name(&url_decode(&self.clip)).to_owned()
    }
}

impl Recognition {
    /// Recognizes all faces of a frame.
    pub(super) async fn find_faces(
        &self,
        frame: Object<Vec<u8>>,
        part: &Part,
    ) -> Result<FrameResult, Failure> {
        let recognizer = self.recognizer.clone();
        let limits = self.decode_limits();
        let (number, at_seconds) = (part.frame, part.at_seconds);
        let found = tokio::task::spawn_blocking(move || {
            let photo = decode(&frame.body, &limits)?;
            Ok(recognize_frame(&recognizer, number, at_seconds, &photo))
        });
        let found = found.await?;
        let (faces, outcome) = match found {
            Ok(faces) => {
                let named = faces
                    .faces
                    .iter()
                    .filter_map(|face| face.recognition.as_ref());
                let names: Vec<_> = named.map(|face| face.name.as_str()).collect();
                let outcome = match names.iter().find(|name| **name != worker::vision::UNKNOWN) {
                    Some(_) => "named",
                    None if names.is_empty() => "no-face",
                    None => "unknown",
                };
                (faces, outcome)
            }
            Err(error) => {
                let refused = Named::of(Err(worker::vision::VisionError::Decode(error)))?;
                let faces = FrameFaces {
                    frame: number,
                    at_seconds,
                    ..FrameFaces::default()
                };
                (faces, refused.outcome)
            }
        };
        let metadata = Metadata::from([
            (OUTCOME.to_owned(), outcome.to_owned()),
            (CLIP_ETAG.to_owned(), part.clip_etag.clone()),
        ]);
        Ok(FrameResult {
            reply: json!({"outcome": outcome, "faces": faces.faces.len()}),
            body: proto::encode(&faces).into_bytes(),
            metadata,
        })
    }

    /// Stores the timeline if all frames of the clip have results. Returns whether they do.
    pub(super) async fn complete(
        &self,
        part: &Part,
        output: &str,
        invocation: &Invocation,
    ) -> Result<bool, Failure> {
        let keys = part.keys();
        let done = self.objects.keys(output, &keys.prefix()).await?;
        let missing = |index: &usize| !done.contains(&keys.frame_result(*index));
        if done.len() < part.frames || (0..part.frames).any(|index| missing(&index)) {
            return Ok(false);
        }
        let Some(frames) = self.read_all(part, output).await? else {
            return Ok(false);
        };
        let timeline = assemble(
            &part.clip_name(),
            &part.info,
            frames,
            &TrackOptions::default(),
        );
        let name = ObjectName {
            bucket: output.to_owned(),
            key: keys.timeline(),
        };
        let metadata = Metadata::from([
            (OUTCOME.to_owned(), "timeline".to_owned()),
            (REQUEST_ID.to_owned(), invocation.id.clone()),
        ]);
        let source = Source {
            label: &part.clip,
            etag: &part.clip_etag,
        };
        let body = proto::encode(&timeline).into_bytes();
        let stored = self.objects.store(&name, body, metadata, source).await?;
        tracing::info!(?stored, tracks = timeline.tracks.len(), "timeline");
        Ok(true)
    }

    /// Reads the faces of all frames; `None` if some are of an older clip of that name, whose frames are still to come.
    async fn read_all(
        &self,
        part: &Part,
        output: &str,
    ) -> Result<Option<Vec<FrameFaces>>, Failure> {
        let objects = Arc::new(self.objects.clone());
        let mut running = JoinSet::new();
        let mut waiting = (0..part.frames).map(|index| ObjectName {
            bucket: output.to_owned(),
            key: part.keys().frame_result(index),
        });
        let mut all = Vec::with_capacity(part.frames);
        loop {
            while running.len() < AT_ONCE
                && let Some(name) = waiting.next()
            {
                let objects = objects.clone();
                running.spawn(async move { objects.get(&name).await });
            }
            let Some(read) = running.join_next().await else {
                break;
            };
            let Some(read) = read?? else {
                return Ok(None);
            };
            if value(&read, CLIP_ETAG) != Some(part.clip_etag.as_str()) {
                return Ok(None);
            }
            let text = String::from_utf8_lossy(&read.body);
            let faces = proto::decode::<FrameFaces>(&text);
            all.push(
                faces.map_err(|error| Failure::BadEvent(format!("a frame's faces: {error}")))?,
            );
        }
        all.sort_by_key(|faces| faces.frame);
        Ok(Some(all))
    }
}
