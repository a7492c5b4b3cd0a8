//! Makes recorded decisions again, and finds those that come out otherwise.

use std::time::Duration;

use proto::v1::ScalerStatus;

use crate::decision_log::stand_by;
use crate::plan::{Memory, Moment, Plan, Policy, plan};
use crate::wire::{self, Recorded, WireError};

/// Takes recorded statuses one after the other, and plans anew what each was made from.
///
/// Each observation is the recorded one: what the cloud would have done after another decision is not known. So a
/// replay under another policy shows what that would have decided each time, not where it would have led.
#[derive(Debug, Default)]
pub struct Replay {
    memory: Memory,
    before: Option<(u64, Moment)>,
    summary: Summary,
}

/// A decision that was made again.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    pub at: Moment,
    pub recorded: Plan,
    pub replayed: Plan,
    /// Whether decisions before it are missing in the recording, and what was remembered then is not in it.
    pub after_a_gap: bool,
}

/// What a recording and its replay come to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    pub decisions: u64,
    /// Those that came out otherwise.
    pub different: u64,
    /// How often decisions are missing, and what was remembered then as well.
    pub gaps: u64,
    /// Begin and end of the recording.
    pub period: Option<(Moment, Moment)>,
    /// How long how many workers were wanted, in worker-seconds.
    pub recorded_seconds: f64,
    pub replayed_seconds: f64,
    /// The most workers that were wanted at a time.
    pub recorded_most: u32,
    pub replayed_most: u32,
}

impl Replay {
    /// Makes a recorded decision again; `adapt` may change the policy. Absent for a status from before the first
    /// decision.
    ///
    /// # Errors
    /// When the status lacks what a plan is made from.
    pub fn next(
        &mut self,
        status: &ScalerStatus,
        adapt: impl FnOnce(&mut Policy),
    ) -> Result<Option<Replayed>, WireError> {
        if status.sequence == 0 {
            return Ok(None);
        }
        let Recorded {
            sequence,
            mut policy,
            observation,
            plan: recorded,
            memory,
            standing_by,
        } = wire::decode(status)?;
        adapt(&mut policy);
        let expected = self.before.map_or(1, |(before, _)| before + 1);
        let after_a_gap = memory.is_none() && sequence != expected;
        if let Some(memory) = memory {
            self.memory = memory;
        }
        let now = observation.now;
        let before = std::mem::take(&mut self.memory);
        let (replayed, memory) = match standing_by {
            Some(why) => stand_by(&why, before),
            None => plan(&policy, &observation, before),
        };
        self.memory = memory;
        let replayed = Replayed {
            at: now,
            recorded,
            replayed,
            after_a_gap,
        };
        let passed = self.before.map(|(_, at)| now.since(at));
        self.summary.add(&replayed, passed.unwrap_or_default());
        self.before = Some((sequence, now));
        Ok(Some(replayed))
    }

    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summary
    }
}

impl Replayed {
    /// Whether anything in the plan came out otherwise.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.recorded != self.replayed
    }
}

impl Summary {
    fn add(&mut self, it: &Replayed, passed: Duration) {
        self.decisions += 1;
        self.different += u64::from(it.differs());
        self.gaps += u64::from(it.after_a_gap);
        let begin = self.period.map_or(it.at, |(begin, _)| begin);
        self.period = Some((begin, it.at));
        let (recorded, replayed) = (it.recorded.desired_workers, it.replayed.desired_workers);
        self.recorded_seconds += f64::from(recorded) * passed.as_secs_f64();
        self.replayed_seconds += f64::from(replayed) * passed.as_secs_f64();
        self.recorded_most = self.recorded_most.max(recorded);
        self.replayed_most = self.replayed_most.max(replayed);
    }
}

#[cfg(test)]
mod tests;
