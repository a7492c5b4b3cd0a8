//! Latencies in buckets whose width grows with the value. Written by hand: the crate hdrhistogram has other buckets, which
//! would change the published figures, and reports the end of a bucket instead of its middle.

use crate::Micros;

/// Each doubling of the value is split into this many buckets, and a value is reported as its bucket's middle: off by
/// at most 1/256.
const SPLIT_BITS: u32 = 7;
const SPLIT: u64 = 1 << SPLIT_BITS;

/// Counts of durations, in constant memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub fn record(&mut self, value: Micros) {
        let bucket = bucket_of(value);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
    }

    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// Returns the value that this share of all values does not exceed, in seconds; absent without values.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = ((share * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut below = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return Some(middle_of(bucket) / 1e6);
            }
        }
        None
    }
}

fn bucket_of(value: Micros) -> usize {
    if value < 2 * SPLIT {
        return value as usize;
    }
    let shift = value.ilog2() - SPLIT_BITS;
    (u64::from(shift) * SPLIT + (value >> shift)) as usize
}

fn middle_of(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    if bucket < 2 * SPLIT {
        return bucket as f64;
    }
    let shift = bucket / SPLIT - 1;
    let least = (bucket - shift * SPLIT) << shift;
    least as f64 + ((1_u64 << shift) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_off_by_less_than_half_a_percent() {
        let mut value = 1_u64;
        while value < 1 << 40 {
            for value in [value, value + 1, value * 3 / 2] {
                let found = middle_of(bucket_of(value));
                let error = (found - value as f64).abs() / value as f64;
                assert!(error <= 1.0 / 256.0, "{value} is found as {found}");
            }
            value = value * 9 / 8 + 1;
        }
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        (1..=100).for_each(|value| histogram.record(value));
        assert_eq!(histogram.quantile(0.5), Some(50e-6));
        assert_eq!(histogram.quantile(0.95), Some(95e-6));
        assert_eq!(histogram.quantile(1.0), Some(100e-6));
        histogram.clear();
        assert_eq!(histogram.quantile(0.5), None);
    }
}
