//! The criteria of a pass.

use std::fmt;

use platform::duration;
use serde::Serialize;

use super::{Summary, Timeline, rounded};

/// Limits of a pass.
#[derive(Debug, Clone, Copy, PartialEq, clap::Args)]
#[command(next_help_heading = "Criteria of a pass")]
pub struct PassCriteria {
    /// Workers at the peak. With fewer requests, their number counts
    #[arg(
        long,
        env = "MUSTER_MAX_WORKERS",
        value_name = "N",
        default_value_t = 15
    )]
    pub max_workers: usize,
    /// EC2 instances named web-instance at the start; 0 when gateway, front and scaler run elsewhere, as in containers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub web_instances: usize,
    /// Longest time from the first request to the last response, divided by the number of requests. With fewer than ten
    /// requests a longer one is only a warning: it depends on the first response, which has its own limit
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "610ms")]
    pub max_mean: f64,
    /// Longest time from the first request to the first response
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "5s")]
    pub max_first_answer: f64,
    /// Longest time from the first request to the most workers running
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "5s")]
    pub max_scale_out: f64,
    /// Longest time from the last response to no worker running
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "2s")]
    pub max_scale_in: f64,
    /// Percentage of failed requests from which on the run fails. Without a failed request it passes even at 0
    #[arg(long, value_name = "PERCENT", default_value_t = 0.1)]
    pub max_failed: f64,
    /// Only warn of times beyond their limits
    #[arg(long)]
    pub ignore_time_limits: bool,
}

/// With fewer requests the limit on the mean could be lower than that on the first response.
const MIN_REQUESTS_FOR_MEAN: usize = 10;

/// Measurements besides the requests themselves.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measurements {
    pub duplicate_replies: Option<u64>,
    pub busy_workers_stopped: Option<u64>,
    /// Workers that the scaler started or launched.
    pub workers_ordered: Option<u64>,
    pub scale_in_s: Option<f64>,
    /// All calls of the system, without the grader's own.
    pub aws_calls: Option<u64>,
    pub workers: Timeline,
}

/// Contents of the buckets at the start, and of buckets and queues at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    pub photos_before: u64,
    pub results_before: u64,
    pub photos: u64,
    pub results: u64,
    pub messages: u64,
}

/// One criterion with its measurement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    pub name: &'static str,
    /// `None` when it could not be measured.
    pub measured: Option<f64>,
    pub limit: f64,
    pub unit: &'static str,
    pub holds: bool,
    /// Whether it counts. Otherwise a violation is only a warning.
    pub counts: bool,
    /// The measurement, the limit, and the violation if there is one, in one line.
    pub text: String,
}

impl Check {
    /// Returns whether it prevents a pass.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.counts && !self.holds
    }
}

/// `ok`, `FAIL` or `warn`, then the name and the text.
impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match (self.holds, self.counts) {
            (true, _) => "ok",
            (false, true) => "FAIL",
            (false, false) => "warn",
        };
        write!(formatter, "{mark:4}  {:22} {}", self.name, self.text)
    }
}

/// Checks all criteria, in the order of the report. The run passes if none [fails](Check::fails).
#[must_use]
pub fn checks(
    summary: &Summary,
    measured: &Measurements,
    stored: &Stored,
    criteria: &PassCriteria,
) -> Vec<Check> {
    let mut checks = vec![failed(summary, criteria), names(summary)];
    checks.extend(times(summary, measured, criteria));
    checks.push(workers_at_most(measured, criteria));
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

fn failed(summary: &Summary, criteria: &PassCriteria) -> Check {
    let (failed, sent) = (summary.failed, summary.requests);
    let percent = rounded(failed as f64 * 100.0 / sent.max(1) as f64);
    let limit = criteria.max_failed;
    let text = match sent {
        0 => "nothing was sent".to_owned(),
        _ => format!("{failed} of {sent} ({percent} %), must be below {limit} %"),
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
        _ => format!("{right} of {answered}, must be all"),
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

/// Checks the times. The text has the excess over a limit.
fn times(summary: &Summary, measured: &Measurements, criteria: &PassCriteria) -> Vec<Check> {
    let time = |name, seconds: Option<f64>, limit: f64, missing: &str| {
        let holds = seconds.is_some_and(|seconds| seconds <= limit);
        let text = match seconds {
            None => format!("{missing}, limit {limit} s"),
            Some(seconds) if holds => format!("{seconds:.2} s, limit {limit} s"),
            Some(seconds) => format!(
                "{seconds:.2} s, limit {limit} s: {:.2} s too slow",
                seconds - limit
            ),
        };
        Check {
            name,
            measured: seconds.map(rounded),
            limit,
            unit: "s",
            holds,
            // An event that never happened is not a question of speed.
            counts: seconds.is_none() || !criteria.ignore_time_limits,
            text,
        }
    };
    let answered = summary.succeeded > 0;
    let mean = summary.wall_s / summary.requests.max(1) as f64;
    let mut mean = time(
        "mean, wall / requests",
        answered.then_some(mean),
        criteria.max_mean,
        "nothing was answered",
    );
    mean.counts &= summary.requests >= MIN_REQUESTS_FOR_MEAN || !answered;
    let first_answer = time(
        "first answer",
        summary.first_answer_s,
        criteria.max_first_answer,
        "nothing was answered",
    );
    let scale_in = time(
        "no worker running",
        measured.scale_in_s,
        criteria.max_scale_in,
        "workers still ran at the end",
    );
    let wanted = criteria.max_workers.min(summary.requests);
    let (most, ordered) = (
        measured.workers.most(),
        measured.workers_ordered.unwrap_or(0),
    );
    let reached = (most >= wanted).then(|| measured.workers.reached_s(wanted));
    let mut scale_out = time(
        "all workers running",
        reached.flatten(),
        criteria.max_scale_out,
        &format!("{most} of {wanted} ran and {ordered} were ordered"),
    );
    if most >= wanted {
        scale_out.text = format!("{wanted} of {wanted} after {}", scale_out.text);
    } else if ordered >= wanted as u64 {
        // The scaler ordered enough, and the work ended before the last worker ran.
        scale_out.counts = !criteria.ignore_time_limits;
    }
    vec![mean, first_answer, scale_out, scale_in]
}

fn workers_at_most(measured: &Measurements, criteria: &PassCriteria) -> Check {
    let (most, limit) = (measured.workers.most(), criteria.max_workers);
    Check {
        name: "workers at most",
        measured: Some(most as f64),
        limit: limit as f64,
        unit: "",
        holds: most <= limit,
        counts: true,
        text: format!("{most}, limit {limit}"),
    }
}

/// Checks that a number is 0.
fn none(name: &'static str, what: &str, measured: Option<u64>, may_be_unknown: bool) -> Check {
    let text = match measured {
        Some(count) => format!("{count} {what}, must be 0"),
        None => format!("{what} were not measured, must be 0"),
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

/// Checks the numbers of objects before and after. A bucket that was not empty may have had the same photos.
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
        text: format!("{after} objects in the {bucket}, must be {exactness} {expected}"),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    duration::parse(text).map(|time| time.as_secs_f64())
}

#[cfg(test)]
mod tests;
