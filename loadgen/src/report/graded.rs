//! The graded run of one submission.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::points::{Line, Points, Sample};
use super::{Record, Summary, rounded};

/// A submission with its points and what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Graded {
    /// The prefix of its buckets and queues.
    pub id: String,
    pub first_name: String,
    pub last_name: String,
    pub points: Points,
    pub summary: Summary,
    pub records: Vec<Record>,
    /// In the rhythm of the rubric; the points are by these.
    pub samples: Vec<Sample>,
    /// In a rhythm of our own, for charts.
    pub dense: Vec<Sample>,
}

/// Without the records.
impl Serialize for Graded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Graded", 13)?;
        report.serialize_field("id", &self.id)?;
        report.serialize_field("first_name", &self.first_name)?;
        report.serialize_field("last_name", &self.last_name)?;
        report.serialize_field("points", &self.points)?;
        report.serialize_field("requests", &self.summary.requests)?;
        report.serialize_field("succeeded", &self.summary.succeeded)?;
        report.serialize_field("failed", &self.summary.failed)?;
        report.serialize_field("correct", &self.summary.correct)?;
        report.serialize_field("wrong", &self.summary.wrong)?;
        report.serialize_field("latency_ms", &self.summary.latency_ms)?;
        report.serialize_field("wall_s", &rounded(self.summary.wall_s))?;
        report.serialize_field("samples", &self.samples)?;
        report.serialize_field("dense_samples", &self.dense)?;
        report.end()
    }
}

impl Graded {
    /// Returns the grade of a submission whose system was not run.
    #[must_use]
    pub fn without_run(student: impl Into<(String, String, String)>, points: Points) -> Self {
        let (id, first_name, last_name) = student.into();
        Self {
            id,
            first_name,
            last_name,
            points,
            summary: Summary::of(&[]),
            records: Vec::new(),
            samples: Vec::new(),
            dense: Vec::new(),
        }
    }
}

/// Statistics, one line for each check, and the total.
impl fmt::Display for Graded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.summary.requests > 0 {
            writeln!(formatter, "{}\n", self.summary)?;
        }
        let Points {
            total,
            of,
            not_graded,
            deductions,
            cases,
        } = &self.points;
        if let Some(why) = not_graded {
            writeln!(formatter, "not graded: {why}")?;
            return write!(formatter, "total 0 of {}", number(*of));
        }
        for line in deductions.iter().chain(cases) {
            let Line { check, comment, .. } = line;
            writeln!(
                formatter,
                "{:4} {:>14}  {check:22} {comment}",
                mark(line),
                score(line)
            )?;
        }
        write!(formatter, "total {} of {}", number(*total), number(*of))
    }
}

/// `ok`; `lost`, if it cost points; `note`, if it cost none.
#[must_use]
pub fn mark(line: &Line) -> &'static str {
    match line.met {
        true => "ok",
        false if line.points < line.of => "lost",
        false => "note",
    }
}

/// Returns `7 of 10`, or the number of a deduction.
#[must_use]
pub fn score(line: &Line) -> String {
    match line.of > 0.0 {
        true => format!("{} of {}", number(line.points), number(line.of)),
        false => number(line.points),
    }
}

/// Writes points without zeros at the end.
#[must_use]
pub fn number(points: f64) -> String {
    // Not -0.
    format!("{}", points + 0.0)
}
