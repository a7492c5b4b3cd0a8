use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use proto::v1::{Video, VideoState};

use super::super::registry::RequestRegistry;

/// How far a clip is on which this front works. Its frames count as demand until they are done, or this is dropped.
#[derive(Debug)]
pub struct Progress {
    registry: Arc<RequestRegistry>,
    /// Of the call that posted the clip; empty outside of traces.
    pub traceparent: String,
    frames: AtomicU32,
    failed: AtomicU32,
    waiting: AtomicU64,
}

impl Progress {
    #[must_use]
    pub fn new(registry: Arc<RequestRegistry>, traceparent: String) -> Self {
        Self {
            registry,
            traceparent,
            frames: AtomicU32::new(0),
            failed: AtomicU32::new(0),
            waiting: AtomicU64::new(0),
        }
    }

    /// Records that the clip has so many frames, of which `waiting` are not done.
    pub fn begin(&self, frames: u32, waiting: u64) {
        self.frames.store(frames, Ordering::Relaxed);
        self.failed.store(0, Ordering::Relaxed);
        let before = self.waiting.swap(waiting, Ordering::Relaxed);
        self.registry.change_frames(|demand| {
            demand.waiting_frames = demand.waiting_frames + waiting - before;
        });
    }

    /// Records that a frame is done, or given up.
    pub fn end_frame(&self, is_done: bool) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.failed.fetch_add((!is_done).into(), Ordering::Relaxed);
        self.registry.change_frames(|demand| {
            demand.waiting_frames -= 1;
            demand.frames_done_total += 1;
        });
    }

    /// Adds what is not stored yet.
    pub fn complete(&self, stored: &mut Video) {
        if stored.state() == VideoState::Recognizing {
            let waiting = self.waiting.load(Ordering::Relaxed);
            let ended = u64::from(self.frames.load(Ordering::Relaxed)).saturating_sub(waiting);
            stored.frames_failed = self.failed.load(Ordering::Relaxed);
            let ended = u32::try_from(ended).unwrap_or(u32::MAX);
            stored.frames_done = ended.saturating_sub(stored.frames_failed);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let waiting = *self.waiting.get_mut();
        if waiting > 0 {
            self.registry.change_frames(|demand| {
                demand.waiting_frames = demand.waiting_frames.saturating_sub(waiting);
            });
        }
    }
}
