use std::time::Duration;

use platform::fleet::FleetError;
use uuid::Uuid;

use crate::plan::Moment;

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(20);
/// A refusal that time alone does not mend, such as an unknown image, is tried again this often.
const WITHOUT_HOPE: Duration = Duration::from_secs(10);

/// For how long calls of one kind are held back after failures.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
    until: Option<Moment>,
}

impl Backoff {
    /// Takes note of what became of a call.
    pub fn note(&mut self, error: Option<&FleetError>, now: Moment) {
        let Some(error) = error else {
            *self = Self::default();
            return;
        };
        let wait = SHORTEST.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST);
        let wait = if error.is_transient() { wait } else { wait.max(WITHOUT_HOPE) };
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now.after(wait.mul_f64(jitter())));
    }

    #[must_use]
    pub fn until(&self) -> Option<Moment> {
        self.until
    }
}

/// Between a half and one, so that scalers which failed together do not try again together.
fn jitter() -> f64 {
    let (random, _) = Uuid::new_v4().as_u64_pair();
    0.5 + f64::from((random >> 40) as u32) / f64::from(1_u32 << 25)
}
