//! What the scaler sees: late, and not everything.

use std::time::Duration;

use super::World;
use crate::plan::pace::{count_interval, describe_interval};
use crate::plan::{Billing, Counters, FrontDemand, Moment, Seen, plan};
use crate::simulate::machine::{Machine, Phase};
use crate::simulate::{Micros, micros};

/// Midnight of some day, long enough after the epoch that nothing reaches back before it.
const BEGINNING: Duration = Duration::from_secs(20_000 * 24 * 60 * 60);
/// The real loop plans at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

pub(super) fn moment(at: Micros) -> Moment {
    Moment::after_epoch(BEGINNING + Duration::from_micros(at))
}

/// Not before `moment`.
fn micros_at(moment: Moment) -> Micros {
    let passed = moment.since(Moment::after_epoch(BEGINNING));
    micros(passed + Duration::from_nanos(999))
}

impl World<'_> {
    /// Observes, plans, carries the plan out, and says when to plan again.
    pub(super) fn decide(&mut self) {
        let is_tick = self.now >= self.next_tick;
        if is_tick {
            self.ask();
        }
        self.observe();
        let memory = std::mem::take(&mut self.memory);
        let (decided, memory) = plan(&self.settings.policy, &self.observation, memory);
        self.memory = memory;
        self.outcome.plans += 1;
        self.carry_out(&decided);
        if is_tick {
            self.next_tick = self.now + self.tick();
        }
        let wake_at = decided.wake_at.map(micros_at);
        let soonest = self.now + micros(self.settings.gather);
        self.next_plan = wake_at.map_or(self.next_tick, |wake_at| {
            wake_at.max(soonest).min(self.next_tick)
        });
    }

    fn tick(&self) -> Micros {
        let tick = self.settings.tick;
        if !self.settings.keeps_pace {
            return micros(tick);
        }
        let describe = describe_interval(&self.observation, tick);
        let count = count_interval(&self.observation, tick);
        micros(describe.min(count).min(LONGEST_SLEEP))
    }

    /// EC2's and the queue's answers arrive, to questions that were asked a while ago.
    fn ask(&mut self) {
        let settings = self.settings;
        self.described_at = self.now.checked_sub(micros(settings.describe_latency));
        self.observation.described_at = self.described_at.map(moment);
        let present = Counters {
            visible: self.queue.len() as u64,
            in_flight: self.completions.len() as u64 + self.lost_jobs,
            delayed: 0,
        };
        self.counted.push_back((self.now, present));
        let Some(asked_at) = self.now.checked_sub(micros(settings.count_latency)) else {
            return;
        };
        let as_of = asked_at.saturating_sub(micros(settings.count_lag));
        while self.counted.get(1).is_some_and(|(at, _)| *at <= as_of) {
            self.counted.pop_front();
        }
        self.observation.queue = self.counted.front().map(|(_, value)| Seen {
            value: *value,
            at: moment(asked_at),
        });
    }

    fn observe(&mut self) {
        let (now, described_at) = (moment(self.now), self.described_at);
        let mut billed = self.bill.finished();
        for (machine, instance) in self.machines.iter().zip(&mut self.observation.instances) {
            if machine.phase == Phase::Stopped && instance.state == crate::plan::State::Stopped {
                continue;
            }
            instance.state = machine.seen(described_at);
            instance.since = moment(machine.since);
            instance.heard = heard(machine, now);
            instance.started_at = (machine.epoch > 0).then(|| moment(machine.started_at));
            instance.running_since = machine
                .running_at
                .filter(|at| described_at.is_some_and(|described_at| *at <= described_at))
                .map(moment);
            instance.listed =
                described_at.is_some_and(|described_at| machine.created_at <= described_at);
            if machine.is_up() {
                billed += self.bill.so_far(machine.started_at, self.now);
            }
        }
        let (still_paid, paid_off_at) = self.bill.still_paid(self.now);
        self.observation.now = now;
        self.observation.front = Some(Seen {
            value: FrontDemand {
                unanswered: self.unanswered(),
                accepted_total: self.outcome.accepted,
                answered_total: self.outcome.answered,
            },
            at: now,
        });
        self.observation.billing = Billing {
            spent: self.settings.policy.prices.per_hour * billed as f64 / 3.6e9,
            still_paid,
            paid_off_at: paid_off_at.map(moment),
        };
    }
}

/// A worker that lives reports all the time.
fn heard(machine: &Machine, now: Moment) -> Option<Moment> {
    match machine.phase {
        Phase::Dead => Some(moment(machine.since)),
        _ if machine.attends() => Some(now),
        _ => None,
    }
}
