use crate::Micros;
use crate::histogram::Histogram;

/// The result of one policy on one trace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    pub accepted: u64,
    pub answered: u64,
    /// Sums of the times at which the accepted and the answered requests were accepted: equal when each was answered once.
    pub accepted_sum: u64,
    pub answered_sum: u64,
    /// Frames of clips.
    pub frames: u64,
    pub frames_done: u64,
    /// When the last frame was done.
    pub frames_done_at: Micros,
    pub(crate) latencies: Histogram,
    /// Instance time that is paid for.
    pub billed: Micros,
    pub starts: u64,
    /// How often starts followed stops or stops followed starts.
    pub reversals: u64,
    /// Calls that EC2 throttled.
    pub throttled: u64,
    pub plans: u64,
    pub most_up: u32,
    pub ended_at: Micros,
    /// Workers that are still up then.
    pub stay_up: u32,
    pub samples: Vec<Sample>,
}

/// One point of a chart, about the time since the point before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Seconds since the beginning.
    pub at: f64,
    /// Requests a second.
    pub arrivals: f64,
    pub unanswered: u64,
    pub up: u32,
    pub busy: u32,
    /// The 95th percentile in seconds; absent without replies.
    pub latency: Option<f64>,
}

impl Outcome {
    /// Returns the latency that this share of the requests does not exceed, in seconds; 0 without replies.
    #[must_use]
    pub fn latency(&self, share: f64) -> f64 {
        self.latencies.quantile(share).unwrap_or(0.0)
    }

    #[must_use]
    pub fn billed_seconds(&self) -> f64 {
        self.billed as f64 / 1e6
    }
}
