//! What EC2 charges: by the second from the order to start to the order to stop, and a minimum for each start.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Micros;

/// Adds up what is billed.
#[derive(Debug, Clone, Default)]
pub(super) struct Bill {
    minimum: Micros,
    /// For instances that were stopped.
    finished: Micros,
    /// When those that were stopped before their minimum are paid off.
    paid_off: BinaryHeap<Reverse<Micros>>,
}

impl Bill {
    pub(super) fn with_minimum(minimum: Micros) -> Self {
        Self {
            minimum,
            ..Self::default()
        }
    }

    /// An instance that was started at `started_at` is ordered to stop at `now`.
    pub(super) fn stop(&mut self, started_at: Micros, now: Micros) {
        self.finished += self.so_far(started_at, now);
        let paid_until = started_at + self.minimum;
        if paid_until > now {
            self.paid_off.push(Reverse(paid_until));
        }
    }

    /// What an instance that was started at `started_at` and is up at `now` costs so far: the minimum is owed at once.
    pub(super) fn so_far(&self, started_at: Micros, now: Micros) -> Micros {
        (now - started_at).max(self.minimum)
    }

    /// For all instances that were stopped.
    pub(super) fn finished(&self) -> Micros {
        self.finished
    }

    /// How many stops at `now` are still paid for, and when the next of them is paid off.
    pub(super) fn still_paid(&mut self, now: Micros) -> (u32, Option<Micros>) {
        while self.paid_off.peek().is_some_and(|next| next.0 <= now) {
            self.paid_off.pop();
        }
        let next = self.paid_off.peek().map(|next| next.0);
        (u32::try_from(self.paid_off.len()).unwrap_or(u32::MAX), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_costs_the_minimum_at_least() {
        let mut bill = Bill::with_minimum(60);
        assert_eq!(bill.so_far(100, 100), 60);
        bill.stop(100, 110);
        bill.stop(105, 120);
        assert_eq!(bill.finished(), 120);
        assert_eq!(bill.still_paid(120), (2, Some(160)));
        assert_eq!(bill.still_paid(160), (1, Some(165)));
        assert_eq!(bill.still_paid(165), (0, None));
        bill.stop(200, 300);
        assert_eq!(bill.finished(), 220);
        assert_eq!(bill.still_paid(300), (0, None));
    }
}
