//! Statistics of a run. Times are durations since the run began.

pub mod grade;
pub mod graded;
pub mod graded_page;
pub mod grades_csv;
pub mod points;
pub mod rubric;
pub mod timeline;
pub mod verdict;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

pub use grade::GradeReport;
pub use timeline::Timeline;

/// One request that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub file_name: String,
    /// Time of the first attempt.
    pub sent_at: Duration,
    /// Time of the response or of the last failure.
    pub ended_at: Duration,
    /// Retries after failed connections.
    pub retries: u32,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Correct,
    /// The response has another name. The text has the expected and the actual one.
    Wrong(String),
    /// There was no response, for this reason. Equal reasons are counted together.
    Failed(String),
}

/// The statistics of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub requests: usize,
    /// Answered, with a right or a wrong name.
    pub succeeded: usize,
    pub failed: usize,
    pub correct: usize,
    pub wrong: usize,
    pub retries: u32,
    /// Of the answered requests, retries included. `None` without any.
    pub latency_ms: Option<Latency>,
    /// From the first request to the first response, in seconds.
    pub first_answer_s: Option<f64>,
    /// From the first request to the last end, in seconds.
    pub wall_s: f64,
    /// Number of failures by reason.
    pub failures: BTreeMap<String, usize>,
    /// The wrong names by file name.
    pub mistakes: BTreeMap<String, String>,
}

/// Latencies in milliseconds. Percentiles are exact (nearest rank).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    pub mean: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Record {
    #[must_use]
    pub fn is_answered(&self) -> bool {
        !matches!(self.outcome, Outcome::Failed(_))
    }
}

impl Summary {
    #[must_use]
    pub fn of(records: &[Record]) -> Self {
        let mut failures = BTreeMap::new();
        let mut mistakes = BTreeMap::new();
        for record in records {
            match &record.outcome {
                Outcome::Correct => {}
                Outcome::Wrong(how) => drop(mistakes.insert(record.file_name.clone(), how.clone())),
                Outcome::Failed(why) => *failures.entry(why.clone()).or_insert(0) += 1,
            }
        }
        let count =
            |is: fn(&Outcome) -> bool| records.iter().filter(|record| is(&record.outcome)).count();
        let answered = || records.iter().filter(|record| record.is_answered());
        let first_sent = records
            .iter()
            .map(|record| record.sent_at)
            .min()
            .unwrap_or_default();
        let since_first = |time: Duration| time.saturating_sub(first_sent).as_secs_f64();
        Self {
            requests: records.len(),
            succeeded: answered().count(),
            failed: count(|outcome| matches!(outcome, Outcome::Failed(_))),
            correct: count(|outcome| matches!(outcome, Outcome::Correct)),
            wrong: count(|outcome| matches!(outcome, Outcome::Wrong(_))),
            retries: records.iter().map(|record| record.retries).sum(),
            latency_ms: Latency::of(
                answered().map(|record| record.ended_at.saturating_sub(record.sent_at)),
            ),
            first_answer_s: answered()
                .map(|record| record.ended_at)
                .min()
                .map(since_first),
            wall_s: records
                .iter()
                .map(|record| record.ended_at)
                .max()
                .map_or(0.0, since_first),
            failures,
            mistakes,
        }
    }

    /// Returns whether every response has the right name.
    #[must_use]
    pub fn is_perfect(&self) -> bool {
        self.correct == self.requests && self.requests > 0
    }
}

impl Latency {
    /// Returns `None` without latencies.
    #[must_use]
    pub fn of(latencies: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut sorted: Vec<Duration> = latencies.into_iter().collect();
        sorted.sort_unstable();
        let max = *sorted.last()?;
        let percentile = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            milliseconds(sorted[rank - 1])
        };
        let total: Duration = sorted.iter().sum();
        Some(Self {
            mean: rounded(total.as_secs_f64() * 1e3 / sorted.len() as f64),
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            max: milliseconds(max),
        })
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            mean,
            p50,
            p95,
            p99,
            max,
        } = self;
        write!(
            formatter,
            "mean {mean:.0} ms   p50 {p50:.0}   p95 {p95:.0}   p99 {p99:.0}   max {max:.0}"
        )
    }
}

/// The statistics of a graded run.
impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            succeeded,
            failed,
            correct,
            wrong,
            retries,
            wall_s,
            ..
        } = self;
        writeln!(
            formatter,
            "requests  {requests} sent, {succeeded} answered, {failed} failed, {retries} retries"
        )?;
        for (reason, count) in &self.failures {
            writeln!(formatter, "          {count} x {reason}")?;
        }
        writeln!(formatter, "names     {correct} right, {wrong} wrong")?;
        const SHOWN: usize = 10;
        for (file_name, mistake) in self.mistakes.iter().take(SHOWN) {
            writeln!(formatter, "          {file_name}: {mistake}")?;
        }
        if self.mistakes.len() > SHOWN {
            writeln!(
                formatter,
                "          and {} more",
                self.mistakes.len() - SHOWN
            )?;
        }
        if let Some(latency) = &self.latency_ms {
            writeln!(formatter, "latency   {latency}")?;
        }
        let each = wall_s * 1e3 / self.requests.max(1) as f64;
        write!(
            formatter,
            "wall      {wall_s:.2} s, that is {each:.0} ms a request"
        )
    }
}

/// Rounds to a thousandth.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

fn milliseconds(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1e3)
}

pub(crate) fn seconds(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sent_ms: u64, ended_ms: u64, outcome: Outcome) -> Record {
        Record {
            file_name: format!("test_{sent_ms:02}.jpg"),
            sent_at: Duration::from_millis(sent_ms),
            ended_at: Duration::from_millis(ended_ms),
            retries: 0,
            outcome,
        }
    }

    #[test]
    fn percentiles_are_exact() {
        let latency = Latency::of((1..=100).rev().map(Duration::from_millis)).unwrap();
        let expected = Latency {
            mean: 50.5,
            p50: 50.0,
            p95: 95.0,
            p99: 99.0,
            max: 100.0,
        };
        assert_eq!(latency, expected);
        let one = Latency::of([Duration::from_micros(1500)]).unwrap();
        assert_eq!(
            one,
            Latency {
                mean: 1.5,
                p50: 1.5,
                p95: 1.5,
                p99: 1.5,
                max: 1.5
            }
        );
        assert_eq!(Latency::of([]), None);
    }

    #[test]
    fn requests_are_counted_by_their_outcome() {
        let summary = Summary::of(&[
            record(10, 110, Outcome::Correct),
            record(11, 311, Outcome::Wrong("expected Ben, got Elton".into())),
            record(12, 9_010, Outcome::Failed("HTTP 503".into())),
            record(13, 60, Outcome::Failed("HTTP 503".into())),
        ]);
        assert_eq!(
            (summary.requests, summary.succeeded, summary.failed),
            (4, 2, 2)
        );
        assert_eq!((summary.correct, summary.wrong), (1, 1));
        assert_eq!(
            summary.failures,
            BTreeMap::from([("HTTP 503".to_owned(), 2)])
        );
        assert_eq!(summary.mistakes.keys().collect::<Vec<_>>(), ["test_11.jpg"]);
        assert_eq!(summary.first_answer_s, Some(0.1), "failures are no answers");
        assert_eq!(
            summary.latency_ms.unwrap().max,
            300.0,
            "failures have no latency"
        );
        assert_eq!(summary.wall_s, 9.0);
        assert!(!summary.is_perfect());
    }

    #[test]
    fn statistics_are_printed() {
        let text = Summary::of(&[
            record(0, 100, Outcome::Correct),
            record(1, 301, Outcome::Wrong("expected Ben, got Elton".into())),
            record(2, 400, Outcome::Failed("HTTP 503: not ready".into())),
        ])
        .to_string();
        let expected = "\
requests  3 sent, 2 answered, 1 failed, 0 retries
          1 x HTTP 503: not ready
names     1 right, 1 wrong
          test_01.jpg: expected Ben, got Elton
latency   mean 200 ms   p50 100   p95 300   p99 300   max 300
wall      0.40 s, that is 133 ms a request";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_run_without_requests_is_not_perfect() {
        assert!(!Summary::of(&[]).is_perfect());
    }
}
