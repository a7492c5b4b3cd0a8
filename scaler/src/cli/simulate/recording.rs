//! Traces from recordings of `scaler watch --every --json`.

use std::io::BufRead;

use anyhow::Context;
use proto::v1::{Estimate, ScalerStatus};

use crate::cli::statuses;
use crate::simulate::Trace;

/// What a recording says besides its arrivals. Absent: it does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Recorded {
    /// Measured, in seconds.
    pub service: Option<f64>,
    /// Measured, in seconds.
    pub boot: Option<f64>,
    /// How long a boot may take, in seconds.
    pub boot_deadline: Option<f64>,
    /// The billing minimum of a start, in seconds.
    pub minimum: Option<f64>,
    /// Dollars for one instance and hour.
    pub price_per_hour: Option<f64>,
    /// In seconds.
    pub latency_target: Option<f64>,
    pub max_workers: Option<u32>,
}

/// Returns whether a file that begins like this is a recording rather than a list of times.
pub fn is_recording(begin: &[u8]) -> bool {
    begin.trim_ascii_start().starts_with(b"{")
}

/// Reads the arrivals, and what the last decision says.
///
/// # Errors
/// When a line is not a status, or no request was accepted.
pub fn parse(name: &str, recording: impl BufRead) -> anyhow::Result<(Trace, Recorded)> {
    let mut readings = Vec::new();
    let mut recorded = Recorded::default();
    for status in statuses::read(recording) {
        let (_, status) = status?;
        recorded.note(&status);
        let front = status.observation.and_then(|it| it.front);
        if let Some((at, front)) = front.and_then(|front| Some((front.at?, front))) {
            let seconds = at.seconds as f64 + f64::from(at.nanos) / 1e9;
            readings.push((seconds, front.accepted_total));
        }
    }
    let trace = Trace::counted(name, &readings)
        .context("the recording was made while front accepted nothing, or was unreachable")?;
    Ok((trace, recorded))
}

impl Recorded {
    fn note(&mut self, status: &ScalerStatus) {
        let measured = |estimate: Option<Estimate>| {
            let estimate = estimate.filter(|it| it.samples > 0 && it.mean_seconds > 0.0);
            estimate.map(|it| it.mean_seconds)
        };
        let seconds = |duration: Option<prost_types::Duration>| {
            let duration = std::time::Duration::try_from(duration?).ok()?;
            Some(duration.as_secs_f64())
        };
        let estimates = status.estimates.unwrap_or_default();
        self.service = measured(estimates.service).or(self.service);
        self.boot = measured(estimates.boot).or(self.boot);
        if let Some(policy) = &status.policy {
            let deadline = policy.patience.as_ref().and_then(|it| it.boot_deadline);
            self.boot_deadline = seconds(deadline).or(self.boot_deadline);
            self.minimum = seconds(policy.billed_minimum).or(self.minimum);
            self.latency_target = seconds(policy.latency_target).or(self.latency_target);
            self.price_per_hour = Some(policy.price_per_hour).filter(|it| *it > 0.0);
        }
        if let Some(bounds) = status.bounds {
            self.max_workers = Some(bounds.max_workers).filter(|it| *it > 0);
        }
    }
}
