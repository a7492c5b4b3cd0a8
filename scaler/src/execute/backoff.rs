use std::time::Duration;

use platform::fleet::FleetError;
use uuid::Uuid;

use crate::plan::{Timestamp, throttle};

/// How long to wait after a refusal that time alone does not change, such as an unknown image.
const PERMANENT: Duration = Duration::from_secs(10);

/// Exponential backoff with jitter for EC2 calls of one kind.
#[derive(Debug, Default)]
pub struct Ec2Backoff {
    backoff: throttle::Backoff,
    /// Why the last call failed.
    refused: Option<String>,
}

impl Ec2Backoff {
    /// Records how a call ended: a success resets the backoff.
    pub fn note(&mut self, error: Option<&FleetError>, now: Timestamp) {
        let at_least = match error {
            None => {
                *self = Self::default();
                return;
            }
            Some(error) if error.is_transient() => Duration::ZERO,
            Some(_) => PERMANENT,
        };
        self.refused = error.map(why);
        self.backoff.fail(at_least, jitter(), now);
    }

    /// Holds calls back although the last one succeeded for a part of its instances, or failed and a smaller one may
    /// not. `code` is EC2's.
    pub fn hold(&mut self, code: &str, now: Timestamp) {
        self.refused = Some(code.to_owned());
        self.backoff.fail(Duration::ZERO, jitter(), now);
    }

    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        self.backoff.until()
    }

    /// Returns why the last call failed: EC2's error code, or that EC2 did not reply; `None` after a success.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        self.refused.clone()
    }
}

fn why(error: &FleetError) -> String {
    error.code().unwrap_or("EC2 did not reply").to_owned()
}

/// A random number from 0 to 1, so that scalers that failed together do not retry together.
fn jitter() -> f64 {
    let (random, _) = Uuid::new_v4().as_u64_pair();
    f64::from((random >> 40) as u32) / f64::from(1_u32 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::throttle::{LONGEST, SHORTEST};

    fn refused(code: &str) -> FleetError {
        FleetError::Refused {
            code: code.to_owned(),
            message: String::new(),
        }
    }

    fn wait(backoff: &mut Ec2Backoff, code: &str) -> Duration {
        let now = Timestamp::after_epoch(Duration::from_secs(100));
        backoff.note(Some(&refused(code)), now);
        backoff
            .until()
            .expect("a failure holds calls back")
            .since(now)
    }

    #[test]
    fn throttled_calls_wait_longer_each_time_with_jitter() {
        let mut backoff = Ec2Backoff::default();
        let waits: Vec<_> = (0..12)
            .map(|_| wait(&mut backoff, "RequestLimitExceeded"))
            .collect();
        assert!(
            waits[0] >= SHORTEST / 2 && waits[0] <= SHORTEST,
            "{waits:?}"
        );
        assert!(
            waits[4] > waits[0] && waits[11] <= LONGEST && waits[11] >= LONGEST / 2,
            "{waits:?}"
        );
        let others: Vec<_> = (0..12)
            .map(|_| wait(&mut Ec2Backoff::default(), "Throttling"))
            .collect();
        assert!(others.iter().any(|other| *other != others[0]), "{others:?}");
    }

    #[test]
    fn a_permanent_refusal_waits_long() {
        assert!(wait(&mut Ec2Backoff::default(), "InvalidAMIID.NotFound") >= PERMANENT / 2);
    }

    #[test]
    fn a_success_ends_the_waiting() {
        let mut backoff = Ec2Backoff::default();
        wait(&mut backoff, "RequestLimitExceeded");
        let refused = backoff.refused();
        assert_eq!(refused.as_deref(), Some("RequestLimitExceeded"));
        backoff.note(None, Timestamp::default());
        assert_eq!((backoff.until(), backoff.refused()), (None, None));
    }
}
