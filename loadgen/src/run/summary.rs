//! The figures of a run: what is printed, and what is written as JSON.

mod table;

use std::collections::BTreeMap;

use hdrhistogram::{Counter, Histogram};
use serde::Serialize;

use super::fleet::FleetReport;
use super::recorder::{Counts, Recorder};
use crate::report::rounded;

/// A percentile is claimed with this many latencies beyond it.
const SAMPLES_BEYOND: f64 = 10.0;

/// The JSON report. A `null` stands for what was not measured, or has too few samples to be claimed.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    pub target: String,
    /// `open` or `closed`.
    #[serde(rename = "loop")]
    pub kind: LoopKind,
    /// The load in words.
    pub load: String,
    pub warm_up_s: f64,
    pub requests: Requests,
    pub names: NameCounts,
    /// Requests a second that were due, and that were answered until the last answer.
    pub due_per_s: Option<f64>,
    pub answered_per_s: Option<f64>,
    /// Of answers: from when a request was due (in a closed loop: was sent) to its end.
    pub latency_ms: Option<Percentiles>,
    /// From when a request was due to when it was sent: the generator's own delay, part of the latency.
    pub generator_lag_ms: Option<Percentiles>,
    pub by_variant: Vec<VariantAccuracy>,
    /// Number of failures by reason.
    pub failures: BTreeMap<String, u64>,
    /// The first wrong names by file name.
    pub mistakes: BTreeMap<String, String>,
    /// Left out of everything above.
    pub warm_up: Requests,
    pub intervals: Vec<IntervalReport>,
    /// Percentile and latency in milliseconds, as far as they are claimed.
    pub curve: Vec<(f64, f64)>,
    pub fleet: Option<FleetReport>,
    /// Why the run fails. Empty: all names were right, all requests were sent, and no signal ended the run early.
    pub problems: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoopKind {
    Open,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Requests {
    pub due: u64,
    /// Not sent by the generator, because too many were in flight.
    pub shed: u64,
    pub sent: u64,
    pub answered: u64,
    pub failed: u64,
}

/// Answers by their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NameCounts {
    pub right: u64,
    pub wrong: u64,
    pub unknown: u64,
    /// The service could not use the photo, for instance found no face.
    pub refused: u64,
}

/// In milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    pub samples: u64,
    pub mean: f64,
    pub p50: Option<f64>,
    pub p90: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub p99_9: Option<f64>,
    pub p99_99: Option<f64>,
    pub max: f64,
}

/// The accuracy on one kind of photo.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VariantAccuracy {
    pub variant: String,
    pub sent: u64,
    #[serde(flatten)]
    pub names: NameCounts,
    pub failed: u64,
    /// Right names of the answers. `None` without any.
    pub accuracy: Option<f64>,
}

/// One interval of the run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IntervalReport {
    /// Its begin.
    pub at_s: f64,
    pub length_s: f64,
    pub due: u64,
    pub shed: u64,
    /// Ended in the interval.
    pub answered: u64,
    pub failed: u64,
    /// Of the requests that were due in the interval.
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub max_ms: Option<f64>,
}

impl LoadReport {
    #[must_use]
    pub fn new(target: String, kind: LoopKind, load: String, recorder: &Recorder) -> Self {
        let counts = &recorder.counts;
        let latency_ms = Percentiles::of(&recorder.latency);
        let lag = (kind == LoopKind::Open).then(|| Percentiles::of(&recorder.lag));
        let seconds = |until: Option<std::time::Duration>| {
            let span = until?.checked_sub(recorder.first_due?)?;
            Some(span.as_secs_f64()).filter(|span| *span > 0.0)
        };
        let per_second = |count: u64, span: Option<f64>| Some(rounded(count as f64 / span?));
        Self {
            target,
            kind,
            load,
            warm_up_s: recorder.warm_up.as_secs_f64(),
            requests: Requests::of(counts),
            names: NameCounts::of(counts),
            due_per_s: per_second(counts.due.saturating_sub(1), seconds(recorder.last_due)),
            answered_per_s: per_second(counts.answered(), seconds(recorder.last_answer)),
            latency_ms,
            generator_lag_ms: lag.flatten(),
            by_variant: recorder.by_kind.iter().map(VariantAccuracy::of).collect(),
            failures: recorder.failures.clone(),
            mistakes: recorder.mistakes.clone(),
            warm_up: Requests::of(&recorder.warm_up_counts),
            intervals: intervals(recorder),
            curve: curve(&recorder.latency),
            fleet: None,
            problems: problems(counts),
        }
    }

    #[must_use]
    pub fn is_success(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Requests {
    fn of(counts: &Counts) -> Self {
        Self {
            due: counts.due,
            shed: counts.shed,
            sent: counts.sent(),
            answered: counts.answered(),
            failed: counts.failed,
        }
    }
}

impl NameCounts {
    fn of(counts: &Counts) -> Self {
        Self {
            right: counts.right,
            wrong: counts.wrong,
            unknown: counts.unknown,
            refused: counts.refused,
        }
    }
}

impl VariantAccuracy {
    fn of((variant, counts): (&String, &Counts)) -> Self {
        let answered = counts.answered();
        Self {
            variant: variant.clone(),
            sent: counts.sent(),
            names: NameCounts::of(counts),
            failed: counts.failed,
            accuracy: (answered > 0).then(|| rounded(counts.right as f64 / answered as f64)),
        }
    }
}

impl Percentiles {
    /// Returns `None` without samples.
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let claimed = |percentile: f64| {
            is_claimed(percentile, histogram.len()).then(|| at(histogram, percentile))
        };
        Some(Self {
            samples: histogram.len(),
            mean: rounded(histogram.mean() / 1e3),
            p50: claimed(50.0),
            p90: claimed(90.0),
            p95: claimed(95.0),
            p99: claimed(99.0),
            p99_9: claimed(99.9),
            p99_99: claimed(99.99),
            max: rounded(histogram.max() as f64 / 1e3),
        })
    }

    fn named(&self) -> [(&'static str, f64, Option<f64>); 6] {
        [
            ("p50", 50.0, self.p50),
            ("p90", 90.0, self.p90),
            ("p95", 95.0, self.p95),
            ("p99", 99.0, self.p99),
            ("p99.9", 99.9, self.p99_9),
            ("p99.99", 99.99, self.p99_99),
        ]
    }
}

/// Returns whether so many samples say something about the percentile. The median of few is shown.
fn is_claimed(percentile: f64, samples: u64) -> bool {
    percentile <= 50.0 || samples >= needed(percentile)
}

fn needed(percentile: f64) -> u64 {
    (SAMPLES_BEYOND / (1.0 - percentile / 100.0)).round() as u64
}

fn at<T: Counter>(histogram: &Histogram<T>, percentile: f64) -> f64 {
    rounded(histogram.value_at_percentile(percentile) as f64 / 1e3)
}

fn intervals(recorder: &Recorder) -> Vec<IntervalReport> {
    let length_s = recorder.interval.as_secs_f64();
    let numbered = recorder.intervals.iter().enumerate();
    numbered
        .map(|(index, interval)| {
            let latency = &interval.latency;
            let of = |percentile| (!latency.is_empty()).then(|| at(latency, percentile));
            IntervalReport {
                at_s: index as f64 * length_s,
                length_s,
                due: interval.due,
                shed: interval.shed,
                answered: interval.answered,
                failed: interval.failed,
                p50_ms: of(50.0),
                p99_ms: of(99.0),
                max_ms: of(100.0),
            }
        })
        .collect()
}

/// Points at equal distances on the axis of nines, from the median on, after some below it.
fn curve(latency: &Histogram<u64>) -> Vec<(f64, f64)> {
    if latency.is_empty() {
        return Vec::new();
    }
    let low = [1.0, 5.0, 10.0, 20.0, 30.0, 40.0];
    let nines = (0..).map(|step| 100.0 - 50.0 * 10_f64.powf(-f64::from(step) / 10.0));
    low.into_iter()
        .chain(nines)
        .take_while(|percentile| is_claimed(*percentile, latency.len()))
        .map(|percentile| (rounded(percentile * 1e3) / 1e3, at(latency, percentile)))
        .collect()
}

fn problems(counts: &Counts) -> Vec<String> {
    let mut problems = Vec::new();
    let mut say = |count: u64, what: &str| {
        if count > 0 {
            problems.push(format!("{count} requests {what}"));
        }
    };
    say(
        counts.shed,
        "were shed by the generator: too many were in flight, so the load was less than ordered",
    );
    say(counts.failed, "failed");
    say(counts.wrong, "were answered with a wrong name");
    say(counts.unknown, "were answered with Unknown");
    say(
        counts.refused,
        "were refused for their photo, for instance without a face",
    );
    if counts.due == 0 {
        problems.push("no request was due after the warm-up".to_owned());
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::drive::{Request, ResponseClass};
    use crate::report::Outcome;
    use crate::run::recorder::Ended;

    /// Answers take 1 ms, 2 ms, and so on. The last request is shed.
    fn recorded(answers: u64) -> Recorder {
        let mut recorder = Recorder::new(Duration::ZERO, None);
        let request = Request {
            kind: "dark".to_owned(),
            ..Request::default()
        };
        for number in 1..=answers {
            let due = Duration::from_millis(number * 10);
            recorder.due(&request, due, true);
            recorder.ended(&Ended {
                request: &request,
                due,
                sent: due,
                ended: due + Duration::from_millis(number),
                outcome: &Outcome::Correct,
                class: ResponseClass::Right,
            });
        }
        recorder.due(&request, Duration::from_millis(answers * 10 + 10), false);
        recorder
    }

    fn report(answers: u64) -> LoadReport {
        let recorder = recorded(answers);
        LoadReport::new("t".into(), LoopKind::Open, "l".into(), &recorder)
    }

    #[test]
    fn percentiles_with_too_few_samples_are_not_claimed() {
        let few = report(999).latency_ms.unwrap();
        assert!(few.p95.is_some() && few.p99.is_none(), "{few:?}");
        let enough = report(1_000).latency_ms.unwrap();
        assert!((enough.p99.unwrap() - 990.0).abs() < 1.0, "{enough:?}");
        assert_eq!((enough.p99_9, enough.p99_99), (None, None));
        assert!((enough.max - 1_000.0).abs() < 1.0, "{enough:?}");
        let all = report(100_000).latency_ms.unwrap();
        assert!(all.p99_99.is_some(), "{all:?}");
        let (percentile, _) = *report(1_000).curve.last().unwrap();
        assert!((98.5..=99.0).contains(&percentile), "{percentile}");
    }

    #[test]
    fn a_shed_request_fails_the_run() {
        let report = report(20);
        assert!(!report.is_success());
        assert_eq!(report.problems.len(), 1);
        assert!(report.problems[0].starts_with("1 requests were shed"));
        assert_eq!(report.requests.due, 21);
        assert_eq!(report.requests.sent, 20);
        assert_eq!(report.due_per_s, Some(100.0));
    }

    #[test]
    fn the_table_names_what_is_not_claimed() {
        let text = report(200).to_string();
        assert!(text.contains("requests  201 due, 1 shed by the generator, 200 answered"));
        assert!(text.contains("not claimed: p99 (needs 1000 answers), p99.9"));
        assert!(text.contains("dark                200    200      0        0"));
        assert!(text.contains("100.0 %"), "{text}");
        assert!(
            text.ends_with("so the load was less than ordered"),
            "{text}"
        );
    }
}
