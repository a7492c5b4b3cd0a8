//! The arrivals on which policies are compared.

mod recorded;
#[cfg(test)]
mod tests;

use std::f64::consts::TAU;

use crate::Micros;
use crate::random::{Random, Stream};

const DAY: f64 = 86_400.0;
/// The highest rate of the traces that follow a curve: with the mean service time of 0.3 s it keeps 12 workers busy.
const PEAK: f64 = 40.0;

/// The traces by name, with their parameters. A load step is a change of the mean rate.
///
/// | name | arrivals | seconds | load steps |
/// |---|---|---|---|
/// | `step` | 100 at once after 5 s of nothing | 120 | 1 |
/// | `ramp` | Poisson, up from 0 to 40/s in 600 s, 300 s there, down to 0 in 600 s | 1,500 | 2 |
/// | `diurnal` | Poisson, 2/s at midnight to 40/s at noon along a sine | 86,400 | 2 |
/// | `flash-crowd` | Poisson, 4/s; ten times as many for 600 s | 1,800 | 2 |
/// | `on-off` | Poisson, 40/s for 120 s, then nothing for 180 s; 6 times | 1,800 | 12 |
/// | `heavy-tailed` | bursts of Pareto size (at least 10, exponent 1.5, at most 600) and Pareto distance (at least 15 s, exponent 1.5, at most 600 s), 40/s within a burst | 3,600 | 2 for each burst |
pub const NAMES: [&str; 6] = [
    "step",
    "ramp",
    "diurnal",
    "flash-crowd",
    "on-off",
    "heavy-tailed",
];

/// When requests arrive.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    pub name: String,
    /// In seconds; arrivals end before.
    pub length: f64,
    /// How often the mean rate changes, at least 1.
    pub load_steps: u64,
    shape: Shape,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    /// At these times.
    Given(Vec<Micros>),
    /// A Poisson process whose rate changes.
    Poisson(Curve),
}

/// Requests a second over time.
#[derive(Debug, Clone, PartialEq)]
enum Curve {
    /// A sine over a day with this mean, lowest at midnight, by this share of the mean.
    Daily { mean: f64, swing: f64 },
    /// Straight lines between points of seconds and rate.
    Through(Vec<(f64, f64)>),
}

impl Trace {
    /// Returns a trace of [`NAMES`]; absent for another name.
    pub fn named(name: &str, seed: u64) -> Option<Self> {
        let poisson = |length, load_steps, curve| Self {
            name: name.to_owned(),
            length,
            load_steps,
            shape: Shape::Poisson(curve),
        };
        let plateaus = |levels: &[(f64, f64)]| {
            let mut points = Vec::new();
            let mut begin = 0.0;
            for (seconds, rate) in levels {
                points.extend([(begin, *rate), (begin + seconds, *rate)]);
                begin += seconds;
            }
            (begin, Curve::Through(points))
        };
        Some(match name {
            "step" => Self::given(name, vec![5_000_000; 100], 120.0, 1),
            "ramp" => {
                let points = vec![(0.0, 0.0), (600.0, PEAK), (900.0, PEAK), (1_500.0, 0.0)];
                poisson(1_500.0, 2, Curve::Through(points))
            }
            "diurnal" => {
                let (mean, swing) = (21.0, 19.0 / 21.0);
                poisson(DAY, 2, Curve::Daily { mean, swing })
            }
            "flash-crowd" => {
                let base = PEAK / 10.0;
                let (length, curve) = plateaus(&[(600.0, base), (600.0, PEAK), (600.0, base)]);
                poisson(length, 2, curve)
            }
            "on-off" => {
                let (length, curve) = plateaus(&[(120.0, PEAK), (180.0, 0.0)].repeat(6));
                poisson(length, 12, curve)
            }
            "heavy-tailed" => bursts(name, seed),
            _ => return None,
        })
    }

    /// Returns a day of a large fleet: 1,850 requests a second at noon, 100 million in all.
    pub fn large_day() -> Self {
        let (mean, swing) = (1_158.0, 0.6);
        Self {
            name: "day".to_owned(),
            length: DAY,
            load_steps: 2,
            shape: Shape::Poisson(Curve::Daily { mean, swing }),
        }
    }

    /// Returns a trace of these arrivals, which are in order.
    pub fn given(name: &str, arrivals: Vec<Micros>, length: f64, load_steps: u64) -> Self {
        Self {
            name: name.to_owned(),
            length,
            load_steps: load_steps.max(1),
            shape: Shape::Given(arrivals),
        }
    }

    /// Returns the times of all arrivals, in order.
    pub fn arrivals(&self, seed: u64) -> Box<dyn Iterator<Item = Micros> + '_> {
        match &self.shape {
            Shape::Given(times) => Box::new(times.iter().copied()),
            Shape::Poisson(curve) => Box::new(poisson(
                curve,
                self.length,
                Random::new(seed, Stream::Arrivals),
            )),
        }
    }
}

impl Curve {
    fn rate(&self, at: f64) -> f64 {
        match self {
            Self::Daily { mean, swing } => mean * (1.0 - swing * (TAU * at / DAY).cos()),
            Self::Through(points) => {
                let after = points
                    .partition_point(|(time, _)| *time <= at)
                    .clamp(1, points.len() - 1);
                let ((left, low), (right, high)) = (points[after - 1], points[after]);
                if right > left {
                    low + (high - low) * ((at - left) / (right - left)).clamp(0.0, 1.0)
                } else {
                    high
                }
            }
        }
    }

    fn highest(&self) -> f64 {
        match self {
            Self::Daily { mean, swing } => mean * (1.0 + swing),
            Self::Through(points) => points.iter().map(|(_, rate)| *rate).fold(0.0, f64::max),
        }
    }
}

/// The rate of a curve is looked up this often, in seconds: it changes little in between, and a cosine for each request
/// would be a tenth of the simulation.
const LOOK_UP_EVERY: f64 = 0.1;

/// By thinning a process of the highest rate: Lewis and Shedler, "Simulation of nonhomogeneous Poisson processes by
/// thinning", 1979.
fn poisson(curve: &Curve, length: f64, mut random: Random) -> impl Iterator<Item = Micros> {
    let highest = curve.highest();
    let (mut now, mut rate, mut until) = (0.0, 0.0, 0.0);
    std::iter::from_fn(move || {
        loop {
            now += random.exponential() / highest;
            if now >= length {
                return None;
            }
            if now >= until {
                let begin = (now / LOOK_UP_EVERY).floor() * LOOK_UP_EVERY;
                rate = curve.rate(begin + LOOK_UP_EVERY / 2.0);
                until = begin + LOOK_UP_EVERY;
            }
            if random.unit() * highest < rate {
                return Some((now * 1e6) as Micros);
            }
        }
    })
}

fn bursts(name: &str, seed: u64) -> Trace {
    const LENGTH: f64 = 3_600.0;
    const SHAPE: f64 = 1.5;
    let mut random = Random::new(seed, Stream::Arrivals);
    let (mut arrivals, mut bursts, mut now) = (Vec::new(), 0, 0.0);
    loop {
        now += random.pareto(15.0, SHAPE).min(600.0);
        let size = random.pareto(10.0, SHAPE).min(600.0) as u64;
        for _ in 0..size {
            now += random.exponential() / PEAK;
            arrivals.push((now * 1e6) as Micros);
        }
        if now >= LENGTH {
            break;
        }
        bursts += 1;
    }
    arrivals.retain(|at| *at < (LENGTH * 1e6) as Micros);
    Trace::given(name, arrivals, LENGTH, 2 * bursts)
}
