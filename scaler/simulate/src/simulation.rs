//! When the scaler plans, and how its plans are executed.

use scaler_plan::{Memory, Plan, plan};

use crate::cloud::{index_of, micros_at};
use crate::outcome::Sample;
use crate::{Cloud, Micros, Outcome, Phase, Scenario, Trace, micros};

const SAMPLES: u64 = 400;

struct Simulation {
    cloud: Cloud,
    memory: Memory,
    next_poll: Micros,
    /// Whether the last change of the fleet was a start.
    grows: Option<bool>,
}

/// Simulates a scenario until all requests are answered and all instances are down, or the rest timeout ends.
#[must_use]
pub fn simulate(scenario: &Scenario, trace: &Trace) -> Outcome {
    let length = (trace.length * 1e6) as Micros;
    run(scenario, trace.arrivals(scenario.seed), length)
}

/// `arrivals` are times since the beginning, in order; `length` is the length of the trace.
pub(crate) fn run(
    scenario: &Scenario,
    mut arrivals: impl Iterator<Item = Micros>,
    length: Micros,
) -> Outcome {
    let mut simulation = Simulation {
        cloud: Cloud::new(scenario.clone()),
        memory: Memory::default(),
        next_poll: 0,
        grows: None,
    };
    simulation.cloud.accept_frames(scenario.clip_frames);
    let sample_every = (length / SAMPLES).max(1);
    let mut next_sample = 0;
    let mut arrival = arrivals.next();
    loop {
        let cloud = &mut simulation.cloud;
        if arrival.is_none() && is_over(cloud, length) {
            break;
        }
        let (completion, event) = (cloud.next_completion(), cloud.next_event());
        let planning = cloud.plan_at.min(next_sample);
        let next = [completion, event, arrival].into_iter().flatten();
        let now = next.fold(planning, Micros::min);
        cloud.now = now;
        if completion == Some(now) {
            cloud.complete();
        } else if arrival == Some(now) {
            cloud.accept();
            arrival = arrivals.next();
        } else if event == Some(now) {
            cloud.handle_event();
        } else if cloud.plan_at == now {
            simulation.decide(now);
        } else {
            sample(cloud, now, sample_every);
            next_sample = now + sample_every;
        }
    }
    let mut cloud = simulation.cloud;
    cloud.outcome.billed = cloud.billed();
    cloud.outcome.ended_at = cloud.now;
    cloud.outcome.stay_up = cloud.up();
    cloud.outcome
}

/// Returns whether the outcome is final, once all requests of a trace of this length have arrived.
fn is_over(cloud: &Cloud, length: Micros) -> bool {
    let now = cloud.now;
    let done_at = cloud.answered_at.max(cloud.outcome.frames_done_at);
    let waited = now.saturating_sub(done_at.max(length));
    let timeout = micros(cloud.scenario.rest_timeout);
    if cloud.unanswered() > 0 || cloud.undone_frames() > 0 {
        // A policy that never answers a request must not prolong the simulation forever.
        return waited > 2 * timeout;
    }
    let is_down = cloud.up() == 0 && cloud.observation.launching == 0;
    now >= length && (is_down || waited >= timeout)
}

fn sample(cloud: &mut Cloud, now: Micros, every: Micros) {
    let sample = Sample {
        at: now as f64 / 1e6,
        arrivals: cloud.recently_accepted as f64 / (every as f64 / 1e6),
        unanswered: cloud.unanswered(),
        up: cloud.up(),
        busy: u32::try_from(cloud.completions.len()).unwrap_or(u32::MAX),
        latency: cloud.recent.quantile(0.95),
    };
    cloud.outcome.samples.push(sample);
    cloud.recent.clear();
    cloud.recently_accepted = 0;
}

impl Simulation {
    /// Observes, plans, executes the plan, and sets when to plan again.
    fn decide(&mut self, now: Micros) {
        let is_due = now >= self.next_poll;
        if is_due {
            self.cloud.poll();
        }
        let memory = std::mem::take(&mut self.memory);
        self.cloud.observe();
        let policy = &self.cloud.scenario.policy;
        let (decided, memory) = plan(policy, &self.cloud.observation, memory);
        self.memory = memory;
        self.cloud.outcome.plans += 1;
        self.execute(&decided);
        if is_due {
            self.next_poll = now + self.cloud.poll_interval();
        }
        let wake_at = decided.wake_at.map(micros_at);
        let soonest = now + micros(self.cloud.scenario.debounce);
        self.cloud.plan_at = wake_at.map_or(self.next_poll, |wake_at| {
            wake_at.max(soonest).min(self.next_poll)
        });
    }

    fn execute(&mut self, plan: &Plan) {
        let cloud = &mut self.cloud;
        for id in &plan.cordon {
            cloud.cordon(index_of(id));
        }
        for id in &plan.uncordon {
            cloud.uncordon(index_of(id));
        }
        let started = !plan.start.is_empty() && cloud.start(&plan.start);
        let launched = plan.launch > 0 && cloud.launch(plan.launch);
        for stop in &plan.stop {
            let is_busy = cloud.machine(&stop.id).phase == Phase::Busy;
            assert!(!is_busy, "plans stop no busy worker");
            cloud.stop(&stop.id);
        }
        for (id, number) in &plan.rename {
            cloud.rename(id, *number);
        }
        if started || launched {
            self.count_reversal(true);
        }
        if !plan.stop.is_empty() {
            self.count_reversal(false);
        }
    }

    /// Counts changes of direction between starts and stops.
    fn count_reversal(&mut self, grows: bool) {
        let before = self.grows.replace(grows);
        self.cloud.outcome.reversals += u64::from(before.is_some_and(|it| it != grows));
    }
}
