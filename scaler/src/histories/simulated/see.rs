//! What the scaler gets to see.

use super::*;

impl Cloud {
    pub(super) fn look(&mut self) {
        let now = self.now;
        if !self.front_is_lost {
            let value = FrontDemand {
                unanswered: self.unanswered,
                accepted_total: self.accepted_total,
                answered_total: self.accepted_total - self.unanswered,
            };
            self.front = Some(Seen { value, at: now });
        }
        let due = |at: Option<Moment>| at.is_none_or(|at| now.since(at) >= POLL_EVERY);
        if !self.queue_is_lost && due(self.queue.map(|queue| queue.at)) {
            let value = match self.blind_since {
                Some(_) => Counters::default(),
                None => Counters {
                    visible: self.visible,
                    in_flight: self.hidden.len() as u64,
                    delayed: 0,
                },
            };
            self.queue = Some(Seen { value, at: now });
        }
        if !self.ec2_is_lost && due(self.described_at) {
            self.described_at = Some(now);
            // As [`crate::observe::World`] does, what was launched and is not listed counts as pending.
            let lags = self.list_lags;
            let seen = |it: &Machine| match it.power {
                power if it.listed || !lags => (it.id.clone(), power, it.number),
                _ => (it.id.clone(), Power::Pending, it.number),
            };
            self.described = self.machines.iter().map(seen).collect();
            let fleet = self.machines.iter().map(|it| it.id.clone());
            self.roster.fleet_is(fleet.collect(), now);
            for machine in &mut self.machines {
                machine.listed |= !lags;
                if machine.power == Power::Running && machine.listed {
                    machine.running_since.get_or_insert(now);
                }
            }
        }
    }

    pub(super) fn observe(&self) -> Observation {
        let instances = self.described.iter().map(|(id, power, number)| {
            let attending = self.roster.get(id);
            let known = attending.and_then(|it| Some((it.state?, it.since)));
            let (state, since) = match power {
                Power::Stopped => (State::Stopped, self.machine(id).changes_at),
                Power::Stopping => (State::Stopping, self.now),
                Power::Pending => match known {
                    Some((State::Cordoned, since)) => (State::Draining, since),
                    // Called back, it is pending anew.
                    known => {
                        let since = attending
                            .map(|it| it.since)
                            .max(Some(self.machine(id).since));
                        known.unwrap_or((State::Pending, since.unwrap_or(self.now)))
                    }
                },
                Power::Running => known.unwrap_or((State::Booting, self.now)),
            };
            Instance {
                id: id.clone(),
                number: *number,
                state,
                since,
                heard: attending.and_then(|it| it.heard),
                running_since: self
                    .machine(id)
                    .running_since
                    .filter(|_| *power == Power::Running),
                listed: self.machine(id).listed,
                started_at: Some(self.machine(id).started_at),
                leaving: self.machine(id).leaving,
            }
        });
        Observation {
            now: self.now,
            front: self.front,
            queue: self.queue,
            instances: instances.collect(),
            launching: 0,
            described_at: self.described_at,
            failed_boots: None,
            held: Held::default(),
            billing: self.billing(),
        }
    }
}
