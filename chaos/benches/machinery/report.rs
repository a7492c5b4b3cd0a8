//! Medians, and the tables for people.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Args;
use crate::bill::dollars_a_million;
use crate::floor::{Floor, Hop};
use crate::load::Sent;
use crate::stack::Calls;

/// The targets of the project.
const MOST_CALLS: f64 = 4.5;
const LEAST_RATE: f64 = 2000.0;
const MOST_P99_MS: f64 = 10.0;

/// One run, or the medians of several.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Requests a second.
    pub rate: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// AWS calls of a recognition, by action.
    pub calls: BTreeMap<String, f64>,
    /// Microseconds of processor time of a request, by part.
    pub cpu: BTreeMap<&'static str, f64>,
    pub dollars_a_million: f64,
}

impl Run {
    /// `cpu` and `calls` are counts before and after.
    pub fn new(
        sent: &Sent,
        cpu: (BTreeMap<&'static str, f64>, BTreeMap<&'static str, f64>),
        calls: (Calls, Calls),
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(sent.count() > 0, "no request was answered");
        let count = sent.count() as f64;
        let cpu = cpu.1.into_iter().map(|(part, after)| {
            let before = cpu.0.get(part).copied().unwrap_or_default();
            (part, (after - before) * 1e6 / count)
        });
        let calls = calls.1.into_iter().map(|(action, after)| {
            let before = calls.0.get(&action).copied().unwrap_or_default();
            (action, (after - before) as f64 / count)
        });
        let calls = calls.filter(|(_, count)| *count > 0.0).collect();
        Ok(Self {
            rate: sent.rate(),
            p50_ms: sent.percentile_ms(0.5),
            p99_ms: sent.percentile_ms(0.99),
            dollars_a_million: dollars_a_million(&calls),
            calls,
            cpu: cpu.collect(),
        })
    }

    fn all_calls(&self) -> f64 {
        self.calls.values().sum()
    }
}

/// Returns the median of each figure.
pub fn median(runs: &[Run]) -> Run {
    let of = |figure: &dyn Fn(&Run) -> f64| testkit::median(runs.iter().map(figure).collect());
    let calls: BTreeMap<String, f64> = runs
        .iter()
        .flat_map(|run| run.calls.keys())
        .map(|action| {
            let count = of(&|run: &Run| run.calls.get(action).copied().unwrap_or_default());
            (action.clone(), count)
        })
        .collect();
    let parts = runs.iter().flat_map(|run| run.cpu.keys());
    let cpu = parts.map(|part| {
        let time = of(&|run: &Run| run.cpu.get(part).copied().unwrap_or_default());
        (*part, time)
    });
    Run {
        rate: of(&|run| run.rate),
        p50_ms: of(&|run| run.p50_ms),
        p99_ms: of(&|run| run.p99_ms),
        dollars_a_million: dollars_a_million(&calls),
        cpu: cpu.collect(),
        calls,
    }
}

/// Returns the median of each figure of each hop.
pub fn median_floor(floors: &[Floor]) -> Floor {
    let names = floors.first().map_or(&[][..], |floor| &floor.hops);
    let hops = names.iter().map(|hop| {
        let of = |figure: fn(Hop) -> f64| {
            testkit::median(floors.iter().map(|it| figure(it.hop(hop.name))).collect())
        };
        Hop {
            name: hop.name,
            microseconds: of(|hop| hop.microseconds),
            client_cpu: of(|hop| hop.client_cpu),
            server_cpu: of(|hop| hop.server_cpu),
        }
    });
    Floor {
        hops: hops.collect(),
    }
}

pub fn print(args: &Args, saturated: &Run, at_rate: &Run, floor: &Floor) {
    println!("\nprocessor: {}", testkit::processor());
    println!(
        "{} workers of {} jobs, {} clients; medians of {} rounds of {} s\n",
        args.workers, args.jobs, args.clients, args.rounds, args.seconds
    );
    println!(
        "{:32}{:>12}{:>16}",
        "",
        "saturated",
        format!("{} a second", args.rate)
    );
    let row = |name: &str, of: &dyn Fn(&Run) -> f64| {
        println!("{name:32}{:>12.2}{:>16.2}", of(saturated), of(at_rate));
    };
    row("requests/s", &|run| run.rate);
    row("latency p50, ms", &|run| run.p50_ms);
    row("latency p99, ms", &|run| run.p99_ms);
    row("AWS calls a recognition", &Run::all_calls);
    let actions: BTreeMap<_, _> = saturated.calls.iter().chain(&at_rate.calls).collect();
    for action in actions.keys() {
        let count = |run: &Run| run.calls.get(*action).copied().unwrap_or_default();
        row(&format!("  {action}"), &count);
    }
    row("dollars a million", &|run| run.dollars_a_million);

    println!(
        "\n{:24}{:>12}{:>14}{:>14}",
        "floor, us", "time", "client CPU", "server CPU"
    );
    for hop in &floor.hops {
        let Hop {
            name,
            microseconds,
            client_cpu,
            server_cpu,
        } = hop;
        println!("{name:24}{microseconds:>12.0}{client_cpu:>14.0}{server_cpu:>14.0}");
    }
    println!(
        "\n{:24}{:>12}{:>14}{:>14}{:>16}",
        "CPU of a request, us", "floor", "saturated", "over floor", "100 a second"
    );
    let (mut floor_sum, mut sum, mut sum_at_rate) = (0.0, 0.0, 0.0);
    for (part, least) in floor.of_request() {
        let of = |run: &Run| run.cpu.get(part).copied().unwrap_or_default();
        let (cpu, cpu_at_rate) = (of(saturated), of(at_rate));
        print_cpu(part, least, cpu, cpu_at_rate);
        floor_sum += least;
        sum += cpu;
        sum_at_rate += cpu_at_rate;
    }
    print_cpu("sum", floor_sum, sum, sum_at_rate);
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    println!(
        "\n{cores} cores do at most {:.0} requests/s at the floor, {:.0} with this CPU time",
        cores * 1e6 / floor_sum,
        cores * 1e6 / sum
    );
    verdict(
        "requests/s",
        saturated.rate,
        LEAST_RATE,
        saturated.rate >= LEAST_RATE,
    );
    verdict(
        "p99, ms",
        at_rate.p99_ms,
        MOST_P99_MS,
        at_rate.p99_ms <= MOST_P99_MS,
    );
    let calls = saturated.all_calls();
    verdict(
        "calls a recognition",
        calls,
        MOST_CALLS,
        calls <= MOST_CALLS,
    );
}

fn print_cpu(part: &str, floor: f64, saturated: f64, at_rate: f64) {
    let ratio = saturated / floor;
    println!("{part:24}{floor:>12.0}{saturated:>14.0}{ratio:>14.2}{at_rate:>16.0}");
}

fn verdict(what: &str, value: f64, target: f64, is_reached: bool) {
    let word = if is_reached { "reached" } else { "NOT reached" };
    println!("target {target} {what}: {value:.2}, {word}");
}
