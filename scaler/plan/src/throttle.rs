//! Limits on the rate of calls, and the backoff after refused ones. Written by hand, because the crates for it read clocks.

use std::time::Duration;

use crate::Moment;

/// A bucket of tokens that refills steadily up to its capacity.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    capacity: f64,
    per_second: f64,
    /// Negative after calls that were made without a token.
    tokens: f64,
    /// When it was last refilled; absent before the first use.
    refilled_at: Option<Moment>,
}

/// Exponential backoff of one kind of call.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
    until: Option<Moment>,
}

/// The wait after the first failure. It doubles with each further one.
pub const SHORTEST: Duration = Duration::from_millis(200);
pub const LONGEST: Duration = Duration::from_secs(20);

impl TokenBucket {
    #[must_use]
    pub fn new(capacity: f64, per_second: f64, tokens: f64) -> Self {
        Self {
            capacity,
            per_second,
            tokens,
            refilled_at: None,
        }
    }

    /// Adds the tokens since the last refill. The first call adds none.
    pub fn refill(&mut self, now: Moment) {
        let elapsed = now.since(self.refilled_at.unwrap_or(now)).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.capacity);
        self.refilled_at = self.refilled_at.max(Some(now));
    }

    /// Returns the number of whole tokens, as of the last refill.
    #[must_use]
    pub fn available(&self) -> u32 {
        // The cast saturates: a debt counts as no token.
        self.tokens.floor() as u32
    }

    /// Takes tokens. More than are available leave a debt.
    pub fn spend(&mut self, tokens: u32) {
        self.tokens -= f64::from(tokens);
    }

    /// Takes all tokens.
    pub fn drain(&mut self) {
        self.tokens = self.tokens.min(0.0);
    }

    /// Returns when there will be a token; absent while there is one.
    #[must_use]
    pub fn ready_at(&self) -> Option<Moment> {
        let missing = 1.0 - self.tokens;
        (missing > 0.0).then(|| {
            let wait = Duration::from_secs_f64(missing / self.per_second);
            // Rounding must not leave the bucket short of a token then.
            let wait = wait + Duration::from_millis(1);
            self.refilled_at.unwrap_or_default().after(wait)
        })
    }
}

impl Backoff {
    /// Takes in a success.
    pub fn succeed(&mut self) {
        *self = Self::default();
    }

    /// Takes in a failure. Waits at least `at_least`, times between a half and one: `jitter` is a random number from 0 to 1.
    pub fn fail(&mut self, at_least: Duration, jitter: f64, now: Moment) {
        let wait = SHORTEST
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(LONGEST)
            .max(at_least);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now.after(wait.mul_f64(0.5 + jitter / 2.0)));
    }

    /// Returns until when calls are held back; absent after a success.
    #[must_use]
    pub fn until(&self) -> Option<Moment> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::after_epoch(Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_its_rate() {
        let mut bucket = TokenBucket::new(5.0, 2.0, 5.0);
        let mut take = |now| {
            bucket.refill(at(now));
            let taken = bucket.available() > 0;
            bucket.spend(taken.into());
            taken
        };
        assert_eq!((0..10).filter(|_| take(1_000)).count(), 5);
        assert!(!take(1_400));
        assert!(take(1_500));
        assert!(!take(1_900));
        // It never holds more than its capacity.
        assert_eq!((0..10).filter(|_| take(100_000)).count(), 5);
        assert_eq!(bucket.ready_at(), Some(at(100_501)));
    }

    #[test]
    fn failures_double_the_wait_up_to_its_bound() {
        let mut backoff = Backoff::default();
        let mut wait = |jitter| {
            backoff.fail(Duration::ZERO, jitter, at(0));
            backoff.until().unwrap().elapsed()
        };
        assert_eq!(wait(0.0), SHORTEST / 2);
        assert_eq!(wait(1.0), SHORTEST * 2);
        assert_eq!((0..10).map(|_| wait(1.0)).max(), Some(LONGEST));
        backoff.succeed();
        assert_eq!(backoff.until(), None);
        backoff.fail(LONGEST * 2, 0.0, at(0));
        assert_eq!(backoff.until().unwrap().elapsed(), LONGEST);
    }
}
