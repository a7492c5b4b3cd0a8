//! Sentences about traces and results, for readers who have not seen a policy before.

use scaler_plan::PolicyKind;

use crate::report::figures as figures_of;
use crate::{Comparison, Run};

pub(crate) const HOW_TO_READ: &str = "The gray area is the demand, in workers that it keeps busy. The blue line is the number of \
    workers that are up and paid for: above the area it is reserve, below it requests wait. The red line is the latency of all \
    but the slowest twentieth of the requests, on a logarithmic axis; the dashed line is its target.";

/// Says what arrives.
pub(crate) fn trace(compared: &Comparison) -> String {
    let trace = &compared.trace;
    match trace.name.as_str() {
        "step" => "After 5 s of nothing, 100 requests arrive at once.".to_owned(),
        "ramp" => "Requests become more for 10 min, up to 40 a second, stay there for 5 min, and become fewer for 10 min.".to_owned(),
        "diurnal" => "One day: 2 requests a second at midnight, 40 at noon.".to_owned(),
        "flash-crowd" => "4 requests a second, and for 10 min ten times as many.".to_owned(),
        "on-off" => "40 requests a second for 2 min, then none for 3 min, six times.".to_owned(),
        "heavy-tailed" => "Bursts of very different sizes, at very different distances.".to_owned(),
        _ => {
            let requests = compared.runs.first().map_or(0, |run| run.outcome.accepted);
            format!("{requests} requests in {}.", time(trace.length))
        }
    }
}

/// Says what the table of figures compares with.
pub(crate) fn figures(compared: &Comparison) -> String {
    format!(
        "Figures on the trace {}. Over-use is the paid time over that of the cheapest fleet that meets the same target with all \
         arrivals known in advance: {:.0} instance seconds, {} workers at most.",
        compared.trace.name, compared.optimum.billed, compared.optimum.most_workers
    )
}

/// Says what one sees of a policy on a trace: its rule, the latency, the cost, and when its workers go.
pub(crate) fn run(compared: &Comparison, run: &Run) -> String {
    let figures = figures_of(compared, run);
    let target = compared.scenario.policy.targets.latency.as_secs_f64();
    let (p95, outcome) = (figures.p95, &run.outcome);
    let latency = if p95 <= target {
        format!("19 of 20 requests are answered within {}.", time(p95))
    } else {
        format!(
            "One request in 20 waits longer than {}, beyond the target of {}.",
            time(p95),
            time(target)
        )
    };
    let samples = &outcome.samples;
    let (up, busy) = samples.iter().fold((0.0, 0.0), |(up, busy), it| {
        (up + f64::from(it.up), busy + f64::from(it.busy))
    });
    let cost = format!(
        "Cost {:.2} times the optimum; workers are busy for {:.0} % of the time that they are up.",
        figures.over_use,
        100.0 * busy / f64::max(up, 1.0)
    );
    format!("{} {latency} {cost} {}", rule(run.policy), leaving(run))
}

fn rule(policy: PolicyKind) -> &'static str {
    match policy {
        PolicyKind::Latency => "As few workers as answer within the target.",
        PolicyKind::Step => "One worker for each request that is not answered yet.",
        PolicyKind::BacklogPerInstance => {
            "As many messages for each worker as it can answer within the target."
        }
        PolicyKind::Keda => "One worker for five messages, none after five quiet minutes.",
        PolicyKind::Hpa => "So many workers that 80 % of them are busy, decided every 15 s.",
        PolicyKind::Kpa => "0.7 requests in flight for each worker, averaged over a minute.",
        PolicyKind::Schedule => "A number by the time of day.",
    }
}

/// Says how long workers stay after the last arrival.
fn leaving(run: &Run) -> String {
    let last = run.outcome.samples.iter().rfind(|it| it.arrivals > 0.0);
    match (gone_at(run), last, run.outcome.stay_up) {
        (Some(gone), Some(last), _) => {
            format!(
                "The last worker goes {} after the last request.",
                time(gone - last.at)
            )
        }
        (_, _, 0) => String::new(),
        (_, _, 1) => "One worker stays up without any request.".to_owned(),
        (_, _, some) => format!("{some} workers stay up without any request."),
    }
}

/// Returns the second at which the last worker is down; absent when some stay.
pub(crate) fn gone_at(run: &Run) -> Option<f64> {
    let outcome = &run.outcome;
    let last = outcome.samples.iter().rposition(|it| it.up > 0)?;
    match outcome.samples.get(last + 1) {
        Some(down) => Some(down.at),
        None => (outcome.stay_up == 0).then_some(outcome.ended_at as f64 / 1e6),
    }
}

fn time(seconds: f64) -> String {
    let (value, unit) = match seconds {
        ..120.0 => (seconds, "s"),
        ..7_200.0 => (seconds / 60.0, "min"),
        _ => (seconds / 3_600.0, "h"),
    };
    match value {
        10.0.. => format!("{value:.0} {unit}"),
        _ => format!("{value:.1} {unit}").replace(".0 ", " "),
    }
}
