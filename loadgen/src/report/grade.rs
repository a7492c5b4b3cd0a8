//! The report of `loadgen grade`.

use std::fmt;

use serde::Serialize;

use super::timeline::TimelinePoint;
use super::verdict::{Check, Measurements};
use super::{Latency, Summary, rounded};

/// The JSON report. A `null` stands for what could not be measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GradeReport {
    pub requests: usize,
    /// Answered, with a right or a wrong name.
    pub succeeded: usize,
    pub failed: usize,
    pub correct: usize,
    pub wrong: usize,
    /// Replies that front received for requests already answered.
    pub duplicate_replies: Option<u64>,
    pub latency_ms: Option<Latency>,
    /// From the first request to the first response.
    pub cold_first_answer_s: Option<f64>,
    pub scale_out_s: ScaleOut,
    /// The most workers that ran at once.
    pub workers_max: usize,
    /// From the last response to no worker running.
    pub scale_in_s: Option<f64>,
    pub busy_workers_stopped: Option<u64>,
    /// Calls of the system, without the grader's own, from the first request to no worker running.
    pub aws_calls_per_recognition: Option<f64>,
    /// From the first request to the last response.
    pub wall_s: f64,
    pub workers: Vec<TimelinePoint>,
    /// The criteria of a pass with their measurements. Empty when nothing was sent.
    pub checks: Vec<Check>,
    pub verdict: Verdict,
    /// Reasons for a fail.
    pub reasons: Vec<String>,
}

/// Times since the first request.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct ScaleOut {
    /// Of the first worker running.
    pub first_worker: Option<f64>,
    /// Of the most workers running.
    pub max_workers: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Fail,
}

impl GradeReport {
    /// Makes a report with the verdict of `checks`.
    #[must_use]
    pub fn new(summary: &Summary, measured: &Measurements, checks: Vec<Check>) -> Self {
        let failing = checks.iter().filter(|check| check.fails());
        let reasons = failing.map(|check| format!("{}: {}", check.name, check.text));
        let reasons = reasons.collect();
        Self {
            checks,
            ..Self::failed(summary, measured, reasons)
        }
    }

    /// Makes a report without checks. It is a pass without `reasons`.
    #[must_use]
    pub fn failed(summary: &Summary, measured: &Measurements, reasons: Vec<String>) -> Self {
        let workers_max = measured.workers.most();
        let reached = |count: usize| {
            (count > 0)
                .then(|| measured.workers.reached_s(count))
                .flatten()
        };
        let per_recognition = |calls: u64| rounded(calls as f64 / summary.requests as f64);
        Self {
            requests: summary.requests,
            succeeded: summary.succeeded,
            failed: summary.failed,
            correct: summary.correct,
            wrong: summary.wrong,
            duplicate_replies: measured.duplicate_replies,
            latency_ms: summary.latency_ms,
            cold_first_answer_s: summary.first_answer_s.map(rounded),
            scale_out_s: ScaleOut {
                first_worker: reached(1.min(workers_max)),
                max_workers: reached(workers_max),
            },
            workers_max,
            scale_in_s: measured.scale_in_s.map(rounded),
            busy_workers_stopped: measured.busy_workers_stopped,
            aws_calls_per_recognition: measured
                .aws_calls
                .filter(|_| summary.requests > 0)
                .map(per_recognition),
            wall_s: rounded(summary.wall_s),
            workers: measured.workers.points().to_vec(),
            checks: Vec::new(),
            verdict: if reasons.is_empty() {
                Verdict::Pass
            } else {
                Verdict::Fail
            },
            reasons,
        }
    }
}

/// The statistics besides those of the requests. The last line is the verdict.
impl fmt::Display for GradeReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first_answer) = self.cold_first_answer_s {
            writeln!(
                formatter,
                "cold      first answer {first_answer:.2} s after the first request"
            )?;
        }
        if let ScaleOut {
            first_worker: Some(first),
            max_workers: Some(most),
        } = self.scale_out_s
        {
            let count = self.workers_max;
            writeln!(
                formatter,
                "scale out first worker running after {first:.2} s, {count} after {most:.2} s"
            )?;
        }
        if let Some(scale_in) = self.scale_in_s {
            writeln!(
                formatter,
                "scale in  no worker running {scale_in:.2} s after the last answer"
            )?;
        }
        let known = |number: Option<u64>| {
            number.map_or("not measured".to_owned(), |number| number.to_string())
        };
        let (duplicates, busy) = (
            known(self.duplicate_replies),
            known(self.busy_workers_stopped),
        );
        writeln!(
            formatter,
            "faults    duplicate replies: {duplicates}, busy workers stopped: {busy}"
        )?;
        if let Some(calls) = self.aws_calls_per_recognition {
            writeln!(formatter, "AWS       {calls:.1} calls a recognition")?;
        }
        for check in &self.checks {
            writeln!(formatter, "{check}")?;
        }
        match self.verdict {
            Verdict::Pass => write!(
                formatter,
                "verdict: PASS ({}/{} right)",
                self.correct, self.requests
            ),
            Verdict::Fail => write!(formatter, "verdict: FAIL: {}", self.reasons.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Outcome, Record, Timeline};
    use super::*;

    fn measured() -> Measurements {
        let mut workers = Timeline::default();
        workers.record(Duration::ZERO, 0);
        workers.record(Duration::from_millis(400), 2);
        workers.record(Duration::from_millis(700), 3);
        workers.record(Duration::from_millis(2500), 0);
        Measurements {
            duplicate_replies: Some(0),
            busy_workers_stopped: Some(0),
            workers_ordered: Some(3),
            scale_in_s: Some(0.5),
            aws_calls: Some(21),
            workers,
        }
    }

    fn summary() -> Summary {
        let record = |millisecond| Record {
            file_name: "a.jpg".into(),
            sent_at: Duration::ZERO,
            ended_at: Duration::from_millis(millisecond),
            retries: 0,
            outcome: Outcome::Correct,
        };
        Summary::of(&[record(1500), record(2000)])
    }

    #[test]
    fn the_json_has_the_documented_fields() {
        let report = GradeReport::new(&summary(), &measured(), vec![first_answer(true)]);
        let expected = serde_json::json!({
            "requests": 2, "succeeded": 2, "failed": 0, "correct": 2, "wrong": 0, "duplicate_replies": 0,
            "latency_ms": {"mean": 1750.0, "p50": 1500.0, "p95": 2000.0, "p99": 2000.0, "max": 2000.0},
            "cold_first_answer_s": 1.5, "scale_out_s": {"first_worker": 0.4, "max_workers": 0.7},
            "workers_max": 3, "scale_in_s": 0.5, "busy_workers_stopped": 0, "aws_calls_per_recognition": 10.5,
            "wall_s": 2.0,
            "workers": [
                {"t_s": 0.0, "running": 0}, {"t_s": 0.4, "running": 2}, {"t_s": 0.7, "running": 3},
                {"t_s": 2.5, "running": 0},
            ],
            "checks": [{"name": "first answer", "measured": 1.5, "limit": 5.0, "unit": "s", "holds": true, "counts": true,
                "text": "1.50 s, limit 5 s"}],
            "verdict": "pass", "reasons": [],
        });
        assert_eq!(serde_json::to_value(&report).unwrap(), expected);
    }

    fn first_answer(holds: bool) -> Check {
        Check {
            name: "first answer",
            measured: Some(1.5),
            limit: 5.0,
            unit: "s",
            holds,
            counts: true,
            text: "1.50 s, limit 5 s".to_owned(),
        }
    }

    #[test]
    fn the_checks_are_followed_by_the_verdict() {
        let report = |checks| GradeReport::new(&summary(), &measured(), checks).to_string();
        let pass = report(vec![first_answer(true)]);
        let lines: Vec<_> = pass.lines().rev().take(2).collect();
        let expected = [
            "verdict: PASS (2/2 right)",
            "ok    first answer           1.50 s, limit 5 s",
        ];
        assert_eq!(lines, expected);
        let warning = Check {
            counts: false,
            ..first_answer(false)
        };
        assert!(report(vec![warning]).ends_with("verdict: PASS (2/2 right)"));
        let fail = report(vec![first_answer(false)]);
        assert_eq!(
            fail.lines().last(),
            Some("verdict: FAIL: first answer: 1.50 s, limit 5 s")
        );
    }

    #[test]
    fn a_run_without_requests_is_reported_with_nulls() {
        let report = GradeReport::failed(
            &Summary::of(&[]),
            &Measurements::default(),
            vec!["no".into()],
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["latency_ms"], serde_json::Value::Null);
        assert_eq!(json["scale_out_s"]["first_worker"], serde_json::Value::Null);
        assert_eq!(json["verdict"], "fail");
    }
}
