//! What a simulation comes to.

use super::Micros;
use super::histogram::Histogram;

/// Totals of one policy on one trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Outcome {
    pub accepted: u64,
    pub answered: u64,
    /// Sums of when the accepted and the answered requests were accepted: equal when each was answered once.
    pub accepted_sum: u64,
    pub answered_sum: u64,
    pub latencies: Histogram,
    /// Instance time that is paid for.
    pub billed: Micros,
    pub starts: u64,
    /// How often the executed starts and stops changed direction.
    pub reversals: u64,
    /// Calls that EC2 refused because there were too many.
    pub throttled: u64,
    pub plans: u64,
    pub most_up: u32,
    pub ended_at: Micros,
    pub samples: Vec<Sample>,
}

/// One point of a chart, about the time since the point before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Seconds since the beginning.
    pub at: f64,
    /// Requests a second.
    pub arrivals: f64,
    pub unanswered: u64,
    pub up: u32,
    pub busy: u32,
    /// The 95th percentile in seconds; absent when nothing was answered.
    pub latency: Option<f64>,
}

impl Outcome {
    /// In seconds; 0 when nothing was answered.
    pub(super) fn latency(&self, share: f64) -> f64 {
        self.latencies.quantile(share).unwrap_or(0.0)
    }

    pub(super) fn billed_seconds(&self) -> f64 {
        self.billed as f64 / 1e6
    }
}
