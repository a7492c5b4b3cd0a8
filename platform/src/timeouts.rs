//! Timeouts of the calls to AWS. By default the SDK limits connecting only.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;

/// Timeout of one attempt of a call without a photo. A receive has its wait in addition.
pub const ATTEMPT: Duration = Duration::from_secs(5);
/// Timeout of one attempt of a call that may carry a photo.
pub const SLOW_ATTEMPT: Duration = Duration::from_secs(30);

/// Returns the timeouts of a receive that waits for a message.
pub fn receive_timeouts(wait: Duration) -> TimeoutConfig {
    attempts_of(wait + 2 * ATTEMPT)
}

/// Returns the timeouts of calls whose attempts take up to `attempt`.
pub fn attempts_of(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .read_timeout(attempt)
        .operation_attempt_timeout(attempt)
        .operation_timeout(2 * attempt)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receive_has_ten_seconds_after_its_wait() {
        for (wait, attempt) in [(0, 10), (1, 11), (20, 30)] {
            let timeouts = receive_timeouts(Duration::from_secs(wait));
            let attempt = Some(Duration::from_secs(attempt));
            assert_eq!(timeouts.operation_attempt_timeout(), attempt);
            assert_eq!(timeouts.read_timeout(), attempt);
        }
    }
}
