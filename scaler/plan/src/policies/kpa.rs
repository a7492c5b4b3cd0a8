//! Knative's pod autoscaler with the defaults of its `config-autoscaler`.
//!
//! Sources: "Additional autoscaling configuration for Knative Pod Autoscaler"
//! (<https://knative.dev/docs/serving/autoscaling/kpa-specific/>), "Configuring concurrency"
//! (<https://knative.dev/docs/serving/autoscaling/concurrency/>), "Configuring scale to zero"
//! (<https://knative.dev/docs/serving/autoscaling/scale-to-zero/>), and for the order of the steps
//! `pkg/autoscaler/scaling/autoscaler.go` in <https://github.com/knative/serving>.
//!
//! Concurrency is the number of unanswered requests, in progress and waiting, as Knative's activator and queue proxies
//! count them. Knative's default target of 100 at a time is for containers that may serve any number. A worker here does
//! one job at a time. That is a `containerConcurrency` of 1, of which Knative uses 70 %.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metric_history::MetricHistory;
use super::{PolicyInput, Target};
use crate::Timestamp;
use crate::demand::workers_for;

/// The usual window of the average, and how long panic outlasts its cause (`stable-window`).
const STABLE_WINDOW: Duration = Duration::from_secs(60);
/// The window that detects a burst: 10 % of the above (`panic-window-percentage`).
const PANIC_WINDOW: Duration = Duration::from_secs(6);
/// Panic begins when a burst wants this many times the ready workers (`panic-threshold-percentage`).
const PANIC_THRESHOLD: f64 = 2.0;
/// Requests at a time for each worker: `containerConcurrency` 1 times `container-concurrency-target-percentage` 70.
const TARGET_CONCURRENCY: f64 = 0.7;
/// How often a decision is made (`tick-interval`).
const TICK_INTERVAL: Duration = Duration::from_secs(2);
/// The most workers wanted, as a multiple of the ready ones (`max-scale-up-rate`).
const MAX_SCALE_UP_RATE: f64 = 1000.0;
/// By which factor the wanted workers may be fewer than the ready ones (`max-scale-down-rate`).
const MAX_SCALE_DOWN_RATE: f64 = 2.0;
/// How long the last worker stays after a stable window without a request (`scale-to-zero-grace-period`).
const SCALE_TO_ZERO_GRACE_PERIOD: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KpaState {
    pub desired: u64,
    next_tick: Timestamp,
    concurrency: MetricHistory,
    panic: Option<Panic>,
    /// Since when none would have been wanted but for the grace period.
    zero_since: Option<Timestamp>,
    /// What the stable window alone wanted last.
    stable: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Panic {
    /// When the burst was last detected.
    seen_at: Timestamp,
    /// The most workers wanted in it.
    workers: u64,
}

impl KpaState {
    /// With more than one worker up, an autoscaler without history begins in panic, so that it stops none.
    pub fn start(input: &PolicyInput<'_>) -> Self {
        let desired = input.inherited();
        Self {
            desired,
            next_tick: input.now,
            concurrency: MetricHistory::default(),
            panic: (desired > 1).then_some(Panic {
                seen_at: input.now,
                workers: desired,
            }),
            zero_since: None,
            stable: desired,
        }
    }

    pub fn target(&mut self, input: &PolicyInput<'_>) -> Target {
        let (now, demand) = (input.now, input.demand);
        if self.desired == 0 {
            // Without a worker there are no reports: a request then begins a new history.
            self.concurrency.clear();
        }
        self.concurrency.note(now, demand as f64, STABLE_WINDOW);
        // The activator asks for a decision at once when a request finds no worker.
        let is_poked = self.desired == 0 && demand > 0;
        if is_poked || now >= self.next_tick {
            self.tick(input);
        }
        let against = if self.panic.is_some() {
            "would be what the stable window alone wants, but a burst was seen in the last 60 s"
        } else {
            "would be what the stable window wants, but the last worker stays for the grace period"
        };
        let rejected = input.alternative(self.desired, self.stable, against);
        input.target(self.desired, Some(self.next_tick), rejected)
    }

    fn tick(&mut self, input: &PolicyInput<'_>) {
        let now = input.now;
        self.next_tick = now.after(TICK_INTERVAL);
        let ready = f64::from(input.ready().max(1));
        let most = (MAX_SCALE_UP_RATE * ready).ceil() as u64;
        let least = (ready / MAX_SCALE_DOWN_RATE).floor() as u64;
        let wanted_over = |window| {
            let concurrency = self.concurrency.average(now, window).unwrap_or_default();
            workers_for(concurrency, TARGET_CONCURRENCY)
        };
        let (stable, burst) = (wanted_over(STABLE_WINDOW), wanted_over(PANIC_WINDOW));
        self.stable = stable.clamp(least, most);
        if burst as f64 / ready >= PANIC_THRESHOLD {
            let panic = self.panic.get_or_insert(Panic {
                seen_at: now,
                workers: 0,
            });
            panic.seen_at = now;
        } else if self
            .panic
            .is_some_and(|panic| now.since(panic.seen_at) > STABLE_WINDOW)
        {
            self.panic = None;
        }
        let mut wanted = self.stable;
        if let Some(panic) = &mut self.panic {
            // Never down in panic.
            panic.workers = panic.workers.max(wanted).max(burst.clamp(least, most));
            wanted = panic.workers;
        }
        self.desired = input.clamp(self.after_grace(wanted, now));
    }

    /// The last worker stays for the grace period.
    fn after_grace(&mut self, wanted: u64, now: Timestamp) -> u64 {
        if wanted > 0 || self.desired == 0 {
            self.zero_since = None;
            return wanted;
        }
        let zero_since = *self.zero_since.get_or_insert(now);
        u64::from(now.since(zero_since) < SCALE_TO_ZERO_GRACE_PERIOD)
    }
}
