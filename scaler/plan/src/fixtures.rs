//! Observations for tests that read as sentences: `Fleet::of(3).booting().with_backlog(40)`.

use std::time::Duration;

use crate::{
    Bounds, Counters, FailedBoots, FrontDemand, Instance, InstanceId, InstanceState, Memory,
    Observation, Plan, Policy, PolicyKind, Timestamp, Timestamped, plan,
};

/// The fixtures' present: late enough that all timeouts can have passed before.
pub const NOW: Timestamp = Timestamp::after_epoch(Duration::from_secs(1_000));

/// A fleet, its demand, and the policy.
#[derive(Debug, Clone)]
pub struct Fleet {
    pub policy: Policy,
    pub observation: Observation,
    pub memory: Memory,
    newest: usize,
}

impl Fleet {
    /// Stopped instances, numbered from 1, without demand.
    pub fn of(count: usize) -> Self {
        let seen = |value| Timestamped { value, at: NOW };
        let observation = Observation {
            now: NOW,
            front: Some(seen(FrontDemand::default())),
            queue: Some(Timestamped {
                value: Counters::default(),
                at: NOW,
            }),
            described_at: Some(NOW),
            ..Observation::default()
        };
        let policy = Policy {
            kind: PolicyKind::Step,
            ..Policy::default()
        };
        let memory = Memory {
            planned_at: Some(NOW),
            ..Memory::default()
        };
        Self {
            policy,
            observation,
            memory,
            newest: 0,
        }
        .and(count)
    }

    pub fn none() -> Self {
        Self::of(0)
    }

    /// Adds instances. The next methods change these.
    pub fn and(mut self, count: usize) -> Self {
        let before = self.observation.instances.len();
        self.observation
            .instances
            .extend((before + 1..=before + count).map(|number| Instance {
                id: id(number),
                number: u32::try_from(number).ok(),
                state: InstanceState::Stopped,
                since: Timestamp::default(),
                heard: None,
                started_at: None,
                running_since: None,
                listed: true,
                leaving: false,
                outdated: false,
            }));
        self.newest = count;
        self
    }

    pub fn pending(self) -> Self {
        self.each(|it| (it.state, it.since) = (InstanceState::Pending, NOW))
    }

    pub fn booting(self) -> Self {
        self.running(InstanceState::Booting)
    }

    pub fn idle(self) -> Self {
        self.running(InstanceState::Idle)
    }

    pub fn busy(self) -> Self {
        self.running(InstanceState::Busy)
    }

    pub fn draining(self) -> Self {
        self.running(InstanceState::Draining)
    }

    pub fn cordoned(self) -> Self {
        self.running(InstanceState::Cordoned)
    }

    pub fn stopping(self) -> Self {
        self.each(|it| it.state = InstanceState::Stopping)
    }

    /// Sets how long the last added ones have been in their state.
    pub fn for_ms(self, milliseconds: u64) -> Self {
        self.each(|it| it.since = ago(milliseconds))
    }

    /// Sets when the last added ones last reported.
    pub fn heard_ms_ago(self, milliseconds: u64) -> Self {
        self.each(|it| it.heard = Some(ago(milliseconds)))
    }

    pub fn never_heard_running_for_ms(self, milliseconds: u64) -> Self {
        self.each(|it| (it.heard, it.running_since) = (None, Some(ago(milliseconds))))
    }

    pub fn unnamed(self) -> Self {
        self.each(|it| it.number = None)
    }

    pub fn unlisted(self) -> Self {
        self.each(|it| it.listed = false)
    }

    pub fn outdated(self) -> Self {
        self.each(|it| it.outdated = true)
    }

    pub fn launching(mut self, count: u32) -> Self {
        self.observation.launching = count;
        self
    }

    pub fn with_boots_failed_and_held_for_ms(mut self, in_a_row: u32, milliseconds: u64) -> Self {
        self.observation.failed_boots = Some(FailedBoots {
            in_a_row,
            held_until: NOW.after(Duration::from_millis(milliseconds)),
        });
        self
    }

    /// Unanswered requests; the queue holds as many messages.
    pub fn with_backlog(mut self, unanswered: u64) -> Self {
        let value = FrontDemand {
            unanswered,
            ..FrontDemand::default()
        };
        self.observation.front = Some(Timestamped { value, at: NOW });
        self.with_messages(unanswered)
    }

    /// Frames of clips that are not done. Their messages are not in the queue's counters.
    pub fn with_frames(mut self, waiting_frames: u64) -> Self {
        if let Some(front) = &mut self.observation.front {
            front.value.waiting_frames = waiting_frames;
        }
        self
    }

    pub fn with_messages(mut self, visible: u64) -> Self {
        let value = Counters {
            visible,
            ..Counters::default()
        };
        self.observation.queue = Some(Timestamped { value, at: NOW });
        self
    }

    /// Front has had no unanswered requests for this long, and the queue has been empty since.
    pub fn without_demand_for_ms(mut self, milliseconds: u64) -> Self {
        self.memory.zero_since = Some(ago(milliseconds));
        self.with_backlog(0)
    }

    pub fn with_front_unreachable(mut self) -> Self {
        self.observation.front = None;
        self
    }

    pub fn with_front_silent_for_ms(mut self, milliseconds: u64) -> Self {
        self.observation.front = self.observation.front.map(|it| Timestamped {
            at: ago(milliseconds),
            ..it
        });
        self
    }

    pub fn with_queue_last_asked_ms_ago(mut self, milliseconds: u64) -> Self {
        self.observation.queue = self.observation.queue.map(|it| Timestamped {
            at: ago(milliseconds),
            ..it
        });
        self
    }

    pub fn with_queue_unreachable(mut self) -> Self {
        self.observation.queue = None;
        self
    }

    pub fn described_ms_ago(mut self, milliseconds: u64) -> Self {
        self.observation.described_at = Some(ago(milliseconds));
        self
    }

    pub fn bounded(mut self, min_workers: u32, max_workers: u32) -> Self {
        self.policy.bounds = Bounds {
            min_workers,
            max_workers,
            ..Bounds::default()
        };
        self
    }

    pub fn plan(&self) -> Plan {
        plan(&self.policy, &self.observation, self.memory.clone()).0
    }

    fn running(self, state: InstanceState) -> Self {
        self.each(|it| {
            it.state = state;
            (it.since, it.heard, it.running_since) = (NOW, Some(NOW), Some(ago(900_000)));
        })
    }

    fn each(mut self, change: impl Fn(&mut Instance)) -> Self {
        let first = self.observation.instances.len() - self.newest;
        self.observation.instances[first..]
            .iter_mut()
            .for_each(change);
        self
    }
}

/// The number of workers that a policy keeps without demand.
pub fn least(kind: PolicyKind, min_workers: u32) -> u32 {
    match kind {
        PolicyKind::Hpa => min_workers.max(1),
        _ => min_workers,
    }
}

pub fn ids(numbers: impl IntoIterator<Item = usize>) -> Vec<InstanceId> {
    numbers.into_iter().map(id).collect()
}

pub fn ago(milliseconds: u64) -> Timestamp {
    Timestamp::after_epoch(NOW.elapsed() - Duration::from_millis(milliseconds))
}

fn id(number: usize) -> InstanceId {
    format!("i-{number:04}").as_str().into()
}
