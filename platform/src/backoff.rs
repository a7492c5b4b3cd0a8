//! Pauses between the attempts at something that fails. The caller sleeps; this module reads no clock.

use std::time::Duration;

/// Exponential backoff: each pause is twice the one before it, up to a longest one.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// Returns the pause before the next attempt.
    #[must_use]
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.pause_after(self.failures);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Returns the pause that follows `failures` earlier ones, for callers that count themselves.
    #[must_use]
    pub fn pause_after(&self, failures: u32) -> Duration {
        self.first
            .saturating_mul(2_u32.saturating_pow(failures))
            .min(self.longest)
    }

    /// Begins with the first pause again, after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_until_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut next = || backoff.next_pause().as_millis();
        assert_eq!([(); 6].map(|()| next()), [100, 200, 400, 800, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next_pause().as_millis(), 100);
        assert_eq!(backoff.pause_after(u32::MAX).as_millis(), 1000);
    }
}
