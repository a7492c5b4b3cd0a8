//! What the published policies have in common: the demand they see, the clocks they tick by, and their memory.
//!
//! They decide at their own intervals, on the number of workers that they wanted last. In between, that number stands;
//! so planning again at the same moment changes nothing.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::demand::{Assessment, Zero};
use super::{
    Alternative, Limits, Moment, Observation, Policy, PolicyKind, ScaleIn, State, Target, backlog,
    hpa, keda, kpa,
};

/// What a published policy remembers from one plan to the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) enum PolicyState {
    /// The policy has not decided yet, or remembers nothing.
    #[default]
    Fresh,
    Backlog(backlog::State),
    Keda(keda::State),
    Hpa(hpa::State),
    Kpa(kpa::State),
}

/// The facts that a published policy decides by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Situation<'a> {
    pub observation: &'a Observation,
    pub now: Moment,
    pub limits: Limits,
    /// Requests to be answered, those that are being served included.
    pub demand: u64,
    scale_in: ScaleIn,
    settles_at: Option<Moment>,
}

/// A quantity over time. It keeps its value from one sample to the next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Trace {
    /// Oldest first.
    samples: VecDeque<(Moment, f64)>,
}

impl PolicyState {
    /// Drops what another policy left.
    pub(super) fn belong_to(&mut self, kind: PolicyKind) {
        let owner = match self {
            Self::Fresh => return,
            Self::Backlog(_) => PolicyKind::BacklogPerInstance,
            Self::Keda(_) => PolicyKind::Keda,
            Self::Hpa(_) => PolicyKind::Hpa,
            Self::Kpa(_) => PolicyKind::Kpa,
        };
        if owner != kind {
            *self = Self::Fresh;
        }
    }
}

impl<'a> Situation<'a> {
    /// Absent while neither front nor the queue can be reached.
    pub(super) fn new(
        policy: &Policy,
        observation: &'a Observation,
        assessment: &Assessment,
    ) -> Option<Self> {
        let working = u64::from(observation.working());
        let (demand, scale_in, settles_at) = match *assessment {
            Assessment::Exact(unanswered) => (unanswered, ScaleIn::AtOnce, None),
            Assessment::Zero(Zero::Settled) => (0, ScaleIn::AtOnce, None),
            Assessment::Zero(Zero::SettlesAt(moment)) => (0, ScaleIn::Hold, Some(moment)),
            Assessment::Zero(Zero::Unconfirmed) => (0, ScaleIn::Hold, None),
            Assessment::Zero(Zero::QueueUnreachable) => (0, ScaleIn::Idle, None),
            // Whoever is up finishes what is left; a worker is started for it only if nobody is up for long.
            Assessment::Zero(Zero::Leftover {
                messages,
                neglected,
            }) => {
                let demand = messages.min(working).max(neglected.into());
                (demand, ScaleIn::Idle, None)
            }
            Assessment::Estimated {
                messages: 0,
                empty_for_long: false,
            } => (0, ScaleIn::Hold, None),
            Assessment::Estimated { messages, .. } => (messages, ScaleIn::AtOnce, None),
            Assessment::Unknown => return None,
        };
        Some(Self {
            observation,
            now: observation.now,
            limits: policy.limits(observation.now, observation.billing.still_paid),
            demand,
            scale_in,
            settles_at,
        })
    }

    /// The number of workers to begin with: what there is.
    pub(super) fn inherited(&self) -> u64 {
        self.clamp(self.observation.working().into())
    }

    /// The nearest number of workers within the limits.
    pub(super) fn clamp(&self, workers: u64) -> u64 {
        self.limits.clamp(workers).into()
    }

    /// Workers that serve or wait for a request.
    pub(super) fn ready(&self) -> u32 {
        self.observation.count(State::Idle) + self.observation.count(State::Busy)
    }

    /// The decision, which is to be looked at again at `wake_at`.
    pub(super) fn target(
        &self,
        desired: u64,
        wake_at: Option<Moment>,
        rejected: Vec<Alternative>,
    ) -> Target {
        Target {
            desired,
            needed: desired,
            scale_in: self.scale_in,
            wake_at: self.settles_at.into_iter().chain(wake_at).min(),
            rejected,
            completes_in: None,
        }
    }

    /// A number of workers that was considered, as far as it differs from the one that was chosen.
    pub(super) fn alternative(
        &self,
        desired: u64,
        considered: u64,
        against: &str,
    ) -> Vec<Alternative> {
        let workers = self.limits.clamp(considered);
        if workers == self.limits.clamp(desired) {
            return Vec::new();
        }
        vec![Alternative {
            workers,
            reason: against.to_owned(),
        }]
    }
}

impl Trace {
    /// Takes a sample, and forgets those that no average over `kept` needs any more.
    pub(super) fn note(&mut self, now: Moment, value: f64, kept: Duration) {
        match self.samples.back_mut() {
            Some((at, last)) if *at >= now => *last = value,
            Some((_, last)) if *last == value => {}
            _ => self.samples.push_back((now, value)),
        }
        while self.samples.len() > 1 && now.since(self.samples[1].0) >= kept {
            self.samples.pop_front();
        }
    }

    /// The average over the `window` before `now`, or over as much of it as was seen; absent when nothing was.
    pub(super) fn average(&self, now: Moment, window: Duration) -> Option<f64> {
        let &(first_at, _) = self.samples.front()?;
        let &(last_at, last) = self.samples.back()?;
        let age = |at: Moment| now.since(at).min(window).as_secs_f64();
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

    pub(super) fn clear(&mut self) {
        self.samples.clear();
    }
}

/// The decision while nothing is known of the demand: nothing changes.
pub(super) fn hold(observation: &Observation, desired: Option<u64>) -> Target {
    let desired = desired.unwrap_or(observation.working().into());
    Target {
        desired,
        needed: desired,
        scale_in: ScaleIn::Hold,
        wake_at: None,
        rejected: Vec::new(),
        completes_in: None,
    }
}

/// How many workers carry a load of which each carries `each`.
pub(super) fn workers_for(load: f64, each: f64) -> u64 {
    // Rounding must not cost an instance.
    ((load / each) * (1.0 - 1e-9)).ceil() as u64
}
