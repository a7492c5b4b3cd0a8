//! How EC2 limits the rate of calls, and how the scaler waits after a refusal.

use std::time::Duration;

use super::random::Random;
use super::{Micros, micros};

/// EC2's limit on calls of one kind: a bucket of tokens, of which each call takes one.
/// <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>
#[derive(Debug, Clone)]
pub(super) struct TokenBucket {
    capacity: f64,
    per_second: f64,
    tokens: f64,
    filled_at: Micros,
}

/// The waiting times of `execute::backoff`, with jitter that can be repeated.
#[derive(Debug, Clone, Default)]
pub(super) struct Backoff {
    failures: u32,
}

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(20);

impl TokenBucket {
    /// A full one.
    pub(super) fn new(capacity: f64, per_second: f64) -> Self {
        Self {
            capacity,
            per_second,
            tokens: capacity,
            filled_at: 0,
        }
    }

    /// Whether a call is let through at `now`.
    pub(super) fn take(&mut self, now: Micros) -> bool {
        let passed = (now - self.filled_at) as f64 / 1e6;
        self.tokens = (self.tokens + passed * self.per_second).min(self.capacity);
        self.filled_at = now;
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

impl Backoff {
    pub(super) fn succeed(&mut self) {
        self.failures = 0;
    }

    /// Until when calls are held back after a refusal at `now`.
    pub(super) fn refuse(&mut self, now: Micros, random: &mut Random) -> Micros {
        let wait = SHORTEST
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        now + micros(wait.mul_f64(0.5 + random.unit() / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::random::Stream;

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_its_rate() {
        let mut bucket = TokenBucket::new(5.0, 2.0);
        let at_once = (0..10).filter(|_| bucket.take(1_000_000)).count();
        assert_eq!(at_once, 5);
        assert!(!bucket.take(1_400_000));
        assert!(bucket.take(1_500_000));
        assert!(!bucket.take(1_900_000));
        // It never holds more than its capacity.
        let later = (0..10).filter(|_| bucket.take(100_000_000)).count();
        assert_eq!(later, 5);
    }

    #[test]
    fn refusals_are_waited_for_longer_each_time() {
        let mut random = Random::new(1, Stream::Cloud);
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.refuse(0, &mut random)).collect();
        assert!((100_000..=200_000).contains(&waits[0]), "{waits:?}");
        assert!((10_000_000..=20_000_000).contains(&waits[11]), "{waits:?}");
        backoff.succeed();
        assert!(backoff.refuse(0, &mut random) <= 200_000);
    }
}
