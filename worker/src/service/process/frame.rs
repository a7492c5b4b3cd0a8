use std::time::Instant;

use bytes::Bytes;
use platform::objects::Metadata;
use platform::trace_span;
use proto::FrameKeys;
use proto::v1::recognition_result::Outcome as Reply;
use proto::v1::{FrameDone, Timings};
use tracing::Instrument;

use super::job::Job;
use super::{Processor, milliseconds, refused};
use crate::service::metric;

impl Processor {
    /// Recognizes all faces of a clip's frame and stores them. A repetition stores the same again.
    pub(super) async fn find_faces(
        &self,
        job: &Job,
        (keys, at_seconds): (FrameKeys, f64),
        photo: Bytes,
        timings: &mut Timings,
    ) -> anyhow::Result<Reply> {
        let inference = &self.inference;
        let recognizing = inference.recognize_frame(photo, job.is_repeated, keys.frame, at_seconds);
        let found = match recognizing.instrument(trace_span!("recognize")).await {
            Ok(found) => found,
            Err(error) => return refused(error),
        };
        timings.decode_ms = milliseconds(found.decode);
        // The recognizer does not tell the stages of several faces apart.
        timings.detect_ms = milliseconds(found.faces_took);
        let started = Instant::now();
        let (key, body) = (keys.faces(), Bytes::from(proto::encode(&found.faces)));
        let store = || self.results.put(&key, body.clone(), Metadata::new());
        let storing = self.retry(None, store);
        storing.instrument(trace_span!("store result")).await?;
        timings.store_ms = milliseconds(started.elapsed());
        let faces = u32::try_from(found.faces.faces.len()).unwrap_or(u32::MAX);
        metric::FRAMES.get().increment(1);
        metric::FRAME_FACES.get().increment(faces.into());
        Ok(Reply::Frame(FrameDone { faces }))
    }
}
