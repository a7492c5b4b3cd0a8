//! Verification: are two faces of one person, for every pair and every threshold.

use serde::Serialize;

use super::face::{LabeledFace, distance};
use crate::model::bundle::Distance;

const FALSE_ACCEPT_RATES: [f64; 2] = [1e-2, 1e-3];

/// A pair is accepted if its distance is at most the threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// Pairs of two faces of one person.
    pub same_pairs: usize,
    /// Pairs of faces of two people.
    pub different_pairs: usize,
    pub best_accuracy: Accuracy,
    pub equal_error_rate: ErrorRate,
    pub accept_rates: Vec<AcceptRate>,
}

/// Share of all pairs that are judged correctly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accuracy {
    pub accuracy: f64,
    /// The smallest threshold that reaches it.
    pub distance: f32,
}

/// Where the false accept rate and the false reject rate are equal.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ErrorRate {
    /// The mean of both rates where they are closest.
    pub rate: f64,
    pub distance: f32,
}

/// Share of same pairs that are accepted (TAR) where at most a given share of different pairs is (FAR).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AcceptRate {
    pub false_accept_rate: f64,
    pub true_accept_rate: f64,
    /// The largest threshold that keeps the FAR.
    pub distance: f32,
}

/// Measures all pairs; `None` unless there are both pairs of one person and pairs of two.
pub(super) fn verification(faces: &[LabeledFace], measure: Distance) -> Option<Verification> {
    let sweep = Sweep::of(pairs(faces, measure));
    if sweep.same_pairs == 0 || sweep.different_pairs == 0 {
        return None;
    }
    Some(Verification {
        same_pairs: sweep.same_pairs,
        different_pairs: sweep.different_pairs,
        best_accuracy: sweep.best_accuracy(),
        equal_error_rate: sweep.equal_error_rate(),
        accept_rates: FALSE_ACCEPT_RATES
            .map(|rate| sweep.accept_rate(rate))
            .to_vec(),
    })
}

struct Pair {
    distance: f32,
    is_same: bool,
}

fn pairs(faces: &[LabeledFace], measure: Distance) -> Vec<Pair> {
    let pair = |face: &LabeledFace, other: &LabeledFace| Pair {
        distance: measure.of_euclidean(distance(face, other)),
        is_same: face.name == other.name,
    };
    let with_later = |(index, face)| {
        faces[index + 1..]
            .iter()
            .map(move |other| pair(face, other))
    };
    faces.iter().enumerate().flat_map(with_later).collect()
}

/// The pairs that each threshold accepts, from none to all.
struct Sweep {
    points: Vec<OperatingPoint>,
    same_pairs: usize,
    different_pairs: usize,
}

#[derive(Clone, Copy, Default)]
struct OperatingPoint {
    distance: f32,
    same_accepted: usize,
    different_accepted: usize,
}

impl Sweep {
    fn of(mut pairs: Vec<Pair>) -> Self {
        pairs.sort_by(|a, b| a.distance.total_cmp(&b.distance));
        let mut point = OperatingPoint::default();
        let mut points = vec![point];
        // No threshold separates pairs of one distance.
        for equals in pairs.chunk_by(|a, b| a.distance == b.distance) {
            let same = equals.iter().filter(|pair| pair.is_same).count();
            point.distance = equals[0].distance;
            point.same_accepted += same;
            point.different_accepted += equals.len() - same;
            points.push(point);
        }
        Self {
            points,
            same_pairs: point.same_accepted,
            different_pairs: point.different_accepted,
        }
    }

    fn best_accuracy(&self) -> Accuracy {
        let correct = |point: &OperatingPoint| {
            point.same_accepted + self.different_pairs - point.different_accepted
        };
        // `max_by_key` keeps the last of equals.
        let best = self.points.iter().rev().max_by_key(|point| correct(point));
        let best = best.copied().unwrap_or_default();
        Accuracy {
            accuracy: correct(&best) as f64 / (self.same_pairs + self.different_pairs) as f64,
            distance: best.distance,
        }
    }

    fn equal_error_rate(&self) -> ErrorRate {
        let gap = |point: &&OperatingPoint| {
            (self.false_accept_rate(point) - self.false_reject_rate(point)).abs()
        };
        let closest = self
            .points
            .iter()
            .min_by(|a, b| gap(a).total_cmp(&gap(b)))
            .copied()
            .unwrap_or_default();
        ErrorRate {
            rate: (self.false_accept_rate(&closest) + self.false_reject_rate(&closest)) / 2.0,
            distance: closest.distance,
        }
    }

    fn accept_rate(&self, false_accept_rate: f64) -> AcceptRate {
        let within = |point: &&OperatingPoint| self.false_accept_rate(point) <= false_accept_rate;
        let last = self.points.iter().take_while(within).last();
        let last = last.copied().unwrap_or_default();
        AcceptRate {
            false_accept_rate,
            true_accept_rate: 1.0 - self.false_reject_rate(&last),
            distance: last.distance,
        }
    }

    fn false_accept_rate(&self, point: &OperatingPoint) -> f64 {
        point.different_accepted as f64 / self.different_pairs as f64
    }

    fn false_reject_rate(&self, point: &OperatingPoint) -> f64 {
        1.0 - point.same_accepted as f64 / self.same_pairs as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::faces;
    use super::*;

    #[test]
    fn people_far_apart_are_verified_without_error() {
        let apart = faces(&[
            ("ann", "", 0.0),
            ("ann", "", 0.25),
            ("bob", "", 8.0),
            ("bob", "", 8.5),
        ]);
        let found = verification(&apart, Distance::Euclidean).expect("it has both kinds of pairs");
        assert_eq!((found.same_pairs, found.different_pairs), (2, 4));
        let perfect = Accuracy {
            accuracy: 1.0,
            distance: 0.5,
        };
        assert_eq!(found.best_accuracy, perfect);
        assert_eq!(
            found.equal_error_rate,
            ErrorRate {
                rate: 0.0,
                distance: 0.5
            }
        );
        for rate in found.accept_rates {
            assert_eq!((rate.true_accept_rate, rate.distance), (1.0, 0.5));
        }
    }

    /// Same pairs at 1, 2, 4 and 6, different ones at 3, 5, 7 and 8.
    fn overlapping() -> Sweep {
        let pair = |distance: u8| Pair {
            distance: f32::from(distance),
            is_same: [1, 2, 4, 6].contains(&distance),
        };
        Sweep::of((1..=8).rev().map(pair).collect())
    }

    #[test]
    fn the_smallest_of_the_best_thresholds_is_named() {
        // 2, 4 and 6 all judge six of eight correctly.
        let best = overlapping().best_accuracy();
        assert_eq!((best.accuracy, best.distance), (0.75, 2.0));
    }

    #[test]
    fn the_equal_error_rate_is_where_both_errors_meet() {
        let found = overlapping().equal_error_rate();
        assert_eq!((found.rate, found.distance), (0.25, 4.0));
    }

    #[test]
    fn the_accept_rate_is_that_of_the_largest_threshold_within_the_false_accept_rate() {
        let sweep = overlapping();
        let at = |rate| {
            let found = sweep.accept_rate(rate);
            (found.true_accept_rate, found.distance)
        };
        assert_eq!(at(0.0), (0.5, 2.0));
        assert_eq!(at(0.24), (0.5, 2.0));
        assert_eq!(at(0.25), (0.75, 4.0));
        assert_eq!(at(1.0), (1.0, 8.0));
    }

    #[test]
    fn pairs_of_one_distance_are_accepted_together() {
        let pair = |is_same| Pair {
            distance: 1.0,
            is_same,
        };
        let sweep = Sweep::of(vec![pair(true), pair(false)]);
        assert_eq!(sweep.accept_rate(0.01).true_accept_rate, 0.0);
        assert_eq!(sweep.best_accuracy().accuracy, 0.5);
    }

    #[test]
    fn one_kind_of_pairs_verifies_nothing() {
        assert_eq!(
            verification(
                &faces(&[("ann", "", 0.0), ("ann", "", 1.0)]),
                Distance::Euclidean
            ),
            None
        );
        assert_eq!(
            verification(
                &faces(&[("ann", "", 0.0), ("bob", "", 1.0)]),
                Distance::Euclidean
            ),
            None
        );
    }
}
