//! What the samples of a service tell: whether it ran all the time, and whether it grows.

use serde::{Deserialize, Serialize};

use super::MEBIBYTE;
use crate::processes::Usage;

/// Of the samples from the end, the share that the slopes are fitted to.
const FITTED: f64 = 2.0 / 3.0;
/// Growth over the fitted time that counts as noise: this many standard deviations of the samples around the line, and the pages
/// that an allocator takes at a time.
const NOISE_DEVIATIONS: f64 = 3.0;
const NOISE_BYTES: f64 = 1024.0 * 1024.0;
/// For descriptors and threads: as many deviations, this share of their mean, and a few. Pools follow the load.
const NOISE_SHARE: f64 = 0.1;
const NOISE_COUNT: f64 = 5.0;
/// Share of the run that a service must have samples for. A process that is not found has none.
const SAMPLED: f64 = 0.9;

/// What the processes of a service held at a time, each on average.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    pub at: f64,
    pub processes: u64,
    pub usage: Usage,
}

/// What the processes of a service held, each on average.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Share of the run that has samples of it.
    pub sampled: f64,
    pub most_processes: u64,
    pub resident_mib_first: f64,
    pub resident_mib_last: f64,
    pub resident_mib_most: f64,
    /// Of the straight line through the last two thirds of the samples.
    pub slope_kib_per_minute: f64,
    /// Along that line, over its time.
    pub growth_mib: f64,
    /// Growth that counts as noise.
    pub noise_mib: f64,
    /// Whether memory, threads and descriptors grow by noise at most.
    pub is_flat: bool,
    pub threads_most: u64,
    pub threads_growth: f64,
    pub threads_noise: f64,
    pub descriptors_first: u64,
    pub descriptors_last: u64,
    pub descriptors_most: u64,
    pub descriptors_growth: f64,
    pub descriptors_noise: f64,
}

impl Trend {
    /// `ticks` is how many samples the run has.
    pub(super) fn of(samples: &[Sample], ticks: usize) -> Self {
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
            return Self::default();
        };
        let fitted = &samples[samples.len() - (samples.len() as f64 * FITTED) as usize..];
        let memory = line(fitted, |it| it.usage.resident_bytes);
        let threads = line(fitted, |it| it.usage.threads);
        let descriptors = line(fitted, |it| it.usage.descriptors);
        let most = |of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap_or_default();
        let mebibytes = |sample: &Sample| sample.usage.resident_bytes as f64 / MEBIBYTE;
        let mut trend = Self {
            sampled: samples.len() as f64 / ticks as f64,
            most_processes: most(|it| it.processes),
            resident_mib_first: mebibytes(first),
            resident_mib_last: mebibytes(last),
            resident_mib_most: most(|it| it.usage.resident_bytes) as f64 / MEBIBYTE,
            slope_kib_per_minute: memory.slope * 60.0 / 1024.0,
            growth_mib: memory.growth / MEBIBYTE,
            noise_mib: (NOISE_DEVIATIONS * memory.deviation + NOISE_BYTES) / MEBIBYTE,
            is_flat: false,
            threads_most: most(|it| it.usage.threads),
            threads_growth: threads.growth,
            threads_noise: threads.noise_of_a_count(),
            descriptors_first: first.usage.descriptors,
            descriptors_last: last.usage.descriptors,
            descriptors_most: most(|it| it.usage.descriptors),
            descriptors_growth: descriptors.growth,
            descriptors_noise: descriptors.noise_of_a_count(),
        };
        trend.is_flat = trend.growing().is_empty();
        trend
    }

    /// Returns what is wrong with a service that should run all the time and not grow.
    pub(super) fn findings(&self, service: &str) -> Vec<String> {
        let share = self.sampled;
        let missing = (share < SAMPLED).then(|| {
            format!("{service}: samples for {share:.3} of the run, must be {SAMPLED} at least")
        });
        let growing = self.growing().into_iter().map(|(what, growth, noise)| {
            format!(
                "{service}: grows by {growth:.2} {what} in the last two thirds, must be {noise:.2} at most"
            )
        });
        missing.into_iter().chain(growing).collect()
    }

    /// Returns what grows by more than noise: its name, growth and noise.
    fn growing(&self) -> Vec<(&'static str, f64, f64)> {
        let mut growths = vec![
            ("MiB", self.growth_mib, self.noise_mib),
            ("threads", self.threads_growth, self.threads_noise),
            (
                "descriptors",
                self.descriptors_growth,
                self.descriptors_noise,
            ),
        ];
        growths.retain(|(_, growth, noise)| growth > noise);
        growths
    }
}

/// The least-squares line through a value of samples.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// A second.
    slope: f64,
    /// Over the time of the samples.
    growth: f64,
    mean: f64,
    /// Standard deviation of the samples around the line.
    deviation: f64,
}

impl Line {
    fn noise_of_a_count(&self) -> f64 {
        NOISE_DEVIATIONS * self.deviation + NOISE_SHARE * self.mean + NOISE_COUNT
    }
}

fn line(samples: &[Sample], value: fn(&Sample) -> u64) -> Line {
    let points: Vec<_> = samples
        .iter()
        .map(|sample| (sample.at, value(sample) as f64))
        .collect();
    // Of no points there is no growth.
    let count = points.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let variance: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let slope = if variance > 0.0 {
        covariance / variance
    } else {
        0.0
    };
    let squares = points
        .iter()
        .map(|point| (point.1 - y - slope * (point.0 - x)).powi(2));
    let deviation = (squares.sum::<f64>() / count).sqrt();
    let ends = points.last().zip(points.first());
    Line {
        slope,
        growth: slope * ends.map_or(0.0, |(last, first)| last.0 - first.0),
        mean: y,
        deviation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKS: u32 = 1_800;

    fn trend(usage: impl Fn(f64) -> Usage) -> Trend {
        let of = |second: u32| Sample {
            at: f64::from(second),
            processes: 1,
            usage: usage(f64::from(second)),
        };
        let samples: Vec<_> = (0..TICKS).map(of).collect();
        Trend::of(&samples, samples.len())
    }

    fn memory(resident: impl Fn(f64) -> f64) -> Trend {
        trend(|at| Usage {
            resident_bytes: resident(at) as u64,
            ..Usage::default()
        })
    }

    #[test]
    fn a_leak_shows_and_a_start_that_settles_does_not() {
        let base = 50.0 * MEBIBYTE;
        // It takes memory in the first third only.
        assert!(memory(|at| base + at.min(500.0) * 20_000.0).is_flat);
        // Up and down by 5 MiB.
        assert!(memory(|at| base + (at % 60.0) / 12.0 * MEBIBYTE).is_flat);
        // A hundred bytes for each of 20 requests a second.
        let leak = memory(|at| base + at * 2_000.0);
        assert!(!leak.is_flat, "{leak:?}");
        assert!((leak.slope_kib_per_minute - 117.2).abs() < 1.0, "{leak:?}");
        assert!(leak.findings("front")[0].starts_with("front: grows by 2.29 MiB"));
    }

    #[test]
    fn a_leak_of_descriptors_or_threads_shows_and_pools_do_not() {
        // 40 descriptors, of which 20 come and go; one thread more at half time.
        let pools = trend(|at| Usage {
            descriptors: 40 + (at % 90.0 / 4.5) as u64,
            threads: 4 + (at / 900.0) as u64,
            ..Usage::default()
        });
        assert!(pools.is_flat, "{pools:?}");
        assert!(pools.findings("front").is_empty());
        // One a minute.
        let descriptors = trend(|at| Usage {
            descriptors: 40 + (at / 60.0) as u64,
            ..Usage::default()
        });
        let threads = trend(|at| Usage {
            threads: 4 + (at / 60.0) as u64,
            ..Usage::default()
        });
        for (what, leak) in [("descriptors", descriptors), ("threads", threads)] {
            let findings = leak.findings("front");
            assert!(!leak.is_flat && findings.len() == 1, "{leak:?}");
            assert!(findings[0].contains(what), "{findings:?}");
        }
    }
}
