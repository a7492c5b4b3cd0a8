//! The figures of a run: what `report.json` has, and what is printed.

use std::collections::BTreeMap;
use std::path::Path;

use platform::process::print;
use serde::{Deserialize, Serialize};

use crate::account::Account;

/// Findings that are printed; the history has all.
pub(super) const MOST_PRINTED: usize = 10;

/// Longest time until the jobs of killed workers begin again, in seconds, at the 99th percentile: the request queue's visibility
/// timeout of 7 s, and one for the next worker.
const RETURN_WITHIN_S: f64 = 8.0;
/// Longest time from SIGTERM of a worker to its end.
const TERMINATE_WITHIN_S: f64 = 5.0;
/// Longest time until front, gateway or scaler is ready again after SIGKILL.
const RESTART_WITHIN_S: f64 = 2.0;

/// What `report.json` has.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RunReport {
    pub engine: String,
    pub seed: u64,
    pub wall_s: f64,
    pub policy: String,
    pub spot: bool,
    pub rate: f64,
    #[serde(flatten)]
    pub account: Account,
    /// Workers that had a job when the scaler's order ended them.
    pub busy_workers_stopped: u64,
    /// Jobs on the request queue that never ended.
    pub left_on_the_queue: u64,
    pub faults: BTreeMap<String, u64>,
    /// Of `faults`: those that met nothing, such as a kill of a worker while none ran.
    pub faults_in_vain: u64,
    /// Until the job of a killed worker began again, in seconds.
    pub return_s: Quantiles,
    /// From SIGTERM of a worker to its end.
    pub termination_s: Quantiles,
    /// From SIGKILL of front, gateway or scaler until it was ready again.
    pub restart_s: Quantiles,
    /// Of requests that were answered rightly.
    pub latency_s: Quantiles,
    /// Errors in the logs, by their text.
    pub logged_errors: BTreeMap<String, u64>,
    pub passed: bool,
}

/// A sample's size and quantiles, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    pub samples: usize,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Quantiles {
    /// Takes milliseconds.
    #[must_use]
    pub fn of(milliseconds: impl IntoIterator<Item = u64>) -> Self {
        let mut values: Vec<_> = milliseconds.into_iter().collect();
        values.sort_unstable();
        let Some(last) = values.len().checked_sub(1) else {
            return Self::default();
        };
        let at = |share: f64| values[(share * last as f64).ceil() as usize] as f64 / 1e3;
        Self {
            samples: values.len(),
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

/// Returns what is wrong with the times of a run that has one kind of fault. Another kind would prolong them.
pub(super) fn late(only: Option<&str>, report: &RunReport) -> Option<String> {
    let (what, took, quantile, within) = match only? {
        "kill_worker" => (
            "a killed worker's job began again",
            report.return_s.p99,
            "p99",
            RETURN_WITHIN_S,
        ),
        "terminate" => (
            "a worker ended after its SIGTERM",
            report.termination_s.max,
            "longest",
            TERMINATE_WITHIN_S,
        ),
        "kill_front" | "kill_gateway" | "kill_scaler" => (
            "a killed service was ready again",
            report.restart_s.max,
            "longest",
            RESTART_WITHIN_S,
        ),
        _ => return None,
    };
    (took > within)
        .then(|| format!("Late: {what} after {took:.2} s ({quantile}), must be {within} s at most"))
}

impl RunReport {
    /// Prints what people look for first.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn print(&self, output: &Path) -> anyhow::Result<()> {
        let it = &self.account;
        print(format_args!(
            "requests {}: right {}, errors {} ({} with a result, {} served by /v1/results), dead letters {}",
            it.requests,
            it.right,
            it.errors,
            it.errors_with_result,
            it.errors_recovered,
            it.dead_lettered
        ))?;
        print(format_args!(
            "lost {}, wrong {}, twice {}, busy workers stopped {}, left on the queue {}",
            it.lost, it.wrong, it.twice, self.busy_workers_stopped, self.left_on_the_queue
        ))?;
        let errors: Vec<_> = it
            .errors_by_code
            .iter()
            .map(|(code, count)| format!("{code} {count}"))
            .collect();
        print(format_args!("errors: {}", errors.join(", ")))?;
        let faults: Vec<_> = self
            .faults
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        print(format_args!(
            "faults: {}; in vain {}",
            faults.join(", "),
            self.faults_in_vain
        ))?;
        for (what, of) in [
            ("a killed worker's job began again", &self.return_s),
            ("a worker ended after SIGTERM", &self.termination_s),
            ("a killed service was ready again", &self.restart_s),
            ("an answer", &self.latency_s),
        ] {
            print(format_args!(
                "{what}: p50 {:.2} s, p99 {:.2} s, at most {:.2} s ({})",
                of.p50, of.p99, of.max, of.samples
            ))?;
        }
        for finding in it.findings.iter().take(MOST_PRINTED) {
            print(finding)?;
        }
        let verdict = if self.passed { "PASS" } else { "FAIL" };
        print(format_args!(
            "{verdict} with seed {}; {}",
            self.seed,
            output.join("report.json").display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sample() {
        assert_eq!(Quantiles::of([]), Quantiles::default());
        let of = Quantiles::of((0..=100).map(|second| second * 1_000));
        assert_eq!(
            (of.samples, of.p50, of.p99, of.max),
            (101, 50.0, 99.0, 100.0)
        );
    }

    #[test]
    fn a_late_end_of_the_only_kind_of_fault_is_found() {
        let of = |milliseconds: u64| RunReport {
            return_s: Quantiles::of([6_900, milliseconds]),
            termination_s: Quantiles::of([100, milliseconds]),
            restart_s: Quantiles::of([100, milliseconds]),
            ..RunReport::default()
        };
        for (only, in_time, too_late) in [
            ("kill_worker", 8_000, 8_100),
            ("terminate", 5_000, 5_100),
            ("kill_front", 2_000, 2_100),
            ("kill_gateway", 2_000, 2_100),
            ("kill_scaler", 2_000, 2_100),
        ] {
            assert_eq!(late(Some(only), &of(in_time)), None, "{only}");
            assert_eq!(late(Some(only), &RunReport::default()), None, "{only}");
            let found = late(Some(only), &of(too_late)).unwrap_or_default();
            let time = format!("after {:.2} s", too_late as f64 / 1e3);
            assert!(found.contains(&time), "{only}: {found}");
        }
        for only in [None, Some("kill_redis")] {
            assert_eq!(late(only, &of(60_000)), None, "{only:?}");
        }
    }
}
