//! Plans are checked against the truth, and carried out.

use super::*;

impl Cloud {
    pub(super) fn check(&self, observation: &Observation, plan: &Plan) {
        let bounds = self.policy.bounds;
        let after = self.up() + plan.start.len() + plan.launch as usize - plan.stop.len();
        let still_paid = observation.billing.still_paid;
        let limits = self.policy.limits(self.now, still_paid);
        assert!((limits.min_workers..=limits.max_workers).contains(&plan.desired_workers));
        if let Some(budget) = bounds.budget_per_hour
            && plan.adds()
        {
            let paid_off = |stop: &&Stop| {
                let started_at = self.machine(&stop.id).started_at;
                started_at.after(self.policy.prices.minimum) <= self.now
            };
            let gone = plan.stop.iter().filter(paid_off).count();
            let paid = after + plan.stop.len() - gone + still_paid as usize;
            let spent = paid as f64 * self.policy.prices.per_hour;
            assert!(spent <= budget * 1.000_001, "{spent} an hour: {plan:?}");
        }
        let stops = plan.stop.len();
        assert!(
            after <= bounds.max_workers as usize,
            "above the maximum: {observation:?} {plan:?}"
        );
        assert!(stops == 0 || self.described_at.is_some());
        let working = observation
            .instances
            .iter()
            .filter(|it| it.is_capacity())
            .count();
        let silent = plan.stop.iter().filter(|it| it.cause == StopCause::Silent);
        assert!(
            silent.count() <= (self.machines.len() / 5).max(1),
            "{plan:?}"
        );
        let unwanted = |id: &&InstanceId| !self.machine(id).leaving;
        let withdrawn = plan.cordon.iter().filter(unwanted).count();
        // Work that was there before the counters went blind is not forgotten while nobody else can tell of it.
        let knew_of_work = self.blind_since.zip(self.work_since);
        let is_known = |seen: Seen<FrontDemand>| {
            self.now.since(seen.at) <= self.policy.patience.front_stale_after
        };
        let reads_zero = |queue: Seen<Counters>| queue.value == Counters::default();
        if knew_of_work.is_some_and(|(blind, work)| work < blind)
            && observation.queue.is_none_or(reads_zero)
            && !observation.front.is_some_and(is_known)
        {
            assert_eq!(withdrawn, 0, "work is forgotten: {plan:?}");
        }
        if withdrawn > 0 {
            assert!(
                working - withdrawn >= plan.desired_workers as usize,
                "{plan:?}"
            );
        }
        for stop in &plan.stop {
            let machine = self.machine(&stop.id);
            if stop.cause == StopCause::NeverStarted {
                assert!(
                    machine.is_stuck && machine.power == Power::Pending,
                    "{plan:?}"
                );
                continue;
            }
            assert_eq!(machine.power, Power::Running, "{plan:?}");
            let worker = machine
                .worker
                .as_ref()
                .expect("a running machine has a worker");
            match stop.cause {
                StopCause::Drained => {
                    assert!(worker.cordoned, "{worker:?}");
                    assert!(
                        matches!(worker.phase, Phase::Loading | Phase::Parked),
                        "{worker:?}"
                    );
                }
                StopCause::Silent | StopCause::NeverAttended => {
                    let patience = &self.policy.patience;
                    let long = match stop.cause {
                        StopCause::Silent => patience.silence_deadline * 10,
                        _ => patience.boot_deadline,
                    };
                    // Its last report may have been due just then.
                    let is_long = |at| self.now.since(at) + REPORT_EVERY * 2 > long;
                    // It may be on the point of being heard.
                    let was_just = |until| self.now.since(until) < Duration::from_millis(200);
                    let last = self.last_cut_off.filter(|(_, until)| was_just(*until));
                    let cut_off_since = self.cut_off_since.or(last.map(|(since, _)| since));
                    let is_cut_off = cut_off_since.is_some_and(is_long);
                    assert!(worker.hung || is_cut_off, "{worker:?}");
                }
                StopCause::NeverStarted => unreachable!("it is not running"),
            }
        }
        for id in &plan.start {
            assert_eq!(self.machine(id).power, Power::Stopped, "{plan:?}");
        }
    }

    pub(super) fn execute(&mut self, plan: &Plan) {
        let now = self.now;
        if plan.adds() || !plan.cordon.is_empty() {
            let before = self.last_added.replace(plan.adds());
            self.reversals += u32::from(before.is_some_and(|added| added != plan.adds()));
        }
        plan.cordon
            .iter()
            .for_each(|id| self.roster.cordon(id, now));
        plan.uncordon
            .iter()
            .for_each(|id| self.roster.uncordon(id, now));
        for id in &plan.start {
            self.roster.forget(id);
            let ready_at = self.after(50, 900);
            let machine = self.machine_mut(id);
            machine.switch(Power::Pending, now, ready_at);
            (machine.started_at, machine.leaving) = (now, false);
        }
        for _ in 0..plan.launch {
            let id = InstanceId::from(format!("i-{:04}", self.launched).as_str());
            self.launched += 1;
            let changes_at = self.after(50, 900);
            self.roster.admit([id.clone()]);
            self.machines.push(Machine {
                id,
                number: None,
                power: Power::Pending,
                changes_at,
                started_at: now,
                leaving: false,
                running_since: None,
                listed: false,
                is_stuck: false,
                since: now,
                worker: None,
            });
        }
        for stop in &plan.stop {
            assert!(
                self.roster.condemn(&stop.id, stop.cause, now, now),
                "{stop:?}"
            );
            let paid_off_at = self
                .machine(&stop.id)
                .started_at
                .after(self.policy.prices.minimum);
            self.paid_off.push(paid_off_at);
            if stop.cause == StopCause::NeverStarted {
                self.machines.retain(|it| it.id != stop.id);
                self.described.retain(|(id, ..)| *id != stop.id);
                continue;
            }
            let gone_at = self.after(50, 3_000);
            self.machine_mut(&stop.id)
                .switch(Power::Stopping, now, gone_at);
        }
        for (id, number) in &plan.rename {
            self.machine_mut(id).number = Some(*number);
        }
        // What is ordered is known at once, what happens by itself only when EC2 is asked.
        let stopped = plan.stop.iter().map(|stop| &stop.id);
        let named = plan.rename.iter().map(|(id, _)| id);
        let ordered: Vec<_> = plan.start.iter().chain(stopped).chain(named).collect();
        for (id, power, number) in &mut self.described {
            if ordered.contains(&&*id) {
                let machine = self.machines.iter().find(|it| it.id == *id);
                (*power, *number) = machine.map_or((*power, *number), |it| (it.power, it.number));
            }
        }
        for machine in &self.machines[self.machines.len() - plan.launch as usize..] {
            self.described
                .push((machine.id.clone(), machine.power, machine.number));
        }
    }
}
