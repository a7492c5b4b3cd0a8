//! When the requests of an open loop are due. Pure: times are durations since the run began.
//!
//! A process gives arrivals at one a time unit. They are spread by the inverse of the integral of the rate, so that a ramp
//! works alike for all processes: Çinlar, "Introduction to Stochastic Processes", 1975, chapter 4.7.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::Exp1;

/// The rate over time, and how requests arrive at it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Requests a second after the ramp, more than 0.
    pub rate: f64,
    /// How long the rate rises from 0, in a straight line.
    pub ramp: Duration,
    pub process: Process,
    /// Equal seeds give equal arrivals.
    pub seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Equal distances.
    Constant,
    /// Independent users: exponential distances.
    Poisson,
    /// This many requests at once, at the times of a Poisson process. The mean rate is the load's.
    Bursts { size: u32 },
}

impl Load {
    /// Returns the times at which requests are due, in order, without end.
    pub fn arrivals(self) -> impl Iterator<Item = Duration> + Send + 'static {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let mut expected = 0.0;
        let mut left_of_burst = 0;
        let mut is_first = true;
        std::iter::from_fn(move || {
            if left_of_burst > 0 {
                left_of_burst -= 1;
            } else {
                expected += match self.process {
                    Process::Constant if is_first => 0.0,
                    Process::Constant => 1.0,
                    Process::Poisson => random.sample::<f64, _>(Exp1),
                    Process::Bursts { size } => {
                        left_of_burst = size.saturating_sub(1);
                        random.sample::<f64, _>(Exp1) * f64::from(size)
                    }
                };
                is_first = false;
            }
            Some(self.time_of(expected))
        })
    }

    /// Returns the time until which this many arrivals are expected.
    fn time_of(&self, expected: f64) -> Duration {
        let ramp = self.ramp.as_secs_f64();
        let within_ramp = self.rate * ramp / 2.0;
        let seconds = if expected < within_ramp {
            (2.0 * ramp * expected / self.rate).sqrt()
        } else {
            ramp + (expected - within_ramp) / self.rate
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(rate: f64, ramp: u64, process: Process) -> Load {
        Load {
            rate,
            ramp: Duration::from_secs(ramp),
            process,
            seed: 7,
        }
    }

    fn until(load: Load, seconds: u64) -> Vec<Duration> {
        let end = Duration::from_secs(seconds);
        load.arrivals().take_while(|time| *time < end).collect()
    }

    #[test]
    fn constant_arrivals_have_equal_distances() {
        let times = until(load(4.0, 0, Process::Constant), 2);
        let expected: Vec<_> = (0..8).map(|at| Duration::from_millis(at * 250)).collect();
        assert_eq!(times, expected);
    }

    #[test]
    fn a_ramp_rises_from_zero_in_a_straight_line() {
        let times = until(load(100.0, 10, Process::Constant), 20);
        let within = |from: f64, to: f64| {
            let within = times.iter().map(Duration::as_secs_f64);
            within.filter(|time| (from..to).contains(time)).count()
        };
        // The integral of 10 t is 5 t².
        assert_eq!(within(0.0, 2.0), 20);
        assert_eq!(within(0.0, 5.0), 125);
        assert_eq!(within(0.0, 10.0), 500);
        assert_eq!(within(10.0, 20.0), 1000);
    }

    #[test]
    fn poisson_arrivals_have_the_mean_and_the_spread_of_independent_users() {
        let times = until(load(50.0, 0, Process::Poisson), 2_000);
        let mean = times.len() as f64 / 2_000.0;
        assert!((49.0..51.0).contains(&mean), "{mean}");
        let distances: Vec<f64> = times
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64())
            .collect();
        // A constant rate would have none below half of the mean distance.
        let short = distances.iter().filter(|it| **it < 0.01).count() as f64;
        let share = short / distances.len() as f64;
        assert!((share - (1.0 - (-0.5_f64).exp())).abs() < 0.01, "{share}");
    }

    #[test]
    fn bursts_come_at_once_and_keep_the_mean_rate() {
        let times = until(load(50.0, 0, Process::Bursts { size: 10 }), 4_000);
        let mean = times.len() as f64 / 4_000.0;
        assert!((48.0..52.0).contains(&mean), "{mean}");
        for burst in times.chunks_exact(10) {
            assert!(burst.iter().all(|time| *time == burst[0]), "{burst:?}");
        }
    }

    #[test]
    fn arrivals_are_in_order_and_depend_on_the_seed_alone() {
        for process in [
            Process::Constant,
            Process::Poisson,
            Process::Bursts { size: 3 },
        ] {
            let ramped = load(20.0, 5, process);
            let times = until(ramped, 60);
            assert!(times.is_sorted());
            assert_eq!(times, until(ramped, 60));
            let other = Load { seed: 8, ..ramped };
            assert_eq!(times == until(other, 60), process == Process::Constant);
        }
    }
}
