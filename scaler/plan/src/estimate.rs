//! Measured and smoothed: service times, boot times and arrival rates.

mod arrivals;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use arrivals::Arrivals;
pub use arrivals::Rate;
use serde::{Deserialize, Serialize};

use crate::{InstanceId, InstanceState, Observation, Targets, Timestamp};

/// The share of a new sample in a smoothed value, as for round-trip times in RFC 6298.
const GAIN: f64 = 0.125;
const SPREAD_GAIN: f64 = 0.25;
/// One sample of the service time averages over this period, or this many replies.
const SERVICE_PERIOD: Duration = Duration::from_secs(1);
const SERVICE_ANSWERS: u64 = 50;

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

/// Worker time and replies since the last sample of the service time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Work {
    since: Option<(Timestamp, u64)>,
    last: Option<(Timestamp, f64)>,
    worker_seconds: f64,
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

    /// Returns how many samples this scaler took itself.
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

    /// Returns what is measured completely. What is half measured does not stay valid while the scaler does not plan.
    #[must_use]
    pub fn completed(self) -> Self {
        Self {
            service: self.service,
            boot: self.boot,
            frame: self.frame,
            arrivals: self.arrivals,
            ..Self::default()
        }
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
                InstanceState::Pending | InstanceState::Booting => {
                    if let Some(started_at) = instance.started_at
                        && started_at >= watching_since
                    {
                        followed += 1;
                        if !self.booting.contains_key(&instance.id) {
                            self.booting.insert(instance.id.clone(), started_at);
                        }
                    }
                }
                InstanceState::Idle | InstanceState::Busy => {
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
                InstanceState::Draining
                | InstanceState::Cordoned
                | InstanceState::Stopped
                | InstanceState::Stopping => {
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
            .filter(|it| {
                matches!(
                    it.state,
                    InstanceState::Idle | InstanceState::Busy | InstanceState::Draining
                )
            })
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
