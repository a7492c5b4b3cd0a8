//! Plans, and the calls and orders that carry them out, as `scaler::execute`.

use std::slice::from_ref;
use std::time::Duration;

use scaler_plan::pace::{GATHER, LONGEST_SLEEP};
use scaler_plan::{CallBackoff, Plan, Stop, Timestamp, plan};

use super::index;
use crate::event::{Call, CallResult, Ec2Step, Event};
use crate::system::Simulation;

/// How long after a refusal EC2 is called again.
const BACKOFF: Duration = Duration::from_millis(500);

impl Simulation {
    pub fn plan(&mut self) {
        self.counts.plans += 1;
        let now = self.timestamp();
        let scaler = &mut self.scaler;
        let held = Some(scaler.calls_from).filter(|from| now < *from);
        let backoff = CallBackoff {
            start: held,
            launch: held,
            stop: held,
            rename: held,
            ..CallBackoff::default()
        };
        let observation = scaler.view.observe(now, backoff);
        let before = std::mem::take(&mut scaler.memory);
        let (decided, memory) = plan(&self.scenario.policy, &observation, before);
        scaler.memory = memory;
        if decided.changes_something() {
            self.note(|| format!("decided: {}", decided.reason));
        }
        self.execute(&decided, now);
        let wake = decided
            .wake_at
            .map_or(LONGEST_SLEEP, |at| at.since(now).min(LONGEST_SLEEP));
        let wait = if decided.changes_something() {
            GATHER
        } else {
            wake.max(Duration::from_millis(50))
        };
        self.plan_after(wait);
    }

    fn execute(&mut self, decided: &Plan, now: Timestamp) {
        self.scaler.view.order_workers(decided);
        if !decided.start.is_empty() {
            self.scaler.view.starting(&decided.start, now);
            self.call(Call::Start(decided.start.clone()));
        }
        if decided.launch > 0 {
            self.scaler.view.launching += decided.launch;
            self.call(Call::Launch(decided.launch));
        }
        let stops = decided.stop.iter().cloned();
        let (terminate, stop) = stops.partition(|stop| stop.cause.terminates());
        self.stop(stop, now, Call::Stop);
        self.stop(terminate, now, Call::Terminate);
        for (id, number) in &decided.rename {
            self.scaler.view.renamed(id, *number, now);
            self.call(Call::Rename(id.clone(), *number));
        }
    }

    fn stop(&mut self, stops: Vec<Stop>, now: Timestamp, call: fn(Vec<Stop>) -> Call) {
        let stops = self.scaler.view.order_stops(stops, now);
        stops.iter().for_each(|stop| self.check_stop(stop));
        if !stops.is_empty() {
            self.call(call(stops));
        }
    }

    /// No worker is stopped for scale-in that has a message, or a receive call that may still return one.
    fn check_stop(&mut self, stop: &Stop) {
        let worker = self.workers.get(&index(&stop.id));
        if !stop.cause.is_failure()
            && let Some(worker) = worker.filter(|worker| worker.may_have_work())
        {
            let what = format!("{stop:?}, but the worker may have work: {worker:?}");
            self.violated(what);
        }
    }

    fn call(&mut self, call: Call) {
        let (scaler, wait) = (self.scaler.life, self.random.millis(20, 150));
        self.after(wait, Event::Ec2(Ec2Step::Call { scaler, call }));
    }

    /// As `scaler::execute::outcome`.
    pub fn call_ended(&mut self, call: Call, result: CallResult) {
        use CallResult::{Done, Refused};
        let now = self.timestamp();
        if !matches!(result, Done(_)) {
            self.scaler.calls_from = now.after(BACKOFF);
        }
        let view = &mut self.scaler.view;
        match (call, result) {
            (Call::Start(_), Done(_)) => {}
            (Call::Start(ids), _) => view.not_starting(&ids),
            (Call::Launch(count), Done(launched)) => {
                view.launching -= count;
                view.launched(&launched, now);
            }
            (Call::Launch(count), _) => view.launching -= count,
            (Call::Stop(stops) | Call::Terminate(stops), Refused) => {
                let ids: Vec<_> = stops.into_iter().map(|stop| stop.id).collect();
                view.not_stopping(&ids);
            }
            // A stop that may have happened counts as one.
            (Call::Stop(stops) | Call::Terminate(stops), _) => {
                for stop in stops {
                    view.stop_called(from_ref(&stop.id), now);
                    if stop.cause.is_failed_boot() {
                        view.boot_failed(&stop.id, now);
                    }
                }
            }
            (Call::Rename(id, number), Done(_)) => view.renamed(&id, number, now),
            (Call::Rename(id, _), _) => view.not_renamed(&id),
        }
        self.plan_after(GATHER);
    }
}
