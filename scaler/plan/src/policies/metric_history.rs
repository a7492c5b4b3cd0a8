use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A quantity over time. It keeps its value from one sample to the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricHistory {
    /// Oldest first.
    samples: VecDeque<(Timestamp, f64)>,
}

impl MetricHistory {
    /// Takes a sample, and drops those that no average over `kept` needs any more.
    pub fn note(&mut self, now: Timestamp, value: f64, kept: Duration) {
        match self.samples.back_mut() {
            Some((at, last)) if *at >= now => *last = value,
            Some((_, last)) if *last == value => {}
            _ => self.samples.push_back((now, value)),
        }
        while self.samples.len() > 1 && now.since(self.samples[1].0) >= kept {
            self.samples.pop_front();
        }
    }

    /// Returns the average over the `window` before `now`, or over as much of it as was sampled; absent without samples.
    pub fn average(&self, now: Timestamp, window: Duration) -> Option<f64> {
        let &(first_at, _) = self.samples.front()?;
        let &(last_at, last) = self.samples.back()?;
        let age = |at: Timestamp| now.since(at).min(window).as_secs_f64();
        let whole = age(first_at);
        if whole <= 0.0 {
            return Some(last);
        }
        let spans = self
            .samples
            .iter()
            .zip(self.samples.iter().skip(1))
            .map(|((from, value), (to, _))| value * (age(*from) - age(*to)));
        Some((spans.sum::<f64>() + last * age(last_at)) / whole)
    }

    pub fn clear(&mut self) {
        self.samples.clear();
    }
}
