//! Numbers of running workers over time.

use std::time::Duration;

use serde::Serialize;

use super::seconds;

/// Changes of the number of running workers. Times are durations since the first request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timeline {
    points: Vec<TimelinePoint>,
}

/// The number of running workers from this time on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TimelinePoint {
    pub t_s: f64,
    pub running: usize,
}

impl Timeline {
    /// Adds a sample. Only changes are kept.
    pub fn record(&mut self, now: Duration, running: usize) {
        if self
            .points
            .last()
            .is_none_or(|last| last.running != running)
        {
            self.points.push(TimelinePoint {
                t_s: seconds(now),
                running,
            });
        }
    }

    #[must_use]
    pub fn points(&self) -> &[TimelinePoint] {
        &self.points
    }

    /// Returns the most workers that ran at once.
    #[must_use]
    pub fn most(&self) -> usize {
        self.points
            .iter()
            .map(|point| point.running)
            .max()
            .unwrap_or(0)
    }

    /// Returns when `count` workers ran for the first time, in seconds.
    #[must_use]
    pub fn reached_s(&self, count: usize) -> Option<f64> {
        self.points
            .iter()
            .find(|point| point.running >= count)
            .map(|point| point.t_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_kept() {
        let mut timeline = Timeline::default();
        for (millisecond, running) in [
            (0, 0),
            (150, 0),
            (300, 4),
            (450, 15),
            (600, 15),
            (750, 3),
            (900, 0),
        ] {
            timeline.record(Duration::from_millis(millisecond), running);
        }
        let points: Vec<_> = timeline
            .points()
            .iter()
            .map(|point| (point.t_s, point.running))
            .collect();
        assert_eq!(
            points,
            [(0.0, 0), (0.3, 4), (0.45, 15), (0.75, 3), (0.9, 0)]
        );
        assert_eq!(timeline.most(), 15);
        assert_eq!(
            (timeline.reached_s(1), timeline.reached_s(15)),
            (Some(0.3), Some(0.45))
        );
        assert_eq!(timeline.reached_s(16), None);
    }
}
