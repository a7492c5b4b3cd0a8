//! What a closed loop of clients sends, and when: as many requests under way as there are clients, each client taking
//! the next one as soon as its own is done. Times are durations since the run began.

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
    most_retries: u32,
    next_request: usize,
    in_flight: usize,
    /// Attempts to be made again, the earliest first. Their clients are not free in the meantime.
    pauses: BinaryHeap<Reverse<(Duration, Attempt)>>,
}

/// One sending of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// Which request, from 0.
    pub request: usize,
    /// How often it was sent before.
    pub retries: u32,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send it, and report back by [`Schedule::done`] or [`Schedule::broken`].
    Send(Attempt),
    /// Wait until something that is under way ends, or until this time.
    Wait {
        until: Option<Duration>,
    },
    Finished,
}

impl Schedule {
    /// # Panics
    /// Without a single client nothing would ever be sent.
    #[must_use]
    pub fn new(requests: usize, clients: usize, most_retries: u32) -> Self {
        assert!(clients > 0, "a closed loop needs a client");
        Self {
            requests,
            clients,
            most_retries,
            next_request: 0,
            in_flight: 0,
            pauses: BinaryHeap::new(),
        }
    }

    /// What to do at `now`. Every [`Step::Send`] is handed out once.
    pub fn next(&mut self, now: Duration) -> Step {
        if let Some(Reverse((due, attempt))) = self.pauses.peek().copied()
            && due <= now
        {
            self.pauses.pop();
            self.in_flight += 1;
            return Step::Send(attempt);
        }
        if self.next_request < self.requests && self.in_flight + self.pauses.len() < self.clients {
            let attempt = Attempt {
                request: self.next_request,
                retries: 0,
            };
            self.next_request += 1;
            self.in_flight += 1;
            return Step::Send(attempt);
        }
        let until = self.pauses.peek().map(|Reverse((due, _))| *due);
        if self.in_flight == 0 && until.is_none() {
            Step::Finished
        } else {
            Step::Wait { until }
        }
    }

    /// An attempt came to an end that is not tried again.
    pub fn done(&mut self) {
        self.in_flight -= 1;
    }

    /// An attempt's connection failed: it is made again after a pause that doubles each time. False when it was the
    /// last one allowed; the request is over then.
    pub fn broken(&mut self, attempt: Attempt, now: Duration) -> bool {
        self.in_flight -= 1;
        if attempt.retries >= self.most_retries {
            return false;
        }
        let pause = RECONNECT.pause_after(attempt.retries);
        let again = Attempt {
            retries: attempt.retries + 1,
            ..attempt
        };
        self.pauses.push(Reverse((now + pause, again)));
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
    fn a_client_takes_the_next_request_when_its_own_is_done() {
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
    fn a_client_that_pauses_takes_no_other_request() {
        let mut schedule = Schedule::new(2, 1, 5);
        assert_eq!(schedule.next(START), first(0));
        assert!(schedule.broken(
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
                panic!("something is to be sent")
            };
            if !schedule.broken(attempt, now) {
                break;
            }
            let Step::Wait { until: Some(until) } = schedule.next(now) else {
                panic!("a pause follows")
            };
            pauses.push((until - now).as_millis());
            now = until;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000, 2000]);
        assert_eq!(schedule.next(now), Step::Finished);
    }

    #[test]
    fn nothing_to_send_is_finished_at_once() {
        assert_eq!(Schedule::new(0, 5, 0).next(START), Step::Finished);
    }
}
