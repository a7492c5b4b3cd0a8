//! The requests that wait for replies.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use platform::demand::Demand;
use proto::JobId;
use proto::v1::recognition_result::Outcome;
use proto::v1::{RecognitionResult, Timings};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::pending::{Pending, Replied};
use crate::error::{ErrorCode, RequestError};
use crate::metric;

/// Interval of the checks for deadlines.
const TICK: Duration = Duration::from_millis(50);

/// The result of a job.
pub type Reply = Result<(Outcome, Timings), RequestError>;

/// The pending requests of this process, and the demand that they make.
#[derive(Debug, Default)]
pub struct RequestRegistry {
    pending: Mutex<Pending<oneshot::Sender<Reply>>>,
    demand: watch::Sender<Demand>,
}

impl RequestRegistry {
    /// Registers a request. Returns `None` when its id is pending, or was until lately.
    pub fn accept(
        &self,
        id: JobId,
        now: Instant,
        deadline: Instant,
    ) -> Option<oneshot::Receiver<Reply>> {
        let (waiter, reply) = oneshot::channel();
        let accepted = self.change(|pending| pending.accept(id, waiter, now, deadline));
        accepted.ok().map(|()| reply)
    }

    /// Delivers a worker's reply.
    pub fn reply(&self, id: JobId, reply: Reply) -> Replied<()> {
        match self.change(|pending| pending.reply(id)) {
            // The request's task waits until it has an answer.
            Replied::Waited(waiter) => {
                let _ = waiter.send(reply);
                Replied::Waited(())
            }
            Replied::Again => Replied::Again,
            Replied::Late => Replied::Late,
        }
    }

    /// Fails the wait for this job. Returns `false` when no request waits for it.
    pub fn finish(&self, id: JobId, reply: Reply) -> bool {
        let waiter = self.change(|pending| pending.finish(id));
        waiter.is_some_and(|waiter| waiter.send(reply).is_ok())
    }

    /// Returns the demand and its changes.
    #[must_use]
    pub fn demand(&self) -> watch::Receiver<Demand> {
        self.demand.subscribe()
    }

    /// Returns whether a request has waited for at least `age`.
    #[must_use]
    pub fn any_older_than(&self, age: Duration) -> bool {
        let time = Instant::now().checked_sub(age);
        time.is_some_and(|time| self.lock().any_accepted_by(time))
    }

    /// Publishes a change of the frames of clips.
    pub fn change_frames(&self, change: impl FnOnce(&mut Demand)) {
        self.demand.send_modify(change);
        let waiting = self.demand.borrow().waiting_frames;
        metric::WAITING_FRAMES.get().set(waiting as f64);
    }

    /// Changes the pending requests, and publishes the demand if it changed.
    fn change<T>(&self, change: impl FnOnce(&mut Pending<oneshot::Sender<Reply>>) -> T) -> T {
        let mut pending = self.lock();
        let output = change(&mut pending);
        let demand = pending.demand();
        // Under the lock, so that demands and the gauge are published in the order of the changes.
        self.demand.send_if_modified(|published| {
            let demand = Demand {
                waiting_frames: published.waiting_frames,
                frames_done_total: published.frames_done_total,
                ..demand
            };
            let modified = *published != demand;
            *published = demand;
            modified
        });
        metric::FRONT_IN_FLIGHT.get().set(demand.unanswered as f64);
        drop(pending);
        output
    }

    fn lock(&self) -> MutexGuard<'_, Pending<oneshot::Sender<Reply>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fails requests at their deadlines, until `stop`.
pub async fn expire_until(registry: Arc<RequestRegistry>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if registry.demand.borrow().unanswered == 0 {
            continue;
        }
        for waiter in registry.change(|pending| pending.expire(Instant::now())) {
            // The receiver is gone if the request failed meanwhile.
            let _ = waiter.send(Err(deadline_exceeded()));
        }
    }
}

/// Returns the outcome and timings of a worker's reply, or `None` without an outcome.
#[must_use]
pub fn reply_of(result: RecognitionResult) -> Option<Reply> {
    let timings = result.timings.unwrap_or_default();
    result.outcome.map(|outcome| Ok((outcome, timings)))
}

#[must_use]
pub fn deadline_exceeded() -> RequestError {
    RequestError::new(ErrorCode::DeadlineExceeded, "no worker answered in time")
}
