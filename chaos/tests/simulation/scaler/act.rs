//! Plans, and the calls and orders that carry them out, as `scaler::execute`.

use std::time::Duration;

use scaler_plan::{CallBackoff, InstanceId, Plan, Stop, StopCause, Timestamp, plan};

use super::{GATHER, LONGEST_SLEEP, name};
use crate::event::{Call, CallResult, Ec2Step, Event};
use crate::world::World;

/// How long after a refusal EC2 is called again.
const BACKOFF: Duration = Duration::from_millis(500);

impl World {
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
        let scaler = &mut self.scaler;
        decided
            .cordon
            .iter()
            .for_each(|id| scaler.registry.cordon(id));
        decided
            .uncordon
            .iter()
            .for_each(|id| scaler.registry.uncordon(id));
        if !decided.start.is_empty() {
            scaler.view.starting(&decided.start, now);
            self.call(Call::Start(indices(&decided.start)));
        }
        if decided.launch > 0 {
            self.scaler.view.launching += decided.launch;
            self.call(Call::Launch(decided.launch));
        }
        let terminates = |stop: &&Stop| {
            matches!(
                stop.cause,
                StopCause::NeverStarted | StopCause::Outdated | StopCause::OutdatedStopped
            )
        };
        let (terminate, stop): (Vec<_>, Vec<_>) = decided.stop.iter().partition(terminates);
        self.stop(stop, now, Call::Stop);
        self.stop(terminate, now, Call::Terminate);
        for (id, number) in &decided.rename {
            self.scaler.view.renamed(id, *number, now);
            self.call(Call::Rename(index(id), *number));
        }
    }

    fn stop(
        &mut self,
        stops: Vec<&Stop>,
        now: Timestamp,
        call: fn(Vec<(usize, StopCause)>) -> Call,
    ) {
        let mut ends = Vec::new();
        for stop in stops {
            if self
                .scaler
                .registry
                .mark_stopping(&stop.id, stop.cause, now)
            {
                self.check_stop(stop);
                if stop.cause.is_failed_boot() {
                    self.scaler.view.giving_up(&stop.id);
                }
                ends.push((index(&stop.id), stop.cause));
            }
        }
        if !ends.is_empty() {
            let ids: Vec<_> = ends.iter().map(|(instance, _)| name(*instance)).collect();
            self.scaler.view.stopping(&ids, now);
            self.call(call(ends));
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
            (Call::Start(instances), _) => view.not_starting(&names(&instances)),
            (Call::Launch(count), Done(launched)) => {
                view.launching -= count;
                view.launched(&names(&launched), now);
            }
            (Call::Launch(count), _) => view.launching -= count,
            (Call::Stop(stops) | Call::Terminate(stops), Refused) => {
                let instances: Vec<_> = stops.iter().map(|(instance, _)| *instance).collect();
                view.not_stopping(&names(&instances));
            }
            // A stop that may have happened counts as one.
            (Call::Stop(stops) | Call::Terminate(stops), _) => {
                for (instance, cause) in stops {
                    view.stop_called(&[name(instance)], now);
                    if cause.is_failed_boot() {
                        view.boot_failed(&name(instance), now);
                    }
                }
            }
            (Call::Rename(instance, number), Done(_)) => {
                view.renamed(&name(instance), number, now);
            }
            (Call::Rename(instance, _), _) => view.not_renamed(&name(instance)),
        }
        self.plan_after(GATHER);
    }
}

fn names(instances: &[usize]) -> Vec<InstanceId> {
    instances.iter().map(|instance| name(*instance)).collect()
}

fn index(id: &InstanceId) -> usize {
    let digits = id.as_str().trim_start_matches("i-");
    usize::from_str_radix(digits, 16).expect("plans name instances of the view")
}

fn indices(ids: &[InstanceId]) -> Vec<usize> {
    ids.iter().map(index).collect()
}
