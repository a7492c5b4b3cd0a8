//! The figures, as text and as JSON.

use std::fmt::Write;
use std::time::Duration;

use scaler_plan::{PolicyKind, Window};
use serde_json::{Map, Value, json};

use crate::{Comparison, Outcome, Run};

/// The bill of the policy `latency` over the optimum's should not exceed this.
const MOST_OVER_USE: f64 = 1.10;
/// Differences up to this share are insignificant: latencies are counted in buckets.
const ALIKE: f64 = 0.01;

#[derive(Debug, Default)]
pub struct Report {
    pub comparisons: Vec<Comparison>,
    /// How long the simulation of the large day took.
    pub day_seconds: Option<f64>,
}

/// The figures of one policy on one trace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PolicyFigures {
    p50: f64,
    pub p95: f64,
    p99: f64,
    /// Dollars.
    cost: f64,
    starts: u64,
    reversals_per_step: f64,
    pub over_use: f64,
    /// When a clip's last frame was done, in seconds; absent without a clip, or when it was not.
    frames_done: Option<f64>,
}

impl Report {
    #[must_use]
    pub fn json(&self) -> Value {
        let traces: Map<_, _> = self
            .comparisons
            .iter()
            .map(|compared| {
                let policies: Map<_, _> = compared
                    .runs
                    .iter()
                    .map(|run| (run.policy.name().to_owned(), figures(compared, run).json()))
                    .collect();
                (compared.trace.name.clone(), policies.into())
            })
            .collect();
        let mut report = Map::from_iter([("traces".to_owned(), traces.into())]);
        if let Some(seconds) = self.day_seconds {
            report.insert("simulated_day_s".to_owned(), json!(seconds));
        }
        report.into()
    }
}

impl PolicyFigures {
    fn json(&self) -> Value {
        json!({
            "p50_s": self.p50,
            "p95_s": self.p95,
            "p99_s": self.p99,
            "cost": self.cost,
            "starts": self.starts,
            "reversals_per_step": self.reversals_per_step,
            "over_use": self.over_use,
            "frames_done_s": self.frames_done,
        })
    }
}

pub(crate) fn figures(compared: &Comparison, run: &Run) -> PolicyFigures {
    let outcome = &run.outcome;
    PolicyFigures {
        p50: outcome.latency(0.5),
        p95: outcome.latency(0.95),
        p99: outcome.latency(0.99),
        cost: outcome.billed_seconds() / 3_600.0 * compared.scenario.policy.prices.per_hour,
        starts: outcome.starts,
        reversals_per_step: outcome.reversals as f64 / compared.trace.load_steps as f64,
        over_use: outcome.billed_seconds() / compared.optimum.billed.max(f64::MIN_POSITIVE),
        frames_done: (outcome.frames > 0 && outcome.frames == outcome.frames_done)
            .then_some(outcome.frames_done_at as f64 / 1e6),
    }
}

/// The heads of the columns of [`row`].
pub(crate) const COLUMNS: [&str; 10] = [
    "policy",
    "p50 s",
    "p95 s",
    "p99 s",
    "cost $",
    "starts",
    "most up",
    "reversals/step",
    "over-use",
    "unanswered",
];

/// Returns the figures of a policy for a table.
pub(crate) fn row(compared: &Comparison, run: &Run) -> Vec<String> {
    let row = figures(compared, run);
    let unanswered = run.outcome.accepted - run.outcome.answered;
    vec![
        run.policy.name().to_owned(),
        format!("{:.2}", row.p50),
        format!("{:.2}", row.p95),
        format!("{:.2}", row.p99),
        format!("{:.4}", row.cost),
        row.starts.to_string(),
        run.outcome.most_up.to_string(),
        format!("{:.2}", row.reversals_per_step),
        format!("{:.2}", row.over_use),
        unanswered.to_string(),
    ]
}

/// Returns a line for each policy, and how `latency` compares.
#[must_use]
pub fn table(compared: &Comparison) -> String {
    let mut text = heading(compared);
    for run in &compared.runs {
        text += &line(&row(compared, run));
    }
    text += &assumptions(compared);
    text += &verdict(compared);
    text.push('\n');
    text
}

fn heading(compared: &Comparison) -> String {
    let requests = compared.runs.first().map_or(0, |run| run.outcome.accepted);
    let optimum = &compared.optimum;
    let mut text = format!(
        "{}: {requests} requests in {:.0} s, load steps {}; optimum {:.0} instance seconds, {} workers",
        compared.trace.name,
        compared.trace.length,
        compared.trace.load_steps,
        optimum.billed,
        optimum.most_workers
    );
    let target = compared.scenario.policy.targets.latency.as_secs_f64();
    if optimum.latency > target {
        let _ = write!(
            text,
            ", which meet {:.2} s instead of {target} s",
            optimum.latency
        );
    }
    text.push('\n');
    text += &line(&COLUMNS);
    text
}

/// Sets the cells of a row in columns.
fn line(cells: &[impl AsRef<str>]) -> String {
    const WIDTHS: [usize; 10] = [22, 10, 10, 10, 10, 8, 9, 15, 10, 12];
    let mut line = String::from("  ");
    for (column, (cell, width)) in cells.iter().zip(WIDTHS).enumerate() {
        let cell = cell.as_ref();
        let _ = match column {
            0 => write!(line, "{cell:<width$}"),
            _ => write!(line, "{cell:>width$}"),
        };
    }
    line + "\n"
}

/// The assumptions that differ from the defaults.
fn assumptions(compared: &Comparison) -> String {
    let mut text = String::new();
    let scenario = &compared.scenario;
    let by_the_clock = |run: &Run| run.policy == PolicyKind::Schedule;
    if compared.runs.iter().any(by_the_clock) {
        let windows: Vec<_> = compared.schedule.iter().map(window).collect();
        let _ = writeln!(
            text,
            "  schedule follows {} (--schedule)",
            windows.join(",")
        );
    }
    if scenario.failing_boots > 0.0 || scenario.deadly_jobs > 0.0 {
        let _ = writeln!(
            text,
            "  share of failing boots {}, share of jobs that kill their worker {}",
            scenario.failing_boots, scenario.deadly_jobs
        );
    }
    text
}

/// Formats a window as `--schedule` takes it.
fn window(window: &Window) -> String {
    let time = |of_day: Duration| {
        let minutes = of_day.as_secs() / 60;
        format!("{:02}:{:02}", minutes / 60, minutes % 60)
    };
    let (from, to) = (time(window.from), time(window.to));
    format!("{from}-{to}={}", window.min_workers)
}

/// In which of tail latency and cost `latency` is worse than others, and its over-use.
fn verdict(compared: &Comparison) -> String {
    let of_latency = |run: &&Run| run.policy == PolicyKind::Latency;
    let Some(ours) = compared.runs.iter().find(of_latency) else {
        return String::new();
    };
    let ours = figures(compared, ours);
    let worse = |ours: f64, theirs: f64| ours > theirs * (1.0 + ALIKE);
    let (mut in_none, mut in_latency, mut in_cost, mut in_both) = (vec![], vec![], vec![], vec![]);
    for run in compared.runs.iter().filter(|run| !of_latency(run)) {
        let theirs = figures(compared, run);
        let list = match (worse(ours.p95, theirs.p95), worse(ours.cost, theirs.cost)) {
            (false, false) => &mut in_none,
            (true, false) => &mut in_latency,
            (false, true) => &mut in_cost,
            (true, true) => &mut in_both,
        };
        list.push(run.policy.name());
    }
    let parts = [
        ("no worse in both than", in_none),
        ("worse in p95 than", in_latency),
        ("worse in cost than", in_cost),
        ("worse in both than", in_both),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what} {}", names.join(", ")))
        .chain([format!(
            "over-use {:.2}, target at most {MOST_OVER_USE:.2}",
            ours.over_use
        )])
        .collect();
    format!("  latency is {}\n", parts.join("; "))
}

/// Returns the line of figures of the large day.
#[must_use]
pub fn day(policy: PolicyKind, outcome: &Outcome, seconds: f64) -> String {
    format!(
        "day: {} requests, {} instances at most, {} plans by {} in {seconds:.1} s; p50 {:.2} s, p95 {:.2} s, \
         p99 {:.2} s, {:.0} instance hours, {} starts, {} unanswered\n",
        outcome.accepted,
        outcome.most_up,
        outcome.plans,
        policy.name(),
        outcome.latency(0.5),
        outcome.latency(0.95),
        outcome.latency(0.99),
        outcome.billed_seconds() / 3_600.0,
        outcome.starts,
        outcome.accepted - outcome.answered,
    )
}
