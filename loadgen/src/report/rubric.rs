//! A rubric: what a graded run can earn and lose, as a TOML file that a teacher can change. Pure.

use serde::{Deserialize, Serialize};

/// The rubric without `--rubric FILE`.
pub const DEFAULT: &str = include_str!("../../rubric.toml");

/// What a graded run can earn and lose. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rubric {
    pub title: String,
    pub workload: Workload,
    #[serde(default)]
    pub submission: Submission,
    #[serde(default, rename = "deduction")]
    pub deductions: Vec<Deduction>,
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// How requests are sent and samples are taken.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Requests in flight at once.
    pub clients: usize,
    /// The longest time for all requests.
    pub limit: f64,
    /// Time between two samples, besides the calls.
    pub sample_every: f64,
    /// From the last response until scale-in is checked.
    pub wait: f64,
    /// The longest wait for empty queues after that.
    pub drain: f64,
}

/// What a submission's zip must contain.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// Besides the credentials.
    #[serde(default)]
    pub files: Vec<String>,
}

/// Points that are taken off when the system is not ready at the start.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deduction {
    pub check: Precondition,
    pub points: f64,
    /// The message size, of the checks that have one.
    pub bytes: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precondition {
    WebInstance,
    NoWorker,
    EmptyBuckets,
    RequestMessageSize,
    ReplyMessageSize,
    EmptyQueues,
}

/// What the run can earn.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub check: CaseCheck,
    /// Without `tiers`.
    pub points: Option<f64>,
    /// In the order of their times.
    #[serde(default)]
    pub tiers: Vec<Tier>,
    /// Of scale-out: the most workers.
    pub workers: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaseCheck {
    ScaleIn,
    InBucket,
    OutBucket,
    Names,
    Latency,
    ScaleOut,
    BackToZero,
    RequestQueue,
    ReplyQueue,
}

/// Points for a time below a limit.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    pub below: f64,
    pub points: f64,
}

/// Why a rubric cannot be used.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RubricError {
    #[error("{0}")]
    Toml(String),
    #[error("the case {0} needs `points`, not `tiers`")]
    NeedsPoints(String),
    #[error(
        "the case {0} needs `tiers = [{{ below = SECONDS, points = N }}]` with rising times, not `points`"
    )]
    NeedsTiers(String),
    #[error("the case scale-out, and no other, needs `workers`")]
    Workers,
    #[error("the deductions of message sizes, and no others, need `bytes`")]
    Bytes,
    #[error("{0} appears twice")]
    Twice(String),
    #[error("{0} is out of range: times are from 0 to 86400 s, and points are not negative")]
    Range(&'static str),
}

impl Rubric {
    /// Parses and checks a rubric.
    ///
    /// # Errors
    /// Names the first part that cannot be used.
    pub fn parse(toml: &str) -> Result<Self, RubricError> {
        let rubric: Self =
            toml::from_str(toml).map_err(|error| RubricError::Toml(error.to_string()))?;
        rubric.check()?;
        Ok(rubric)
    }

    /// Returns the most points that a run can earn.
    #[must_use]
    pub fn full_marks(&self) -> f64 {
        self.cases.iter().map(Case::most).sum()
    }

    /// Returns the case of a check, if the rubric has it.
    #[must_use]
    pub fn case(&self, check: CaseCheck) -> Option<&Case> {
        self.cases.iter().find(|case| case.check == check)
    }

    /// Returns how long workers are waited for when scale-in is checked.
    #[must_use]
    pub fn longest_scale_in(&self) -> f64 {
        let tiers = self.case(CaseCheck::ScaleIn).map(|case| &case.tiers);
        tiers
            .and_then(|tiers| tiers.last())
            .map_or(0.0, |tier| tier.below)
    }

    fn check(&self) -> Result<(), RubricError> {
        let Workload {
            clients,
            limit,
            sample_every,
            wait,
            drain,
        } = self.workload;
        // Longer times would overflow.
        let is_time = |number: f64| (0.0..=86_400.0).contains(&number);
        let times = [limit, sample_every, wait, drain];
        if clients == 0 || limit == 0.0 || sample_every == 0.0 || !times.into_iter().all(is_time) {
            return Err(RubricError::Range("a number of [workload]"));
        }
        let mut seen = Vec::new();
        for deduction in &self.deductions {
            let sized = matches!(
                deduction.check,
                Precondition::RequestMessageSize | Precondition::ReplyMessageSize
            );
            if sized != deduction.bytes.is_some() {
                return Err(RubricError::Bytes);
            }
            if !is_count(deduction.points) {
                return Err(RubricError::Range("a deduction"));
            }
            once(&mut seen, name_of(&deduction.check))?;
        }
        for case in &self.cases {
            let name = name_of(&case.check);
            let timed = matches!(case.check, CaseCheck::ScaleIn | CaseCheck::Latency);
            let rises = case.tiers.is_sorted_by(|one, next| one.below < next.below);
            if timed && (case.points.is_some() || case.tiers.is_empty() || !rises) {
                return Err(RubricError::NeedsTiers(name));
            }
            if !timed && (case.points.is_none() || !case.tiers.is_empty()) {
                return Err(RubricError::NeedsPoints(name));
            }
            if (case.check == CaseCheck::ScaleOut) != case.workers.is_some() {
                return Err(RubricError::Workers);
            }
            let points = case
                .points
                .into_iter()
                .chain(case.tiers.iter().map(|tier| tier.points));
            let below = case.tiers.iter().map(|tier| tier.below);
            if !points.into_iter().all(is_count) || !below.into_iter().all(is_time) {
                return Err(RubricError::Range("a case"));
            }
            once(&mut seen, name)?;
        }
        Ok(())
    }
}

impl Case {
    /// Returns the most points of the case.
    #[must_use]
    pub fn most(&self) -> f64 {
        let tiers = self.tiers.iter().map(|tier| tier.points);
        tiers.fold(self.points.unwrap_or(0.0), f64::max)
    }
}

fn is_count(points: f64) -> bool {
    points.is_finite() && points >= 0.0
}

/// Returns the name of a check as the file has it.
#[must_use]
pub fn name_of(check: &impl Serialize) -> String {
    let name = serde_json::to_value(check).ok();
    let name = name.as_ref().and_then(serde_json::Value::as_str);
    name.unwrap_or_default().to_owned()
}

fn once(seen: &mut Vec<String>, name: String) -> Result<(), RubricError> {
    if seen.contains(&name) {
        return Err(RubricError::Twice(name));
    }
    seen.push(name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_rubric_has_a_hundred_points() {
        let rubric = Rubric::parse(DEFAULT).unwrap();
        assert_eq!(rubric.full_marks(), 100.0);
        assert_eq!(rubric.longest_scale_in(), 5.0);
        assert_eq!(rubric.case(CaseCheck::ScaleOut).unwrap().workers, Some(15));
        assert_eq!(rubric.deductions.len(), 6);
    }

    #[test]
    fn a_changed_rubric_is_checked() {
        let changed = |from: &str, to: &str| {
            assert!(DEFAULT.contains(from), "{from}");
            Rubric::parse(&DEFAULT.replacen(from, to, 1))
        };
        assert_eq!(
            changed("points = 40", "points = 50").unwrap().full_marks(),
            110.0
        );
        for (from, to, error) in [
            (
                "below = 2,",
                "below = 7,",
                RubricError::NeedsTiers("scale-in".into()),
            ),
            ("workers = 15\n", "", RubricError::Workers),
            ("bytes = 1024\n", "", RubricError::Bytes),
            (
                "check = \"in-bucket\"",
                "check = \"out-bucket\"",
                RubricError::Twice("out-bucket".into()),
            ),
            (
                "clients = 100",
                "clients = 0",
                RubricError::Range("a number of [workload]"),
            ),
            (
                "points = 70",
                "points = -70",
                RubricError::Range("a deduction"),
            ),
        ] {
            assert_eq!(changed(from, to), Err(error), "{to}");
        }
        let unknown = changed("check = \"names\"", "check = \"beauty\"").unwrap_err();
        assert!(unknown.to_string().contains("beauty"), "{unknown}");
    }
}
