//! The schedule of a closed loop: each client sends its next request when its last one ends. Pure: times are durations
//! since the run began.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use platform::backoff::Backoff;

const RECONNECT: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// The state of a closed loop.
#[derive(Debug)]
pub struct Schedule {
    requests: usize,
    clients: usize,
    max_retries: u32,
    next_request: usize,
    in_flight: usize,
    /// Retries by the time when they are due. Their clients send nothing else meanwhile.
    retries: BinaryHeap<Reverse<(Duration, Attempt)>>,
}

/// One attempt at a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// Index of the request.
    pub request: usize,
    /// Earlier attempts.
    pub retries: u32,
}

/// The next thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send the request, then call [`Schedule::done`] or [`Schedule::failed`].
    Send(Attempt),
    /// Wait until an attempt in flight ends, or until this time.
    Wait {
        until: Option<Duration>,
    },
    Finished,
}

impl Schedule {
    /// # Panics
    /// Without clients.
    #[must_use]
    pub fn new(requests: usize, clients: usize, max_retries: u32) -> Self {
        assert!(clients > 0, "a closed loop needs a client");
        Self {
            requests,
            clients,
            max_retries,
            next_request: 0,
            in_flight: 0,
            retries: BinaryHeap::new(),
        }
    }

    /// Returns the next step at `now`. Each [`Step::Send`] is returned once.
    pub fn next(&mut self, now: Duration) -> Step {
        if let Some(Reverse((due, attempt))) = self.retries.peek().copied()
            && due <= now
        {
            self.retries.pop();
            self.in_flight += 1;
            return Step::Send(attempt);
        }
        if self.next_request < self.requests && self.in_flight + self.retries.len() < self.clients {
            let attempt = Attempt {
                request: self.next_request,
                retries: 0,
            };
            self.next_request += 1;
            self.in_flight += 1;
            return Step::Send(attempt);
        }
        let until = self.retries.peek().map(|Reverse((due, _))| *due);
        if self.in_flight == 0 && until.is_none() {
            Step::Finished
        } else {
            Step::Wait { until }
        }
    }

    /// Ends the sending of new requests. Retries that are due are still sent, and no others follow.
    pub fn stop(&mut self) {
        self.requests = self.next_request;
        self.max_retries = 0;
    }

    /// Records the end of an attempt that is not retried.
    pub fn done(&mut self) {
        self.in_flight -= 1;
    }

    /// Records that an attempt's connection failed, and schedules a retry. Returns `false` when no retry is left.
    pub fn failed(&mut self, attempt: Attempt, now: Duration) -> bool {
        self.in_flight -= 1;
        if attempt.retries >= self.max_retries {
            return false;
        }
        let pause = RECONNECT.pause_after(attempt.retries);
        let retry = Attempt {
            retries: attempt.retries + 1,
            ..attempt
        };
        self.retries.push(Reverse((now + pause, retry)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;
    const FIRST_PAUSE: Duration = Duration::from_millis(100);

    fn first(request: usize) -> Step {
        Step::Send(Attempt {
            request,
            retries: 0,
        })
    }

    #[test]
    fn a_client_sends_its_next_request_when_its_last_one_ends() {
        let mut schedule = Schedule::new(3, 2, 0);
        assert_eq!(schedule.next(START), first(0));
        assert_eq!(schedule.next(START), first(1));
        assert_eq!(schedule.next(START), Step::Wait { until: None });
        schedule.done();
        assert_eq!(schedule.next(START), first(2));
        schedule.done();
        schedule.done();
        assert_eq!(schedule.next(START), Step::Finished);
    }

    #[test]
    fn a_client_with_a_retry_sends_no_other_request() {
        let mut schedule = Schedule::new(2, 1, 5);
        assert_eq!(schedule.next(START), first(0));
        assert!(schedule.failed(
            Attempt {
                request: 0,
                retries: 0
            },
            START
        ));
        assert_eq!(
            schedule.next(START),
            Step::Wait {
                until: Some(FIRST_PAUSE)
            }
        );
        assert_eq!(
            schedule.next(FIRST_PAUSE),
            Step::Send(Attempt {
                request: 0,
                retries: 1
            })
        );
        schedule.done();
        assert_eq!(schedule.next(FIRST_PAUSE), first(1));
    }

    #[test]
    fn retries_are_bounded_and_their_pauses_grow() {
        let mut schedule = Schedule::new(1, 1, 8);
        let mut now = START;
        let mut pauses = Vec::new();
        loop {
            let Step::Send(attempt) = schedule.next(now) else {
                panic!("not a request")
            };
            if !schedule.failed(attempt, now) {
                break;
            }
            let Step::Wait { until: Some(until) } = schedule.next(now) else {
                panic!("not a pause")
            };
            pauses.push((until - now).as_millis());
            now = until;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
        assert_eq!(schedule.next(now), Step::Finished);
    }

    #[test]
    fn a_stopped_schedule_waits_for_what_is_in_flight() {
        let mut schedule = Schedule::new(9, 2, 5);
        assert_eq!(schedule.next(START), first(0));
        assert_eq!(schedule.next(START), first(1));
        let attempt = |retries| Attempt {
            request: 0,
            retries,
        };
        assert!(schedule.failed(attempt(0), START));
        schedule.stop();
        assert_eq!(schedule.next(FIRST_PAUSE), Step::Send(attempt(1)));
        assert!(!schedule.failed(attempt(1), FIRST_PAUSE));
        assert_eq!(schedule.next(FIRST_PAUSE), Step::Wait { until: None });
        schedule.done();
        assert_eq!(schedule.next(FIRST_PAUSE), Step::Finished);
    }

    #[test]
    fn without_requests_it_is_finished_at_once() {
        assert_eq!(Schedule::new(0, 5, 0).next(START), Step::Finished);
    }
}
