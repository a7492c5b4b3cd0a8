use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto::JobId;
use proto::v1::recognition_result::Outcome;
use proto::v1::{RecognitionResult, Timings};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::pending::{Counts, Pending};
use crate::error::{ErrorCode, RequestError};
use crate::metric;

/// How exactly deadlines are kept.
const TICK: Duration = Duration::from_millis(50);

/// What a request waits for.
pub type Reply = Result<(Outcome, Timings), RequestError>;

/// The pending requests of this process, and the demand that follows from them.
#[derive(Debug)]
pub struct Waiting {
    pending: Mutex<Pending<oneshot::Sender<Reply>>>,
    counts: watch::Sender<Counts>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            pending: Mutex::default(),
            counts: watch::Sender::new(Counts::default()),
        }
    }
}

impl Waiting {
    /// Begins to wait for a new job. Its id is nobody else's choice: the reply to an earlier job must not answer it.
    pub fn accept(&self, now: Instant, deadline: Instant) -> (JobId, oneshot::Receiver<Reply>) {
        let (mut waiter, reply) = oneshot::channel();
        let mut id = JobId::random();
        self.change(|pending| {
            while let Err(refused) = pending.accept(id, waiter, now, deadline) {
                (waiter, id) = (refused, JobId::random());
            }
        });
        (id, reply)
    }

    /// Ends the wait for this job; `false` when nobody waits for it.
    pub fn answer(&self, id: JobId, reply: Reply) -> bool {
        let waiter = self.change(|pending| pending.answer(id));
        waiter.is_some_and(|waiter| waiter.send(reply).is_ok())
    }

    /// The demand, now and whenever it changes.
    #[must_use]
    pub fn counts(&self) -> watch::Receiver<Counts> {
        self.counts.subscribe()
    }

    /// Whether a request has waited at least this long.
    #[must_use]
    pub fn any_older_than(&self, age: Duration) -> bool {
        let time = Instant::now().checked_sub(age);
        time.is_some_and(|time| self.lock().any_accepted_by(time))
    }

    /// Changes what is pending, and tells watchers if that changed the demand.
    fn change<T>(&self, change: impl FnOnce(&mut Pending<oneshot::Sender<Reply>>) -> T) -> T {
        let mut pending = self.lock();
        let output = change(&mut pending);
        let counts = pending.counts();
        // Still under the lock, so that counts are published in the order of the changes.
        self.counts.send_if_modified(|published| {
            let modified = *published != counts;
            *published = counts;
            modified
        });
        drop(pending);
        metric::FRONT_IN_FLIGHT
            .gauge()
            .set(counts.unanswered as f64);
        output
    }

    fn lock(&self) -> MutexGuard<'_, Pending<oneshot::Sender<Reply>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers requests whose deadline has come, until `stop`.
pub async fn expire_until(waiting: Arc<Waiting>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if waiting.counts.borrow().unanswered == 0 {
            continue;
        }
        for waiter in waiting.change(|pending| pending.expire(Instant::now())) {
            // Nobody listens if the request failed at the same moment.
            let _ = waiter.send(Err(deadline_exceeded()));
        }
    }
}

/// The reply of a worker, as its request wants it. `None` if it says nothing.
#[must_use]
pub fn reply_of(result: RecognitionResult) -> Option<Reply> {
    let timings = result.timings.unwrap_or_default();
    result.outcome.map(|outcome| Ok((outcome, timings)))
}

#[must_use]
pub fn deadline_exceeded() -> RequestError {
    let message = "no worker answered in time; the result may still be in the out-bucket later";
    RequestError::new(ErrorCode::DeadlineExceeded, message)
}
