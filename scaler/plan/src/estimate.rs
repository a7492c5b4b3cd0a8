//! Measured and smoothed: service times, boot times and arrival rates.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{InstanceId, Observation, State, Targets, Timestamp};

/// The share of a new sample in a smoothed value, as for round-trip times in RFC 6298.
const GAIN: f64 = 0.125;
const SPREAD_GAIN: f64 = 0.25;
/// One sample of the service time averages over this period, or this many replies.
const SERVICE_PERIOD: Duration = Duration::from_secs(1);
const SERVICE_ANSWERS: u64 = 50;
/// How long arrivals are remembered, and at which resolution.
const ARRIVALS_KEPT: Duration = Duration::from_secs(250);
const ARRIVALS_EVERY: Duration = Duration::from_millis(500);
/// Front reports a change within this time. So arrivals after a longer silence came at its end.
const REPORTED_WITHIN: Duration = Duration::from_millis(100);
/// A rate is measured over this many arrivals, within the bounds of the window.
const ARRIVALS_FOR_A_RATE: u64 = 1_000;
const SHORTEST_RATE_WINDOW: Duration = Duration::from_secs(5);
/// A rate is no higher than this multiple of the median rate within its window.
const STEADY: f64 = 1.3;
const LONGEST_RATE_WINDOW: Duration = Duration::from_secs(120);

/// A measured duration in seconds and its mean deviation, both smoothed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Smoothed {
    pub mean: f64,
    pub spread: f64,
    /// 0 while the value is only assumed.
    pub samples: u64,
    /// How many of the samples a former scaler took.
    #[serde(default)]
    pub learned: u64,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Assumed,
    /// A former scaler measured it, and this one has no sample yet.
    Learned,
    Measured,
}

/// Everything that is measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Estimates {
    /// How long a worker is occupied by one request, in seconds; absent before the first plan.
    pub service: Option<Smoothed>,
    /// From the call that starts an instance until its worker is ready, in seconds; absent before the first plan.
    pub boot: Option<Smoothed>,
    /// How long a worker is occupied by one frame of a clip, in seconds; absent until it is measured.
    pub frame: Option<Smoothed>,
    arrivals: Arrivals,
    work: Work,
    frame_work: Work,
    /// Started instances whose worker was not ready in the last observation.
    booting: HashMap<InstanceId, Timestamp>,
    /// When the last observation was made.
    noted_at: Option<Timestamp>,
}

/// The number of accepted requests over time, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Arrivals {
    seen: VecDeque<(Timestamp, u64)>,
}

/// Worker time and replies since the last sample of the service time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Work {
    since: Option<(Timestamp, u64)>,
    last: Option<(Timestamp, f64)>,
    worker_seconds: f64,
}

/// Requests a second, and how fast that changes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate {
    pub per_second: f64,
    /// Change of the rate in a second; 0 unless it is statistically significant.
    pub trend: f64,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Assumed => "assumed",
            Self::Learned => "learned before",
            Self::Measured => "measured",
        })
    }
}

impl std::fmt::Display for Smoothed {
    /// Formats the mean and its source.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let source = self.source();
        if self.mean < 0.9995 {
            write!(f, "{:.0} ms ({source})", self.mean * 1_000.0)
        } else {
            write!(f, "{:.1} s ({source})", self.mean)
        }
    }
}

impl Smoothed {
    /// Returns a value that is assumed until it is measured.
    #[must_use]
    pub fn assumed(duration: Duration) -> Self {
        let mean = duration.as_secs_f64();
        Self {
            mean,
            spread: mean / 2.0,
            samples: 0,
            learned: 0,
        }
    }

    /// Returns a value that a former scaler measured, as this one begins with it.
    #[must_use]
    pub fn learned_before(self) -> Self {
        let samples = self.samples.max(1);
        Self {
            samples,
            learned: samples,
            ..self
        }
    }

    /// How many samples this scaler took itself.
    #[must_use]
    pub fn measured(&self) -> u64 {
        self.samples.saturating_sub(self.learned)
    }

    #[must_use]
    pub fn source(&self) -> Source {
        match (self.samples, self.measured()) {
            (0, _) => Source::Assumed,
            (_, 0) => Source::Learned,
            _ => Source::Measured,
        }
    }

    /// Takes a sample, in seconds. The first one replaces the assumption. What was learned before counts as one sample: the
    /// first new one makes up half of the value, and after seven an eighth of it is old.
    pub fn add(&mut self, sample: f64) {
        if self.samples == 0 {
            (self.mean, self.spread) = (sample, sample / 2.0);
        } else {
            let share = match self.learned {
                0 => 0.0,
                _ => 1.0 / (self.measured() as f64 + 2.0),
            };
            let deviation = (sample - self.mean).abs();
            self.spread += SPREAD_GAIN.max(share) * (deviation - self.spread);
            self.mean += GAIN.max(share) * (sample - self.mean);
        }
        self.samples = self.samples.saturating_add(1);
    }

    /// Begins with what was learned, unless this scaler has measured it.
    fn begin(estimate: &mut Option<Self>, learned: Option<Self>) {
        let is_measured = estimate.is_some_and(|it| it.measured() > 0);
        if let Some(learned) = learned.filter(|_| !is_measured) {
            *estimate = Some(learned.learned_before());
        }
    }
}

impl Estimates {
    /// Takes in an observation. Instances that started before `watching_since` do not count as boots.
    pub(crate) fn note(
        &mut self,
        targets: &Targets,
        observation: &Observation,
        watching_since: Timestamp,
    ) {
        let learned = &observation.learned;
        Smoothed::begin(&mut self.service, learned.service);
        Smoothed::begin(&mut self.boot, learned.boot);
        Smoothed::begin(&mut self.frame, learned.frame);
        self.service
            .get_or_insert_with(|| Smoothed::assumed(targets.service_time));
        self.boot
            .get_or_insert_with(|| Smoothed::assumed(targets.boot_time));
        self.note_boots(observation, watching_since);
        if let Some(front) = observation.front {
            self.arrivals.note(front.at, front.value.accepted_total);
        }
        self.note_work(observation);
    }

    /// Returns the rate of arrivals at `now`.
    #[must_use]
    pub fn arrivals(&self, now: Timestamp) -> Rate {
        self.arrivals.rate(now)
    }

    /// The measured service time, or the assumed one before the first plan, in seconds.
    pub(crate) fn service_seconds(&self, targets: &Targets) -> f64 {
        self.service
            .map_or(targets.service_time.as_secs_f64(), |service| service.mean)
    }

    /// The measured time of a frame of a clip, in seconds; that of a photo until it is measured.
    pub(crate) fn frame_seconds(&self, targets: &Targets) -> f64 {
        let measured = self.frame.map(|frame| frame.mean);
        measured.unwrap_or_else(|| self.service_seconds(targets))
    }

    fn note_boots(&mut self, observation: &Observation, watching_since: Timestamp) {
        let noted_at = self.noted_at.replace(observation.now);
        let mut followed = 0;
        for instance in &observation.instances {
            match instance.state {
                State::Pending | State::Booting => {
                    if let Some(started_at) = instance.started_at
                        && started_at >= watching_since
                    {
                        followed += 1;
                        if !self.booting.contains_key(&instance.id) {
                            self.booting.insert(instance.id.clone(), started_at);
                        }
                    }
                }
                State::Idle | State::Busy => {
                    // It may have booted between two observations.
                    let unseen = instance
                        .started_at
                        .filter(|at| noted_at.is_some_and(|noted| *at >= noted));
                    let followed = (!self.booting.is_empty())
                        .then(|| self.booting.remove(&instance.id))
                        .flatten();
                    if let Some(started_at) = followed.or(unseen)
                        && let Some(boot) = &mut self.boot
                    {
                        boot.add(instance.since.since(started_at).as_secs_f64());
                    }
                }
                _ if self.booting.is_empty() => {}
                State::Draining | State::Cordoned | State::Stopped | State::Stopping => {
                    self.booting.remove(&instance.id);
                }
            }
        }
        if self.booting.len() > followed {
            // Some no longer exist.
            let there: HashSet<_> = observation.instances.iter().map(|it| &it.id).collect();
            self.booting.retain(|id, _| there.contains(id));
        }
    }

    /// Worker time over replies is the time that one request occupies a worker (Little's law). As many requests are in
    /// progress as there are ready workers.
    fn note_work(&mut self, observation: &Observation) {
        let Some(front) = observation.front else {
            (self.work, self.frame_work) = (Work::default(), Work::default());
            return;
        };
        let ready = observation
            .instances
            .iter()
            .filter(|it| matches!(it.state, State::Idle | State::Busy | State::Draining))
            .count() as f64;
        let (now, counts) = (observation.now, front.value);
        let serving = (counts.unanswered as f64).min(ready);
        if let Some(sample) = self.work.note(now, serving, counts.answered_total)
            && let Some(service) = &mut self.service
        {
            service.add(sample);
        }
        // Photos go first.
        let serving = (counts.waiting_frames as f64).min(ready - serving);
        if let Some(sample) = self.frame_work.note(now, serving, counts.frames_done_total) {
            let assumed = Smoothed {
                mean: sample,
                spread: 0.0,
                samples: 0,
                learned: 0,
            };
            self.frame.get_or_insert(assumed).add(sample);
        }
    }
}

impl Work {
    /// Takes how many workers are `serving`, and the total of their results. Returns a sample of the time of one, in
    /// seconds, when there are enough.
    fn note(&mut self, now: Timestamp, serving: f64, total: u64) -> Option<f64> {
        if let Some((at, serving)) = self.last {
            self.worker_seconds += serving * now.since(at).as_secs_f64();
        }
        self.last = Some((now, serving));
        let Some((since, before)) = self.since.filter(|(_, before)| *before <= total) else {
            (self.since, self.worker_seconds) = (Some((now, total)), 0.0);
            return None;
        };
        let results = total - before;
        let long_enough = now.since(since) >= SERVICE_PERIOD || results >= SERVICE_ANSWERS;
        if results == 0 || !long_enough {
            return None;
        }
        let worked = std::mem::take(&mut self.worker_seconds);
        self.since = Some((now, total));
        (worked > 0.0).then(|| worked / results as f64)
    }
}

impl Arrivals {
    fn note(&mut self, at: Timestamp, total: u64) {
        if self.seen.back().is_some_and(|(_, last)| *last > total) {
            // A restarted front counts from zero.
            self.seen.clear();
        }
        let count = self.seen.len();
        let before_last = count.checked_sub(2).map(|index| self.seen[index].0);
        match (self.seen.back_mut(), before_last) {
            (Some(last), Some(before)) if at.since(before) < ARRIVALS_EVERY => {
                *last = (at.max(last.0), total);
            }
            (Some(last), _) if at <= last.0 => last.1 = total,
            (Some(&mut (before, unchanged)), _) => {
                if total > unchanged && at.since(before) > ARRIVALS_EVERY {
                    self.seen.push_back((at.before(REPORTED_WITHIN), unchanged));
                }
                self.seen.push_back((at, total));
            }
            (None, _) => self.seen.push_back((at, total)),
        }
        while self.seen.len() > 2 && at.since(self.seen[1].0) > ARRIVALS_KEPT {
            self.seen.pop_front();
        }
    }

    /// The total at a time, interpolated.
    fn total_at(&self, moment: Timestamp) -> f64 {
        let after = self.seen.partition_point(|(at, _)| *at <= moment);
        let Some(&(left_at, left)) = after.checked_sub(1).and_then(|index| self.seen.get(index))
        else {
            return self.seen.front().map_or(0.0, |(_, total)| *total as f64);
        };
        let Some(&(right_at, right)) = self.seen.get(after) else {
            return left as f64;
        };
        let share = moment.since(left_at).as_secs_f64() / right_at.since(left_at).as_secs_f64();
        left as f64 + share * (right - left) as f64
    }

    fn rate(&self, now: Timestamp) -> Rate {
        let (Some(&(first_at, first)), Some(&(_, last))) = (self.seen.front(), self.seen.back())
        else {
            return Rate::default();
        };
        // The window begins where enough have arrived since.
        let enough = last.saturating_sub(ARRIVALS_FOR_A_RATE);
        let since = self.seen.partition_point(|(_, total)| *total <= enough);
        let since = since
            .checked_sub(1)
            .map_or(first_at, |index| self.seen[index].0);
        // Two windows have to have been seen.
        let longest = LONGEST_RATE_WINDOW.min(now.since(first_at) / 2);
        let window = now.since(since).min(longest).max(SHORTEST_RATE_WINDOW);
        let seconds = window.as_secs_f64();
        let (begin, middle) = (now.before(2 * window), now.before(window));
        let recent = last as f64 - self.total_at(middle);
        let per_second = recent / seconds;
        // A burst is no rate: most of the window has to have seen similar arrivals.
        let steady = STEADY * self.median_of_quarters(now, window);
        if begin < first_at || steady < per_second {
            return Rate {
                per_second: per_second.min(steady),
                trend: 0.0,
            };
        }
        let before = self.total_at(middle) - self.total_at(begin);
        let difference = recent - before;
        // Twice the standard deviation of the difference of two Poisson counts.
        let stands_out = first < last && difference.abs() > 2.0 * (recent + before).sqrt();
        let trend = if stands_out {
            difference / (seconds * seconds)
        } else {
            0.0
        };
        // The mean of the window is the rate in its middle. Continued growth shows in the queue. A fall may have ended since:
        // the rate is not below that of the last quarter.
        let fallen = per_second + trend.min(0.0) * seconds / 2.0;
        let last_quarter = (last as f64 - self.total_at(now.before(window / 4))) * 4.0 / seconds;
        Rate {
            per_second: fallen.max(last_quarter.min(per_second)),
            trend,
        }
    }

    /// Requests a second in the two quarters of the window that are neither the busiest nor the calmest.
    fn median_of_quarters(&self, now: Timestamp, window: Duration) -> f64 {
        let total = |quarters: u32| self.total_at(now.before(quarters * window / 4));
        let mut arrived = [3, 2, 1, 0].map(|quarter| total(quarter) - total(quarter + 1));
        arrived.sort_by(f64::total_cmp);
        (arrived[1] + arrived[2]) * 2.0 / window.as_secs_f64()
    }
}
