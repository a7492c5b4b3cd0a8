//! How many messages to receive with which call. Pure.

use std::time::{Duration, Instant};

use platform::queue::BATCH_LIMIT;

/// How long one receive call waits for a message. A cordoned worker waits for its end, so this bounds how fast the fleet
/// scales in. An idle worker makes one call a second.
const RECEIVE_WAIT: Duration = Duration::from_secs(1);
/// A worker takes no more messages ahead of its threads than it finishes in this time: other workers may become idle.
const AHEAD: Duration = Duration::from_millis(100);
/// A call that took longer waited for its message: the queue was empty.
const PROMPT: Duration = Duration::from_millis(30);
/// Pause after a call that was not full, while many jobs are in flight: the next call receives more.
const GATHERING: Duration = Duration::from_millis(5);
/// From so many jobs in flight on, it pays to gather messages.
pub const MANY_JOBS: usize = 4;

/// Decides the receive calls by what the last ones returned.
///
/// An idle worker takes as many messages as it can start. When calls come back full, the queue is deep. Then the worker also
/// takes messages ahead, twice as many with each full call, so that it needs fewer calls. Those calls do not wait: messages
/// that are yet to come are for workers that are idle.
#[derive(Debug)]
pub struct ReceivePolicy {
    max_jobs: usize,
    ahead: usize,
    /// Mean time from the end of one job to the end of the next.
    interval: Option<Duration>,
    /// The end of a pause between two calls.
    pub pause_ends: Option<Instant>,
}

/// A receive call to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveRequest {
    pub limit: usize,
    pub wait: Duration,
}

impl ReceivePolicy {
    /// `max_jobs` is how many jobs can be started at once.
    pub fn new(max_jobs: usize) -> Self {
        Self {
            max_jobs,
            ahead: 0,
            interval: None,
            pause_ends: None,
        }
    }

    /// Returns the call to make, if any, unless there is a pause.
    pub fn next_request(&self, in_flight: usize) -> Option<ReceiveRequest> {
        if self.ahead == 0 {
            let room = self.max_jobs.saturating_sub(in_flight);
            return request(room, RECEIVE_WAIT);
        }
        // A call for few messages costs as much as one for all that are taken ahead.
        if in_flight > self.max_jobs {
            return None;
        }
        request(self.max_jobs + self.ahead - in_flight, Duration::ZERO)
    }

    /// Notes what a call returned, after which time, and how many jobs are in flight with these.
    pub fn received(
        &mut self,
        request: ReceiveRequest,
        count: usize,
        in_flight: usize,
        took: Duration,
        now: Instant,
    ) {
        let is_full = count >= request.limit;
        // A call that waits returns its first message.
        let is_deep = is_full && (request.limit > 1 || took < PROMPT);
        if is_deep {
            self.ahead = (2 * self.ahead).max(1);
        } else if 2 * count < request.limit {
            self.ahead = 0;
        }
        self.ahead = self.ahead.min(self.most_ahead());
        let pauses = !is_full && in_flight >= MANY_JOBS;
        self.pause_ends = pauses.then(|| now + GATHERING);
    }

    /// Notes the time of a job that began with `together` jobs in flight, itself included.
    pub fn finished(&mut self, elapsed: Duration, together: usize) {
        let share = elapsed / u32::try_from(together.max(1)).unwrap_or(u32::MAX);
        let mean = self.interval.map_or(share, |mean| (7 * mean + share) / 8);
        self.interval = Some(mean);
    }

    fn most_ahead(&self) -> usize {
        let Some(interval) = self.interval else {
            return 0;
        };
        let interval = interval.max(Duration::from_micros(1));
        let count = AHEAD.as_micros() / interval.as_micros();
        usize::try_from(count).map_or(BATCH_LIMIT, |count| count.min(BATCH_LIMIT))
    }
}

fn request(room: usize, wait: Duration) -> Option<ReceiveRequest> {
    let limit = room.min(BATCH_LIMIT);
    (limit > 0).then_some(ReceiveRequest { limit, wait })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn limit(policy: &ReceivePolicy, in_flight: usize) -> Option<usize> {
        policy.next_request(in_flight).map(|request| request.limit)
    }

    /// Returns the policy of a worker that needs `job` for each of its jobs, alone.
    fn working(max_jobs: usize, job: Duration) -> ReceivePolicy {
        let mut policy = ReceivePolicy::new(max_jobs);
        policy.finished(job, 1);
        policy
    }

    /// Receives as many messages as it requests, so many times, and finishes them. Returns the limits.
    fn full(policy: &mut ReceivePolicy, calls: usize, now: Instant) -> Vec<usize> {
        let limits = (0..calls).map(|_| {
            let request = policy.next_request(0).unwrap();
            policy.received(request, request.limit, request.limit, MILLISECOND, now);
            request.limit
        });
        limits.collect()
    }

    #[test]
    fn a_worker_receives_no_more_than_it_can_start() {
        let of = |max_jobs, in_flight| limit(&working(max_jobs, MILLISECOND), in_flight);
        assert_eq!(of(1, 0), Some(1));
        assert_eq!(of(1, 1), None);
        assert_eq!(of(4, 1), Some(3));
        assert_eq!(of(64, 0), Some(BATCH_LIMIT));
        assert_eq!(of(1, 2), None);
    }

    #[test]
    fn full_calls_let_it_take_messages_ahead_up_to_what_it_finishes_in_100_ms() {
        let now = Instant::now();
        let mut fast = working(1, MILLISECOND);
        assert_eq!(full(&mut fast, 5, now), [1, 2, 3, 5, 9]);
        let mut slow = working(1, 40 * MILLISECOND);
        assert_eq!(full(&mut slow, 5, now), [1, 2, 3, 3, 3]);
        let mut slower = working(1, 101 * MILLISECOND);
        assert_eq!(full(&mut slower, 5, now), [1; 5]);
        let mut new = ReceivePolicy::new(1);
        assert_eq!(full(&mut new, 5, now), [1; 5]);
    }

    #[test]
    fn calls_ahead_do_not_wait_and_are_made_when_a_batch_of_room_is_free() {
        let now = Instant::now();
        let mut policy = working(2, MILLISECOND);
        full(&mut policy, 5, now);
        assert_eq!(policy.next_request(3), None);
        let request = policy.next_request(2).unwrap();
        assert_eq!((request.limit, request.wait), (BATCH_LIMIT, Duration::ZERO));
    }

    #[test]
    fn a_call_that_is_less_than_half_full_ends_it() {
        let now = Instant::now();
        let mut policy = working(2, MILLISECOND);
        full(&mut policy, 5, now);
        let request = policy.next_request(2).unwrap();
        policy.received(request, 5, 2, MILLISECOND, now);
        assert_eq!(limit(&policy, 2), Some(BATCH_LIMIT));
        policy.received(request, 4, 2, MILLISECOND, now);
        assert_eq!(limit(&policy, 2), None);
        assert_eq!(policy.next_request(1).unwrap().wait, RECEIVE_WAIT);
    }

    #[test]
    fn a_worker_with_many_jobs_pauses_after_a_call_that_was_not_full() {
        let now = Instant::now();
        let mut policy = ReceivePolicy::new(16);
        let request = policy.next_request(0).unwrap();
        policy.received(request, 3, MANY_JOBS - 1, MILLISECOND, now);
        assert_eq!(policy.pause_ends, None);
        policy.received(request, 3, MANY_JOBS, MILLISECOND, now);
        assert_eq!(policy.pause_ends, Some(now + GATHERING));
        policy.received(request, request.limit, MANY_JOBS, MILLISECOND, now);
        assert_eq!(policy.pause_ends, None);
    }

    /// It made an empty call after each photo.
    #[test]
    fn a_lone_photo_takes_one_receive_call() {
        let now = Instant::now();
        let mut policy = working(1, MILLISECOND);
        let request = policy.next_request(0).unwrap();
        policy.received(request, 1, 1, 200 * MILLISECOND, now);
        assert_eq!(policy.next_request(1), None);
        assert_eq!(policy.next_request(0).unwrap().wait, RECEIVE_WAIT);
        policy.received(request, 1, 1, MILLISECOND, now);
        assert_eq!(policy.next_request(1).unwrap().wait, Duration::ZERO);
    }

    #[test]
    fn jobs_that_run_together_share_their_time() {
        let now = Instant::now();
        let mut policy = ReceivePolicy::new(1);
        policy.finished(500 * MILLISECOND, 10);
        assert_eq!(full(&mut policy, 4, now), [1, 2, 3, 3]);
    }
}
