use std::cmp::Reverse;
use std::collections::BinaryHeap;

use scaler_plan::{Moment, Prices};

use crate::{Micros, micros};

/// What EC2 charges for starts that have ended, and how many of them are still paid for.
#[derive(Debug, Clone)]
pub struct Bill {
    prices: Prices,
    ended: Micros,
    /// When the minimums of stopped instances are used up.
    paid_until: BinaryHeap<Reverse<Moment>>,
}

impl Bill {
    pub fn new(prices: Prices) -> Self {
        Self {
            prices,
            ended: 0,
            paid_until: BinaryHeap::new(),
        }
    }

    /// Takes in that an instance that was started at `started_at` is stopped at `now`.
    pub fn stop(&mut self, started_at: Moment, now: Moment) {
        self.ended += micros(self.prices.billed(started_at, now));
        self.paid_until
            .push(Reverse(self.prices.paid_until(started_at)));
    }

    /// Returns the billed instance time at `now`, given when the instances that are up were started.
    pub fn total(&self, started: impl Iterator<Item = Moment>, now: Moment) -> Micros {
        let running = started.map(|at| micros(self.prices.billed(at, now)));
        self.ended + running.sum::<Micros>()
    }

    /// Returns how many stopped instances are still paid for at `now`, and when the first of their minimums ends.
    pub fn still_paid(&mut self, now: Moment) -> (u32, Option<Moment>) {
        while self.paid_until.peek().is_some_and(|next| next.0 <= now) {
            self.paid_until.pop();
        }
        let next = self.paid_until.peek().map(|next| next.0);
        let count = u32::try_from(self.paid_until.len()).unwrap_or(u32::MAX);
        (count, next)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn each_start_costs_the_minimum_at_least() {
        let mut bill = Bill::new(Prices::default());
        let total = |bill: &Bill, now| bill.total(std::iter::empty(), at(now)) / 1_000_000;
        assert_eq!(bill.total([at(100)].into_iter(), at(100)), 60_000_000);
        bill.stop(at(100), at(110));
        bill.stop(at(105), at(120));
        assert_eq!(total(&bill, 120), 120);
        assert_eq!(bill.still_paid(at(120)), (2, Some(at(160))));
        assert_eq!(bill.still_paid(at(160)), (1, Some(at(165))));
        assert_eq!(bill.still_paid(at(165)), (0, None));
        bill.stop(at(200), at(300));
        assert_eq!(total(&bill, 300), 220);
        assert_eq!(bill.still_paid(at(300)), (0, None));
    }
}
