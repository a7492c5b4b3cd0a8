//! The least that the same latency could cost if all arrivals were known in advance.
//!
//! Let A(t) be how many requests have arrived by t. To answer all within a target is to serve a number S(t) of them with
//! A(t - target) <= S(t) <= A(t). The shortest path within these bounds, a taut string, has both the lowest peak rate and
//! the least change of rate: Salehi, Zhang, Kurose, Towsley, "Supporting stored video: reducing rate
//! variability and end-to-end resource requirements through optimal smoothing", 1998. Workers are whole, so the rate
//! times the mean service time is rounded up. Each worker starts a boot time before it is needed, stays up where that is
//! cheaper than a restart, and is billed with the minimum. Requests are treated as a flow with the mean service time, so no
//! policy can quite reach this.

mod levels;
mod string;
#[cfg(test)]
mod tests;

use string::Tube;

use crate::{Micros, Scenario};

/// Arrivals are counted at least this often over the trace, but not more often than every 50 ms.
const GRID: f64 = 200_000.0;
const FINEST: f64 = 0.05;

/// What the optimum has to serve, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    /// In seconds.
    pub latency: f64,
    /// Mean, in seconds.
    pub service: f64,
    /// Mean, in seconds.
    pub boot: f64,
    /// The billing minimum of a start, in seconds.
    pub minimum: f64,
    pub max_workers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Optimum {
    /// Instance seconds.
    pub billed: f64,
    pub most_workers: u32,
    /// The target that was met, in seconds: longer than the task's where the maximum of workers does not allow that.
    pub latency: f64,
}

impl Task {
    pub fn of(scenario: &Scenario) -> Self {
        let policy = &scenario.policy;
        Self {
            latency: policy.targets.latency.as_secs_f64(),
            service: scenario.service.0,
            boot: scenario.boot.0,
            minimum: policy.prices.minimum.as_secs_f64(),
            max_workers: policy.bounds.max_workers,
        }
    }
}

/// Returns the optimum for arrivals in order.
pub fn optimum(arrivals: &[Micros], task: Task) -> Optimum {
    let most = f64::from(task.max_workers);
    let peak = |latency: f64| Tube::of(arrivals, latency, grid(arrivals, latency)).string();
    let fits = |path: &[(f64, f64)]| {
        loads(path, task.service).all(|(_, _, load)| workers_for(load) <= most)
    };
    let mut latency = task.latency;
    let mut path = peak(latency);
    if !fits(&path) {
        let (mut too_short, mut long_enough) = (latency, 2.0 * latency);
        while !fits(&peak(long_enough)) {
            (too_short, long_enough) = (long_enough, 2.0 * long_enough);
        }
        while long_enough - too_short > 0.01 * task.latency {
            let middle = (too_short + long_enough) / 2.0;
            if fits(&peak(middle)) {
                long_enough = middle;
            } else {
                too_short = middle;
            }
        }
        latency = long_enough;
        path = peak(latency);
    }
    let needs: Vec<_> = loads(&path, task.service)
        .map(|(from, to, load)| (from, to, workers_for(load) as u32))
        .collect();
    Optimum {
        billed: levels::billed(&needs, task.boot, task.minimum),
        most_workers: needs.iter().map(|need| need.2).max().unwrap_or(0),
        latency,
    }
}

/// Returns the interval at which arrivals are counted, in seconds.
fn grid(arrivals: &[Micros], latency: f64) -> f64 {
    let span = arrivals.last().map_or(0.0, |last| *last as f64 / 1e6) + latency;
    (span / GRID).max(FINEST)
}

/// Returns begin, end and load in workers of each straight piece of a path.
fn loads(path: &[(f64, f64)], service: f64) -> impl Iterator<Item = (f64, f64, f64)> {
    path.windows(2)
        .filter(|ends| ends[1].0 > ends[0].0)
        .map(move |ends| {
            let rate = (ends[1].1 - ends[0].1) / (ends[1].0 - ends[0].0);
            (ends[0].0, ends[1].0, rate * service)
        })
}

fn workers_for(load: f64) -> f64 {
    // Rounding must not cost a worker.
    (load - 1e-9).ceil().max(0.0)
}
