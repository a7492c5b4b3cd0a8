//! Frames on their way to the stage bucket and to the other function.

use std::sync::Arc;

use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use tokio::task::JoinSet;
use video::FrameFile;

use crate::event::{FrameEvent, ObjectName};
use crate::failure::Failure;
use crate::keys::{self, ClipStem};
use crate::metadata::{AT_SECONDS, CLIP_INFO, FRAME, FRAMES};
use crate::objects::{Metadata, Objects, Source, Stored};
use crate::settings::ClipMode;

/// Frames that are sent at once.
const AT_ONCE: usize = 16;

/// The result of [`FrameSender::send_all`].
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Frames for which the function was invoked.
    pub invoked: usize,
    /// Frames of an older clip that were replaced.
    pub replaced: usize,
}

/// What all frames of a clip have in common.
pub(super) struct FrameSender {
    pub objects: Objects,
    pub lambda: aws_sdk_lambda::Client,
    pub function: String,
    pub mode: ClipMode,
    pub stage: String,
    pub output: String,
    pub stem: ClipStem,
    /// Used if another clip has the stem.
    pub other_stem: ClipStem,
    /// As [`keys::label`].
    pub label: String,
    pub etag: String,
    pub info: Option<String>,
    pub frames: usize,
}

impl Sent {
    fn add(&mut self, invoked: bool, stored: Stored) {
        self.invoked += usize::from(invoked);
        self.replaced += usize::from(stored == Stored::Replaced);
    }
}

impl FrameSender {
    /// Stores the frames and invokes the function for each.
    pub async fn send_all(mut self, frames: &[FrameFile]) -> Result<Sent, Failure> {
        let mut sent = Sent::default();
        let Some((first, others)) = frames.split_first() else {
            return Ok(sent);
        };
        // The first frame tells whether the stem is free.
        let (mut name, mut stored) = self.store(first).await?;
        if stored == Stored::Taken {
            tracing::info!("another clip has the keys of this one; it gets keys of its own");
            self.stem = self.other_stem.clone();
            (name, stored) = self.store(first).await?;
        }
        sent.add(self.invoke(&name, stored).await?, stored);
        let sender = Arc::new(self);
        let mut running = JoinSet::new();
        let mut others = others.iter();
        loop {
            while running.len() < AT_ONCE
                && let Some(frame) = others.next()
            {
                let (sender, frame) = (sender.clone(), frame.clone());
                running.spawn(async move {
                    let (name, stored) = sender.store(&frame).await?;
                    Ok::<_, Failure>((sender.invoke(&name, stored).await?, stored))
                });
            }
            match running.join_next().await {
                Some(done) => {
                    let (invoked, stored) = done??;
                    sent.add(invoked, stored);
                }
                None => return Ok(sent),
            }
        }
    }

    async fn store(&self, frame: &FrameFile) -> Result<(ObjectName, Stored), Failure> {
        let name = ObjectName {
            bucket: self.stage.clone(),
            key: self.stem.frame(self.mode, frame.index as usize),
        };
        let mut metadata = Metadata::from([
            (FRAME.to_owned(), frame.index.to_string()),
            (FRAMES.to_owned(), self.frames.to_string()),
            (AT_SECONDS.to_owned(), frame.at_seconds.to_string()),
        ]);
        metadata.extend(self.info.clone().map(|info| (CLIP_INFO.to_owned(), info)));
        let body = tokio::fs::read(&frame.path).await?;
        let source = Source {
            label: &self.label,
            etag: &self.etag,
        };
        let stored = self.objects.store(&name, body, metadata, source).await?;
        Ok((name, stored))
    }

    /// Invokes the function, unless the frame was stored before and has its result. The SDK retries with backoff when Lambda
    /// throttles. Returns whether it was invoked.
    async fn invoke(&self, frame: &ObjectName, stored: Stored) -> Result<bool, Failure> {
        if stored == Stored::Before && self.has_result(frame).await? {
            return Ok(false);
        }
        let event = FrameEvent {
            bucket_name: frame.bucket.clone(),
            image_file_name: frame.key.clone(),
        };
        let payload = serde_json::to_vec(&event).expect("an event is plain JSON");
        self.lambda
            .invoke()
            .function_name(&self.function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(payload))
            .send()
            .await
            .map_err(|error| Failure::unavailable("Invoke", &error))?;
        Ok(true)
    }

    async fn has_result(&self, frame: &ObjectName) -> Result<bool, Failure> {
        let Some(stored) = self.objects.head(frame).await? else {
            return Ok(false);
        };
        let result = ObjectName {
            bucket: self.output.clone(),
            key: keys::result(&frame.key, self.mode),
        };
        let result = self.objects.head(&result).await?;
        let source = Source {
            label: &keys::label(&frame.key),
            etag: &stored.etag,
        };
        Ok(result.is_some_and(|result| result.is_of(source)))
    }
}
