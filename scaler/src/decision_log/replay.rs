//! Repeats recorded decisions, and finds those that differ.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::Context;
use proto::v1::ScalerStatus;
use serde::{Deserialize, Serialize};

use super::{Decision, decide};
use crate::plan::{Memory, Observation, Plan, Policy, Timestamp};

/// What a replay needs of a decision: JSON in the field `memory` of the statuses that `scaler watch --every` receives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recording<'a> {
    policy: Cow<'a, Policy>,
    observation: Cow<'a, Observation>,
    plan: Cow<'a, Plan>,
    /// The memory before the decision; absent when the decision before left it.
    memory: Option<Cow<'a, Memory>>,
}

/// Takes recorded statuses in order, and plans again from each observation.
///
/// Replay does not model the cloud's response. So under another policy it shows what that policy would have decided each
/// time, not where its decisions would have led.
#[derive(Debug, Default)]
pub struct Replay {
    memory: Memory,
    before: Option<(u64, Timestamp)>,
    summary: Summary,
}

/// A repeated decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    pub at: Timestamp,
    pub recorded: Plan,
    pub replayed: Plan,
    /// Whether decisions before it are missing in the recording, and with them the memory.
    pub after_a_gap: bool,
}

/// Totals of a recording and its replay.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    pub decisions: u64,
    /// How many of them differ.
    pub different: u64,
    /// How often decisions are missing, and with them the memory.
    pub gaps: u64,
    /// Begin and end of the recording.
    pub period: Option<(Timestamp, Timestamp)>,
    /// Wanted workers over time, in worker-seconds.
    pub recorded_seconds: f64,
    pub replayed_seconds: f64,
    /// The most workers wanted at a time.
    pub recorded_most: u32,
    pub replayed_most: u32,
}

impl<'a> Recording<'a> {
    pub(crate) fn of(decision: &'a Decision, with_memory: bool) -> Self {
        let memory = decision.before.as_deref().filter(|_| with_memory);
        Self {
            policy: Cow::Borrowed(&decision.active.policy),
            observation: Cow::Borrowed(&decision.observation),
            plan: Cow::Borrowed(&decision.plan),
            memory: memory.map(Cow::Borrowed),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("its maps have text as keys")
    }
}

impl Replay {
    /// Repeats a recorded decision; `adapt` may change the policy. Absent for a status from before the first decision.
    ///
    /// # Errors
    /// When the status holds no recording, or a damaged one.
    pub fn next(
        &mut self,
        status: &ScalerStatus,
        adapt: impl FnOnce(&mut Policy),
    ) -> anyhow::Result<Option<Replayed>> {
        if status.sequence == 0 {
            return Ok(None);
        }
        let recording: Recording<'_> = serde_json::from_str(&status.memory)
            .context("it was not recorded by this version's `scaler watch --every --json`")?;
        let (sequence, memory) = (status.sequence, recording.memory.map(Cow::into_owned));
        let (observation, recorded) = (recording.observation, recording.plan.into_owned());
        let mut policy = recording.policy.into_owned();
        adapt(&mut policy);
        let expected = self.before.map_or(1, |(before, _)| before + 1);
        let after_a_gap = memory.is_none() && sequence != expected;
        if let Some(memory) = memory {
            anyhow::ensure!(memory.is_sound(), "its memory is damaged");
            self.memory = memory;
        }
        let now = observation.now;
        let why = status.standing_by.as_deref();
        let replayed = Replayed {
            at: now,
            recorded,
            replayed: decide(&policy, &observation, why, &mut self.memory),
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
    /// Returns whether the plans differ.
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
