//! Chooses settings of the scaler by a recorded trace.
//!
//! Settings are compared on the first part of the trace, and the chosen ones are tried on the rest, which had no say. A
//! choice is never worse than the defaults on the first part: neither in the 95th percentile of the latency nor in cost.
//! Where it is worse on the rest, the advice is to keep the defaults.
//!
//! The latency target and the maximum of workers are what the user wants, so they are not chosen. The warm pool is not
//! either: a simulated boot takes as long from a stopped instance as from none.

mod setting;
pub mod table;
#[cfg(test)]
mod tests;

use std::num::NonZero;
use std::thread;

use anyhow::ensure;
use scaler_plan::PolicyKind;
pub use setting::Setting;

use crate::optimum::{Task, optimum};
use crate::{Scenario, Trace, simulate};

/// The share of the trace on which settings are chosen.
const CHOSEN_ON: f64 = 0.6;
/// Fewer arrivals in a part say too little.
const FEWEST_ARRIVALS: usize = 20;
/// How many settings are simulated with further seeds before one is chosen.
const FINALISTS: usize = 6;
/// How many seeds these are simulated with.
const SEEDS: u64 = 3;
/// How many settings besides the defaults and the choice are shown.
const ALTERNATIVES: usize = 5;
/// Differences up to this share are insignificant.
pub(crate) const ALIKE: f64 = 0.01;

/// The figures of a setting on a part of the trace, as means over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Latency in seconds.
    pub p50: f64,
    /// Latency in seconds.
    pub p95: f64,
    /// Dollars.
    pub cost: f64,
    /// Billed instance seconds over those of the optimum.
    pub over_use: f64,
}

/// A setting on both parts of the trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    pub setting: Setting,
    /// On the part on which settings are chosen.
    pub chosen_on: Figures,
    /// On the rest.
    pub rest: Figures,
}

/// The result of [`tune`].
#[derive(Debug)]
pub struct Tuned {
    pub trace: String,
    /// The seconds of both parts.
    pub lengths: [f64; 2],
    pub scenario: Scenario,
    /// How many settings were compared.
    pub compared: usize,
    pub defaults: Tried,
    /// May be the defaults.
    pub choice: Tried,
    /// Settings than which no other one is better in both latency and cost, the cheapest first.
    pub alternatives: Vec<Tried>,
}

/// A part of the trace, and what the optimum costs on it.
struct Part {
    trace: Trace,
    /// Instance seconds.
    optimum: f64,
}

/// Compares settings of these policies on a trace in a scenario, whose policy has the defaults.
///
/// # Errors
/// When a part of the trace has too few arrivals.
pub fn tune(trace: &Trace, scenario: &Scenario, kinds: &[PolicyKind]) -> anyhow::Result<Tuned> {
    let [first, rest] = trace.split(scenario.seed, CHOSEN_ON);
    let lengths = [first.length, rest.length];
    let first = Part::new(first, scenario)?;
    let rest = Part::new(rest, scenario)?;
    let candidates = Setting::candidates(&first.trace, scenario, kinds);
    let defaults = Setting::of(&scenario.policy);
    let once = first.measure(&candidates, scenario, 1);
    let base = once[0];
    let mut finalists: Vec<_> = candidates.iter().copied().zip(once).skip(1).collect();
    // Those that cannot compete in latency come last.
    finalists.sort_by(|(_, left), (_, right)| {
        let key = |it: &Figures| (it.p95 > base.p95 * (1.0 + ALIKE), it.cost);
        let (left, right) = (key(left), key(right));
        left.0.cmp(&right.0).then(left.1.total_cmp(&right.1))
    });
    let front = efficient(&finalists);
    finalists.truncate(FINALISTS);
    finalists.extend(front);
    let mut settings = vec![defaults];
    for (setting, _) in finalists {
        if !settings.contains(&setting) {
            settings.push(setting);
        }
    }
    let chosen_on = first.measure(&settings, scenario, SEEDS);
    let rest = rest.measure(&settings, scenario, SEEDS);
    let tried: Vec<_> = settings
        .into_iter()
        .zip(chosen_on.into_iter().zip(rest))
        .map(|(setting, (chosen_on, rest))| Tried {
            setting,
            chosen_on,
            rest,
        })
        .collect();
    let choice = choose(&tried).clone();
    let figures: Vec<_> = tried.iter().map(|it| (it, it.chosen_on)).collect();
    let mut alternatives: Vec<_> = efficient(&figures)
        .into_iter()
        .map(|(it, _)| it.clone())
        .filter(|it| *it != choice && *it != tried[0])
        .collect();
    alternatives.truncate(ALTERNATIVES);
    Ok(Tuned {
        trace: trace.name.clone(),
        lengths,
        scenario: scenario.clone(),
        compared: candidates.len(),
        defaults: tried[0].clone(),
        choice,
        alternatives,
    })
}

impl Tuned {
    /// Returns whether the choice is no worse than the defaults on the rest of the trace, too.
    #[must_use]
    pub fn holds(&self) -> bool {
        let worse = |ours: f64, theirs: f64| ours > theirs * (1.0 + ALIKE);
        let (ours, theirs) = (&self.choice.rest, &self.defaults.rest);
        !worse(ours.p95, theirs.p95) && !worse(ours.cost, theirs.cost)
    }

    /// Returns the setting to use.
    #[must_use]
    pub fn advice(&self) -> &Setting {
        if self.holds() {
            &self.choice.setting
        } else {
            &self.defaults.setting
        }
    }
}

/// Returns the cheapest that is no slower than the defaults, which come first. Among those that cost about as little, the
/// fastest one, and among those about as fast the one that changes least.
fn choose(tried: &[Tried]) -> &Tried {
    let base = tried[0].chosen_on;
    let qualified = || {
        tried.iter().filter(|it| {
            let figures = it.chosen_on;
            figures.p95 <= base.p95 && figures.cost <= base.cost
        })
    };
    let least = |value: fn(&Figures) -> f64, most_cost: f64| {
        let cheap = qualified().filter(|it| it.chosen_on.cost <= most_cost);
        cheap
            .map(|it| value(&it.chosen_on))
            .fold(f64::MAX, f64::min)
    };
    let most_cost = least(|it| it.cost, f64::MAX) * (1.0 + ALIKE);
    let most_p95 = least(|it| it.p95, most_cost) * (1.0 + ALIKE);
    qualified()
        .filter(|it| it.chosen_on.cost <= most_cost && it.chosen_on.p95 <= most_p95)
        .min_by_key(|it| it.setting.changes_from(&tried[0].setting))
        .unwrap_or(&tried[0])
}

/// Returns those than which no other one is better in both latency and cost, the cheapest first.
fn efficient<T: Clone>(tried: &[(T, Figures)]) -> Vec<(T, Figures)> {
    let mut by_cost = tried.to_vec();
    by_cost.sort_by(|(_, left), (_, right)| {
        left.cost
            .total_cmp(&right.cost)
            .then(left.p95.total_cmp(&right.p95))
    });
    let mut fastest = f64::INFINITY;
    by_cost.retain(|(_, it)| {
        let is_faster = it.p95 < fastest * (1.0 - ALIKE);
        fastest = fastest.min(it.p95);
        is_faster
    });
    by_cost
}

impl Part {
    fn new(trace: Trace, scenario: &Scenario) -> anyhow::Result<Self> {
        let arrivals: Vec<_> = trace.arrivals(scenario.seed).collect();
        ensure!(
            arrivals.len() >= FEWEST_ARRIVALS,
            "the trace {} is too short: a part of it has {} arrivals, and {FEWEST_ARRIVALS} are the least",
            trace.name,
            arrivals.len()
        );
        let optimum = optimum(&arrivals, Task::of(scenario)).billed;
        Ok(Self { trace, optimum })
    }

    /// Simulates each setting with so many seeds, on all processors. The result does not depend on their number.
    fn measure(&self, settings: &[Setting], scenario: &Scenario, seeds: u64) -> Vec<Figures> {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let share = settings.len().div_ceil(threads).max(1);
        thread::scope(|scope| {
            let parts: Vec<_> = settings
                .chunks(share)
                .map(|part| {
                    let measure = |setting| self.figures(setting, scenario, seeds);
                    scope.spawn(move || part.iter().map(measure).collect::<Vec<_>>())
                })
                .collect();
            let ended = parts.into_iter().map(thread::ScopedJoinHandle::join);
            ended
                .flat_map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    fn figures(&self, setting: &Setting, scenario: &Scenario, seeds: u64) -> Figures {
        let mut sums = [0.0; 4];
        for seed in 0..seeds {
            let mut scenario = setting.applied_to(scenario);
            scenario.seed += seed;
            let outcome = simulate(&scenario, &self.trace);
            let billed = outcome.billed_seconds();
            let figures = [
                outcome.latency(0.5),
                outcome.latency(0.95),
                billed / 3_600.0 * scenario.policy.prices.per_hour,
                billed / self.optimum,
            ];
            for (sum, figure) in sums.iter_mut().zip(figures) {
                *sum += figure / seeds as f64;
            }
        }
        let [p50, p95, cost, over_use] = sums;
        Figures {
            p50,
            p95,
            cost,
            over_use,
        }
    }
}
