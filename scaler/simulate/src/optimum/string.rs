//! The shortest path between two staircases.

use crate::Micros;

/// Bounds on how many requests are served by each point of a grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Tube {
    /// Seconds from one point of the grid to the next.
    pub step: f64,
    /// The lower bound at each point; begins with 0.
    pub least: Vec<f64>,
    /// The upper bound at each point; ends with the same value as `least`.
    pub most: Vec<f64>,
}

impl Tube {
    /// Returns the bounds for arrivals that are answered within `latency` seconds, counted every `step` seconds.
    pub fn of(arrivals: &[Micros], latency: f64, step: f64) -> Self {
        let span = arrivals.last().map_or(0.0, |last| *last as f64 / 1e6) + latency;
        let points = (span / step).ceil() as usize + 2;
        let counts = |delay: f64| {
            let mut arrived = 0;
            (0..points)
                .map(|point| {
                    let until = (point as f64 * step - delay) * 1e6;
                    while arrivals.get(arrived).is_some_and(|at| *at as f64 <= until) {
                        arrived += 1;
                    }
                    arrived as f64
                })
                .collect::<Vec<_>>()
        };
        let (most, mut least) = (counts(0.0), counts(latency));
        if let Some(last) = least.last_mut() {
            *last = arrivals.len() as f64;
        }
        Self { step, least, most }
    }

    /// Returns the corners of the shortest path from 0 to all requests, as seconds and requests.
    ///
    /// The funnel algorithm: from the last fixed corner, the two chains are the tightest paths along the lower and the
    /// upper bound; a corner is fixed once they would cross.
    pub fn string(&self) -> Vec<(f64, f64)> {
        let points = self.least.len();
        let mut corners = vec![(0.0, 0.0)];
        let mut apex = (0.0, 0.0);
        let (mut lower, mut upper) = (Chain::default(), Chain::default());
        for point in 1..points {
            let at = point as f64;
            let low = (at, self.least[point]);
            // The tube ends in one point.
            let high = if point + 1 == points {
                low
            } else {
                (at, self.most[point])
            };
            lower.add(apex, low, |new, old| new >= old);
            upper.add(apex, high, |new, old| new <= old);
            // The chains cross at the apex: the path bends around the earlier one.
            while let (Some(&below), Some(&above)) = (lower.first(), upper.first()) {
                if slope(apex, below) <= slope(apex, above) {
                    break;
                }
                let bends_below = below.0 < above.0;
                apex = if bends_below {
                    lower.take_first()
                } else {
                    upper.take_first()
                };
                corners.push(apex);
            }
        }
        let rest = lower.points.split_off(lower.begin);
        corners.extend(rest);
        corners
            .into_iter()
            .map(|(point, count)| (point * self.step, count))
            .collect()
    }
}

/// The corners of a tight path from the apex, which is not among them.
#[derive(Debug, Default)]
struct Chain {
    points: Vec<(f64, f64)>,
    begin: usize,
}

impl Chain {
    fn first(&self) -> Option<&(f64, f64)> {
        self.points.get(self.begin)
    }

    /// Removes the first point, which becomes the apex.
    fn take_first(&mut self) -> (f64, f64) {
        self.begin += 1;
        self.points[self.begin - 1]
    }

    /// Adds a point, and removes those before it that it slackens. `slackens` compares the slopes to it and to them.
    fn add(&mut self, apex: (f64, f64), new: (f64, f64), slackens: impl Fn(f64, f64) -> bool) {
        while self.points.len() > self.begin {
            let last = self.points[self.points.len() - 1];
            let before = if self.points.len() - 1 > self.begin {
                self.points[self.points.len() - 2]
            } else {
                apex
            };
            if !slackens(slope(before, new), slope(before, last)) {
                break;
            }
            self.points.pop();
        }
        self.points.push(new);
    }
}

fn slope(from: (f64, f64), to: (f64, f64)) -> f64 {
    (to.1 - from.1) / (to.0 - from.0)
}
