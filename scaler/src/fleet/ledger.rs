//! What the instances cost.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::plan::{Billing, Instance, InstanceId, InstanceState, Prices, Timestamp};

/// Adds up what EC2 bills for the instances seen, since the scaler started.
///
/// A start is billed by the begun second, from the order to start until the order to stop, and for at least
/// [`Prices::minimum`]. EC2 itself leaves out the time before an instance runs and stops billing once it is stopping:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html>. So an instance that never came to
/// run costs nothing, and the ledger counts a little more than EC2 bills.
///
/// EC2 tells when each instance was last started, also for stopped ones. So a restarted scaler knows without a record of
/// its own which instances are still paid for.
#[derive(Debug)]
pub struct Ledger {
    prices: Prices,
    /// When the scaler started. Costs before that do not count.
    opened_at: Timestamp,
    /// The last start of each instance.
    last: HashMap<InstanceId, Start>,
    /// Earlier starts of the same instances whose billed minimum is not over.
    earlier: Vec<Start>,
    /// Seconds billed for starts that are in neither.
    closed_seconds: u64,
}

#[derive(Debug, Clone, Copy)]
struct Start {
    at: Timestamp,
    /// `None` while the instance is up.
    ended_at: Option<Timestamp>,
    /// Whether it got beyond [`InstanceState::Pending`].
    ran: bool,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::open(Prices::default(), Timestamp::default())
    }
}

impl Ledger {
    #[must_use]
    pub fn open(prices: Prices, opened_at: Timestamp) -> Self {
        Self {
            prices,
            opened_at,
            last: HashMap::new(),
            earlier: Vec::new(),
            closed_seconds: 0,
        }
    }

    /// Records the states of instances at `now`, and returns the costs until then. Those that are `stopped` exist, also
    /// where `instances` leaves them out.
    pub fn note(
        &mut self,
        instances: &[Instance],
        stopped: &[InstanceId],
        now: Timestamp,
    ) -> Billing {
        for instance in instances {
            self.note_instance(instance, now);
        }
        let mut existing: HashSet<_> = instances.iter().map(|instance| &instance.id).collect();
        for (id, start) in &mut self.last {
            if !existing.contains(id) {
                start.ended_at.get_or_insert(now);
            }
        }
        // Otherwise one that comes back would begin another start.
        existing.extend(stopped);
        self.close(&existing, now);
        self.billing(now)
    }

    fn note_instance(&mut self, instance: &Instance, now: Timestamp) {
        let up = !matches!(
            instance.state,
            InstanceState::Stopped | InstanceState::Stopping
        );
        let at = instance.started_at.unwrap_or(instance.since);
        let known = self.last.get(&instance.id);
        // An order to stop that was refused does not end the start, and EC2's own time of a start is a little later
        // than that of the order.
        let another =
            known.is_none_or(|known| up && known.ended_at.is_some_and(|ended| at >= ended));
        if another {
            let start = Start {
                at,
                ended_at: None,
                ran: false,
            };
            if !up && instance.started_at.is_none() {
                return;
            }
            if let Some(before) = self.last.insert(instance.id.clone(), start) {
                self.earlier.push(before);
            }
        }
        let Some(start) = self.last.get_mut(&instance.id) else {
            return;
        };
        if up {
            start.ended_at = None;
            start.ran |= instance.state != InstanceState::Pending;
        } else if another {
            // When it was stopped is unknown. If that was before the scaler started, nothing counts.
            (start.ran, start.ended_at) = (true, Some(at.max(self.opened_at)));
        } else {
            start.ran |= instance.state == InstanceState::Stopping;
            start.ended_at.get_or_insert(now);
        }
    }

    /// Forgets starts whose costs are complete, so that the ledger does not grow.
    fn close(&mut self, existing: &HashSet<&InstanceId>, now: Timestamp) {
        let mut seconds = 0;
        let (prices, opened_at) = (self.prices, self.opened_at);
        let mut close = |start: &Start| {
            let over = start.ended_at.is_some() && !start.is_paid_at(now, &prices);
            if over {
                seconds += start.seconds(now, opened_at, &prices);
            }
            over
        };
        self.earlier.retain(|start| !close(start));
        self.last
            .retain(|id, start| existing.contains(id) || !close(start));
        self.closed_seconds += seconds;
    }

    fn billing(&self, now: Timestamp) -> Billing {
        let starts = || self.last.values().chain(&self.earlier);
        let open: u64 = starts()
            .map(|start| start.seconds(now, self.opened_at, &self.prices))
            .sum();
        let paid: Vec<_> = starts()
            .filter(|start| start.ended_at.is_some() && start.is_paid_at(now, &self.prices))
            .map(|start| self.prices.paid_until(start.at))
            .collect();
        Billing {
            spent: self
                .prices
                .dollars(Duration::from_secs(self.closed_seconds + open)),
            still_paid: u32::try_from(paid.len()).unwrap_or(u32::MAX),
            paid_off_at: paid.into_iter().min(),
        }
    }
}

impl Start {
    /// Returns whether the start is still paid for: it ran, and its billed minimum is not over.
    fn is_paid_at(&self, now: Timestamp, prices: &Prices) -> bool {
        self.ran && now < prices.paid_until(self.at)
    }

    /// Returns the seconds billed until `now`, without those before the ledger was opened.
    fn seconds(&self, now: Timestamp, opened_at: Timestamp, prices: &Prices) -> u64 {
        if !self.ran {
            return 0;
        }
        let until = |end: Timestamp| begun_seconds(prices.billed(self.at, end));
        let before = if self.at < opened_at {
            until(opened_at)
        } else {
            0
        };
        until(self.ended_at.unwrap_or(now)).saturating_sub(before)
    }
}

fn begun_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
