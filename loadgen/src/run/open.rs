//! The open loop: requests are sent when they are due, whether or not earlier ones have ended.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::recorder::{Ended, Recorder};
use crate::client::{Client, EncodedPhoto};
use crate::drive::{Request, judge};

/// The pacing thread wakes at most this often, and then sends all that is due: it costs less than a wake-up a request.
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);

/// Sends requests in an open loop. A request that fails is not sent again.
#[derive(Debug)]
pub struct OpenLoop {
    pub client: Client,
    /// Sent in turn. Not empty.
    pub requests: Vec<Request>,
    /// Requests that are due while so many are in flight are not sent.
    pub max_in_flight: usize,
    pub recorder: Arc<Mutex<Recorder>>,
    /// Ends the sending early.
    pub stop: CancellationToken,
}

/// An open loop whose requests are encoded, so that the first can be sent at once.
#[derive(Debug)]
pub struct EncodedLoop {
    open_loop: OpenLoop,
    photos: Vec<EncodedPhoto>,
}

impl OpenLoop {
    /// Encodes the requests. That takes time, which is not to count as latency.
    #[must_use]
    pub fn encoded(mut self) -> EncodedLoop {
        let encode = |request: &Request| self.client.encode(&request.file_name, &request.image);
        let photos = self.requests.iter().map(encode).collect();
        // Encoded photos have copies of the images.
        self.requests
            .iter_mut()
            .for_each(|it| it.image = Bytes::new());
        EncodedLoop {
            open_loop: self,
            photos,
        }
    }

    /// Encodes the requests and sends them, as [`EncodedLoop::run`] does.
    pub async fn run(
        self,
        arrivals: impl Iterator<Item = Duration> + Send + 'static,
        start: Instant,
    ) {
        self.encoded().run(arrivals, start).await;
    }
}

impl EncodedLoop {
    /// Sends a request at each of `arrivals`, which are times since `start` in order, and waits until all have ended.
    pub async fn run(
        mut self,
        arrivals: impl Iterator<Item = Duration> + Send + 'static,
        start: Instant,
    ) {
        let requests = std::mem::take(&mut self.open_loop.requests);
        let tasks = TaskTracker::new();
        let sender = Sender {
            tasks: tasks.clone(),
            runtime: tokio::runtime::Handle::current(),
            in_flight: Arc::default(),
            start,
            open_loop: self.open_loop,
            requests: requests.into(),
            photos: self.photos,
        };
        // A thread of its own: tokio's timers have a resolution of a millisecond.
        let pacing = tokio::task::spawn_blocking(move || sender.pace(arrivals));
        pacing.await.expect("pacing does not panic");
        tasks.close();
        tasks.wait().await;
    }
}

#[derive(Debug)]
struct Sender {
    open_loop: OpenLoop,
    requests: Arc<[Request]>,
    photos: Vec<EncodedPhoto>,
    tasks: TaskTracker,
    runtime: tokio::runtime::Handle,
    in_flight: Arc<AtomicUsize>,
    start: Instant,
}

impl Sender {
    fn pace(&self, arrivals: impl Iterator<Item = Duration>) {
        for (number, due) in arrivals.enumerate() {
            while let Some(pause) = due.checked_sub(self.start.elapsed()) {
                if pause.is_zero() {
                    break;
                }
                if self.open_loop.stop.is_cancelled() {
                    return;
                }
                // Not longer than a moment at once, so that `stop` is seen.
                let pause = pause.clamp(SHORTEST_PAUSE, Duration::from_millis(100));
                std::thread::park_timeout(pause);
            }
            if self.open_loop.stop.is_cancelled() {
                return;
            }
            self.send(number % self.photos.len(), due);
        }
    }

    fn send(&self, index: usize, due: Duration) {
        let requests = Arc::clone(&self.requests);
        let recorder = Arc::clone(&self.open_loop.recorder);
        // Only this thread adds to it.
        let is_sent = self.in_flight.load(Ordering::Acquire) < self.open_loop.max_in_flight;
        locked(&recorder).due(&requests[index], due, is_sent);
        if !is_sent {
            return;
        }
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        let in_flight = Arc::clone(&self.in_flight);
        let (client, photo) = (self.open_loop.client.clone(), self.photos[index].clone());
        let start = self.start;
        let exchange = async move {
            let sent = start.elapsed();
            let answer = client.send(photo).await;
            let ended = start.elapsed();
            in_flight.fetch_sub(1, Ordering::AcqRel);
            let request = &requests[index];
            let (outcome, class) = judge(request, answer, false);
            locked(&recorder).ended(&Ended {
                request,
                due,
                sent,
                ended,
                outcome: &outcome,
                class,
            });
        };
        self.tasks.spawn_on(exchange, &self.runtime);
    }
}

/// A panic elsewhere leaves the counts as they are.
pub fn locked(recorder: &Mutex<Recorder>) -> std::sync::MutexGuard<'_, Recorder> {
    recorder.lock().unwrap_or_else(PoisonError::into_inner)
}
