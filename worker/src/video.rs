//! A whole clip: who is seen from when to when.
//!
//! FFmpeg decodes frames into a bounded queue, and threads recognize them. At most as many frames are in memory as there are
//! threads, and `QUEUED` more.
//!
//! Frames are recognized as large as the clip has them. The detector searches those of more than four megapixels in a smaller
//! copy by itself, and cuts the faces out of the frame.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use proto::v1::{ClipInfo, FrameFaces, Timeline};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use video::timeline::{TrackOptions, assemble};
use video::{Ffmpeg, Frame, FrameStream, Sampling, VideoError};

use crate::frames::recognize_frame;
use crate::vision::Recognizer;

mod font;
pub mod portraits;
pub mod sheet;

/// Decoded frames that wait for a thread.
const QUEUED: usize = 2;

/// A clip, and which of its frames are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'a> {
    pub ffmpeg: &'a Ffmpeg,
    pub clip: &'a Path,
    /// What [`Ffmpeg::probe`] returned for the clip.
    pub info: &'a ClipInfo,
    pub sampling: &'a Sampling,
}

impl Watched<'_> {
    /// Returns the clip's file name, for people and for the timeline.
    pub fn name(&self) -> String {
        let name = self.clip.file_name().unwrap_or(self.clip.as_os_str());
        name.to_string_lossy().into_owned()
    }

    fn frames(&self) -> Result<FrameStream, VideoError> {
        self.ffmpeg.frames(self.clip, self.info, self.sampling)
    }
}

/// Recognizes the clip's frames on so many threads and returns who is seen when. Calls `on_frame` for each frame that is done,
/// on any of the threads.
///
/// # Errors
/// As [`Ffmpeg::frames`], and those that the stream gives.
pub fn recognize_clip(
    runtime: &Runtime,
    watched: Watched<'_>,
    recognizer: &Recognizer,
    threads: usize,
    on_frame: impl Fn() + Sync,
) -> Result<Timeline, VideoError> {
    let (sender, receiver) = mpsc::channel(QUEUED);
    let receiver = Arc::new(Mutex::new(receiver));
    let faces = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1))
            .map(|_| {
                let (receiver, on_frame) = (Arc::clone(&receiver), &on_frame);
                scope.spawn(move || recognize_queued(&receiver, recognizer, on_frame))
            })
            .collect();
        // If all threads panic, the queue closes.
        drop(receiver);
        let fed = runtime.block_on(async {
            let mut frames = watched.frames()?;
            while let Some(frame) = frames.next().await {
                if sender.send(frame?).await.is_err() {
                    break;
                }
            }
            Ok::<_, VideoError>(())
        });
        drop(sender);
        let faces = threads.into_iter().map(|thread| thread.join());
        let faces: Vec<_> = faces
            .flat_map(|faces| faces.expect("no panic in a thread that recognizes"))
            .collect();
        fed.map(|()| faces)
    })?;
    let (name, options) = (watched.name(), TrackOptions::default());
    Ok(assemble(&name, watched.info, faces, &options))
}

/// Recognizes frames until the queue is closed and empty.
fn recognize_queued(
    queue: &Mutex<mpsc::Receiver<Frame>>,
    recognizer: &Recognizer,
    on_frame: &impl Fn(),
) -> Vec<FrameFaces> {
    // The lock is released before the frame is recognized.
    let next = || queue.lock().ok()?.blocking_recv();
    std::iter::from_fn(next)
        .map(|frame| {
            let faces = recognize_frame(recognizer, frame.index, frame.at_seconds, &frame.photo);
            on_frame();
            faces
        })
        .collect()
}
