//! What a run has to hold to pass, check by check.

use std::fmt;

use serde::Serialize;

use super::Summary;
use super::grade::Measured;
use super::rounded;

/// What a pass demands.
#[derive(Debug, Clone, Copy, PartialEq, clap::Args)]
#[command(next_help_heading = "What a pass demands")]
pub struct Demands {
    /// Workers at the peak; the requests are the limit where they are fewer
    #[arg(
        long,
        env = "MUSTER_MAX_WORKERS",
        value_name = "N",
        default_value_t = 15
    )]
    pub max_workers: usize,
    /// Longest time from the first request to the last answer, divided by the number of requests. With fewer than ten
    /// requests it is told, not judged: then it says how long the first answer took, which has a limit of its own
    #[arg(long, value_name = "SECONDS", default_value_t = 0.61)]
    pub max_mean: f64,
    /// Longest time from the first request to the first answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub max_first_answer: f64,
    /// Longest time from the first request to the most workers running
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub max_scale_out: f64,
    /// Longest time from the last answer to no worker running
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub max_scale_in: f64,
    /// The share of failed requests, in percent, that is too much
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    pub max_failed: f64,
    /// Tell the times that exceed their limits, but pass all the same
    #[arg(long)]
    pub ignore_time_limits: bool,
}

/// From how many requests on the first answer's limit fits into that of all of them.
const MEAN_NEEDS: usize = 10;

/// What the buckets and queues held at the end, and the buckets at the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    pub photos_before: u64,
    pub results_before: u64,
    pub photos: u64,
    pub results: u64,
    pub messages: u64,
}

/// One thing that a pass demands, and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    pub name: &'static str,
    /// Absent when it could not be measured.
    pub measured: Option<f64>,
    pub limit: f64,
    pub unit: &'static str,
    pub holds: bool,
    /// Whether it counts: a fault that does not is told, and is no reason against a pass.
    pub counts: bool,
    /// One line: what was measured, what is demanded, and what the fault is if there is one.
    pub text: String,
}

impl Check {
    /// Whether it speaks against a pass.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.counts && !self.holds
    }
}

/// `ok` or what it comes to, then the name and the text.
impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match (self.holds, self.counts) {
            (true, _) => "ok",
            (false, true) => "FAIL",
            (false, false) => "told",
        };
        write!(formatter, "{mark:4}  {:22} {}", self.name, self.text)
    }
}

/// Everything that a pass demands, in the order in which it is told. A pass is when none [fails](Check::fails).
#[must_use]
pub fn checks(
    summary: &Summary,
    measured: &Measured,
    stored: &Stored,
    demands: &Demands,
) -> Vec<Check> {
    let mut checks = vec![failed(summary, demands), names(summary)];
    checks.extend(times(summary, measured, demands));
    checks.push(workers_at_most(measured, demands));
    checks.push(none(
        "answered twice",
        "duplicate replies",
        measured.duplicate_replies,
        true,
    ));
    checks.push(none(
        "busy workers stopped",
        "busy workers stopped",
        measured.busy_workers_stopped,
        false,
    ));
    checks.push(objects(
        "photos stored",
        "in-bucket",
        (stored.photos_before, stored.photos),
        summary,
    ));
    checks.push(objects(
        "results stored",
        "out-bucket",
        (stored.results_before, stored.results),
        summary,
    ));
    checks.push(none(
        "queues at the end",
        "messages left",
        Some(stored.messages),
        false,
    ));
    checks
}

fn failed(summary: &Summary, demands: &Demands) -> Check {
    let (failed, sent) = (summary.failed, summary.requests);
    let percent = rounded(failed as f64 * 100.0 / sent.max(1) as f64);
    let limit = demands.max_failed;
    let text = match sent {
        0 => "nothing was sent".to_owned(),
        _ => format!("{failed} of {sent} ({percent} %), less than {limit} % demanded"),
    };
    Check {
        name: "failed requests",
        measured: (sent > 0).then_some(percent),
        limit,
        unit: "%",
        holds: sent > 0 && (percent < limit || failed == 0),
        counts: true,
        text,
    }
}

fn names(summary: &Summary) -> Check {
    let (right, answered) = (summary.correct, summary.succeeded);
    let percent = rounded(right as f64 * 100.0 / answered.max(1) as f64);
    let text = match answered {
        0 => "nothing was answered".to_owned(),
        _ => format!("{right} of {answered}, all demanded"),
    };
    Check {
        name: "right names",
        measured: (answered > 0).then_some(percent),
        limit: 100.0,
        unit: "%",
        holds: answered > 0 && right == answered,
        counts: true,
        text,
    }
}

/// The limits on times. A machine that is too slow for one learns by how much.
fn times(summary: &Summary, measured: &Measured, demands: &Demands) -> Vec<Check> {
    let time = |name, seconds: Option<f64>, limit: f64, missing: &str| {
        let holds = seconds.is_some_and(|seconds| seconds <= limit);
        let text = match seconds {
            None => format!("{missing}, at most {limit} s demanded"),
            Some(seconds) if holds => format!("{seconds:.2} s, at most {limit} s demanded"),
            Some(seconds) => format!(
                "{seconds:.2} s, at most {limit} s demanded: {:.2} s too slow",
                seconds - limit
            ),
        };
        Check {
            name,
            measured: seconds.map(rounded),
            limit,
            unit: "s",
            holds,
            // What never came about is no matter of speed.
            counts: seconds.is_none() || !demands.ignore_time_limits,
            text,
        }
    };
    let answered = summary.succeeded > 0;
    let mean = summary.wall_s / summary.requests.max(1) as f64;
    let mut mean = time(
        "mean, wall / requests",
        answered.then_some(mean),
        demands.max_mean,
        "nothing was answered",
    );
    mean.counts &= summary.requests >= MEAN_NEEDS || !answered;
    let first_answer = time(
        "first answer",
        summary.first_answer_s,
        demands.max_first_answer,
        "nothing was answered",
    );
    let scale_in = time(
        "no worker running",
        measured.scale_in_s,
        demands.max_scale_in,
        "workers still ran at the end",
    );
    let wanted = demands.max_workers.min(summary.requests);
    let (most, ordered) = (
        measured.workers.most(),
        measured.workers_ordered.unwrap_or(0),
    );
    let reached = (most >= wanted).then(|| measured.workers.reached_s(wanted));
    let mut scale_out = time(
        "all workers running",
        reached.flatten(),
        demands.max_scale_out,
        &format!("{most} of {wanted} ran and {ordered} were ordered"),
    );
    if most >= wanted {
        scale_out.text = format!("{wanted} of {wanted} after {}", scale_out.text);
    } else if ordered >= wanted as u64 {
        // The scaler did its part; the work was done before the last of them ran.
        scale_out.counts = !demands.ignore_time_limits;
    }
    vec![mean, first_answer, scale_out, scale_in]
}

fn workers_at_most(measured: &Measured, demands: &Demands) -> Check {
    let (most, limit) = (measured.workers.most(), demands.max_workers);
    Check {
        name: "workers at most",
        measured: Some(most as f64),
        limit: limit as f64,
        unit: "",
        holds: most <= limit,
        counts: true,
        text: format!("{most}, at most {limit} demanded"),
    }
}

/// Something of which there may be none.
fn none(name: &'static str, what: &str, measured: Option<u64>, may_be_unknown: bool) -> Check {
    let text = match measured {
        Some(count) => format!("{count} {what}, none demanded"),
        None => format!("{what} were not measured, none demanded"),
    };
    Check {
        name,
        measured: measured.map(|count| count as f64),
        limit: 0.0,
        unit: "",
        holds: measured.map_or(may_be_unknown, |count| count == 0),
        counts: true,
        text,
    }
}

/// `counts` are those before and after. A bucket that was not empty may have held the same photos before.
fn objects(name: &'static str, bucket: &str, counts: (u64, u64), summary: &Summary) -> Check {
    let (before, after) = counts;
    let expected = summary.requests as u64;
    let (holds, exactness) = if before == 0 {
        (after == expected, "exactly")
    } else {
        (after >= expected, "at least")
    };
    Check {
        name,
        measured: Some(after as f64),
        limit: expected as f64,
        unit: "",
        holds,
        counts: true,
        text: format!("{after} objects in the {bucket}, {exactness} {expected} demanded"),
    }
}

#[cfg(test)]
mod tests;
