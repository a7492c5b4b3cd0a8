//! The frames on the request queue: few at a time, so that photos do not wait behind them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::JobId;
use tokio::sync::{Notify, oneshot};

use super::super::registry::{Reply, RequestRegistry};
use crate::metric;

/// For how long after its last reply a worker counts.
const KNOWN_FOR: Duration = Duration::from_secs(15);
/// The number of workers that replied may fall without any event.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The frames whose replies this front waits for, and how many more it may send.
///
/// It sends as many as there are workers that replied lately, and one more, which finds out whether another worker is idle.
/// Each unanswered photo takes the place of a frame. So a photo waits behind about one frame a worker.
#[derive(Debug)]
pub struct FrameQueue {
    registry: Arc<RequestRegistry>,
    frames_per_worker: usize,
    state: Mutex<State>,
    changed: Notify,
    /// Those who wait for a permit take turns, so that clips advance together.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<JobId, Waiting>,
    /// Frames that are sent or about to be.
    permits: usize,
    /// When each worker, by its instance, last replied.
    workers: HashMap<String, Instant>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    reply: oneshot::Sender<Reply>,
}

impl State {
    fn forget_silent_workers(&mut self, now: Instant) {
        self.workers
            .retain(|_, replied_at| now.duration_since(*replied_at) < KNOWN_FOR);
    }
}

/// The right to have a frame on the queue, until it is dropped.
#[derive(Debug)]
pub struct FramePermit<'a>(&'a FrameQueue);

/// A frame that is sent. Drop ends the wait for its reply.
#[derive(Debug)]
pub struct SentFrame<'a> {
    queue: &'a FrameQueue,
    pub id: JobId,
    reply: oneshot::Receiver<Reply>,
}

impl FrameQueue {
    #[must_use]
    pub fn new(registry: Arc<RequestRegistry>, frames_per_worker: usize) -> Self {
        Self {
            registry,
            frames_per_worker: frames_per_worker.max(1),
            state: Mutex::default(),
            changed: Notify::new(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Waits until a frame may be sent.
    pub async fn acquire(&self) -> FramePermit<'_> {
        let _turn = self.turn.lock().await;
        let mut demand = self.registry.demand();
        loop {
            let changed = self.changed.notified();
            let unanswered = demand.borrow_and_update().unanswered;
            if self.try_acquire(unanswered) {
                return FramePermit(self);
            }
            tokio::select! {
                () = changed => {}
                _ = demand.changed() => {}
                () = tokio::time::sleep(LONGEST_WAIT) => {}
            }
        }
    }

    fn try_acquire(&self, unanswered: u64) -> bool {
        let mut state = self.lock();
        state.forget_silent_workers(Instant::now());
        let workers = state.workers.len();
        let is_free = room(workers, self.frames_per_worker, unanswered) > state.permits;
        state.permits += usize::from(is_free);
        is_free
    }

    /// Registers a frame that is about to be sent.
    #[must_use]
    pub fn register(&self) -> SentFrame<'_> {
        let (sender, reply) = oneshot::channel();
        let id = JobId::random();
        let waiting = Waiting {
            since: Instant::now(),
            reply: sender,
        };
        self.lock().waiting.insert(id, waiting);
        SentFrame {
            queue: self,
            id,
            reply,
        }
    }

    /// Notes that a worker replied, to any job.
    pub fn heard_of(&self, instance: &str) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.workers.insert(instance.to_owned(), now).is_none() {
            state.forget_silent_workers(now);
            drop(state);
            self.changed.notify_one();
        }
    }

    #[must_use]
    pub fn is_waiting_for(&self, id: JobId) -> bool {
        self.lock().waiting.contains_key(&id)
    }

    /// Ends the wait for this frame. Returns `false` when nothing waits for it.
    pub fn finish(&self, id: JobId, reply: Reply) -> bool {
        let Some(waiting) = self.lock().waiting.remove(&id) else {
            return false;
        };
        metric::FRAME_SECONDS.get().record(waiting.since.elapsed());
        waiting.reply.send(reply).is_ok()
    }

    /// Returns whether a frame has been sent for at least `age`.
    #[must_use]
    pub fn any_older_than(&self, age: Duration) -> bool {
        let state = self.lock();
        let mut waiting = state.waiting.values();
        waiting.any(|frame| frame.since.elapsed() >= age)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SentFrame<'_> {
    /// Waits for the reply; `None` when there is none within `deadline`.
    pub async fn reply(mut self, deadline: Duration) -> Option<Reply> {
        let reply = tokio::time::timeout(deadline, &mut self.reply).await;
        reply.ok()?.ok()
    }
}

impl Drop for SentFrame<'_> {
    fn drop(&mut self) {
        self.queue.lock().waiting.remove(&self.id);
    }
}

impl Drop for FramePermit<'_> {
    fn drop(&mut self) {
        self.0.lock().permits -= 1;
        self.0.changed.notify_one();
    }
}

/// Returns how many frames may be on the queue at once.
fn room(workers: usize, frames_per_worker: usize, unanswered: u64) -> usize {
    let photos = usize::try_from(unanswered).unwrap_or(usize::MAX);
    (workers * frames_per_worker + 1).saturating_sub(photos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_take_the_places_of_frames() {
        assert_eq!(room(0, 1, 0), 1, "it finds the first worker");
        assert_eq!(room(0, 1, 1), 0);
        assert_eq!(room(4, 1, 0), 5);
        assert_eq!(room(4, 1, 3), 2);
        assert_eq!(room(4, 1, 500), 0);
        assert_eq!(room(4, 2, 0), 9);
    }

    #[tokio::test]
    async fn a_permit_is_free_when_a_frame_is_done_or_a_worker_is_found() {
        let registry = Arc::new(RequestRegistry::default());
        let queue = FrameQueue::new(Arc::clone(&registry), 1);
        let first = queue.acquire().await;
        assert!(!queue.try_acquire(0));
        queue.heard_of("i-1");
        let second = queue.acquire().await;
        assert!(!queue.try_acquire(0));
        drop(first);
        let third = queue.acquire().await;
        drop((second, third));
        assert!(!queue.try_acquire(2), "two photos and one worker");
    }

    #[tokio::test]
    async fn a_reply_reaches_its_frame_once() {
        let queue = FrameQueue::new(Arc::new(RequestRegistry::default()), 1);
        let sent = queue.register();
        let id = sent.id;
        let error = || {
            let code = crate::error::ErrorCode::Internal;
            Err(crate::error::RequestError::new(code, "no"))
        };
        assert!(queue.finish(id, error()));
        assert!(!queue.finish(id, error()));
        assert!(sent.reply(Duration::from_secs(9)).await.is_some());
        let dropped = queue.register();
        let id = dropped.id;
        drop(dropped);
        assert!(!queue.is_waiting_for(id));
    }
}
