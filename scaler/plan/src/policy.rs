use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How to decide.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    pub kind: PolicyKind,
    pub bounds: Bounds,
    pub timeouts: Timeouts,
    pub targets: Targets,
    pub prices: Prices,
    /// The minimum by time of day; the highest of those that apply counts, also for other policies than `schedule`.
    pub schedule: Vec<Window>,
    /// Who has paused the scaler. While it is paused, plans change nothing.
    pub paused_by: Option<String>,
    #[serde(default)]
    pub video: Video,
}

/// The rule that turns demand into a number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PolicyKind {
    #[default]
    Latency,
    Step,
    BacklogPerInstance,
    Keda,
    Hpa,
    Kpa,
    Schedule,
}

/// How many workers there may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    pub min_workers: u32,
    pub max_workers: u32,
    /// What the workers may cost at any time, in dollars an hour.
    pub budget_per_hour: Option<f64>,
    /// How many stopped instances are kept ready besides those that are up. Missing ones are launched.
    pub warm_pool: u32,
    /// How long after workers were added more may be added.
    pub scale_out_cooldown: Duration,
    /// How long after workers were added or cordoned more may be cordoned.
    pub scale_in_cooldown: Duration,
}

/// The latency target, and what the policies assume until it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// From a request's acceptance to its reply.
    pub latency: Duration,
    /// How long a worker is occupied by one request.
    pub service_time: Duration,
    /// From the call that starts an instance until its worker is ready.
    pub boot_time: Duration,
}

/// What frames of clips may cost: they are demand of lower priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Video {
    /// How long the waiting frames may take once the workers for them are up.
    pub target: Duration,
    /// The most workers that frames alone start or keep; absent: half of the maximum, at least one.
    pub max_workers: Option<u32>,
}

/// What instances cost. EC2 bills by the second, and at least a minimum for each start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prices {
    /// Dollars for one instance and hour.
    pub per_hour: f64,
    /// The shortest time that a start is billed for.
    pub minimum: Duration,
}

/// A daily period with its own minimum, in UTC. One that ends before it begins spans midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Since midnight.
    pub from: Duration,
    /// Since midnight.
    pub to: Duration,
    pub min_workers: u32,
}

/// How long to wait before an action that is costly when it comes too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// How long an unneeded worker stays idle before it is cordoned.
    pub idle_time: Duration,
    /// How long demand stays at zero before all workers are cordoned.
    pub settle: Duration,
    /// The longest that `latency` and `step` keep an unneeded worker.
    pub keep_idle: KeepIdle,
    /// How long after its last report a worker is given up.
    pub silence_deadline: Duration,
    /// How long an instance runs without a report before it is given up.
    pub boot_deadline: Duration,
    /// The age from which front's demand is ignored.
    pub front_stale_after: Duration,
    /// The age from which the queue's counters are ignored.
    pub queue_stale_after: Duration,
    /// How long after it is complete EC2's answer is a ground to launch, cordon and stop.
    pub fleet_stale_after: Duration,
    /// How long stopping instances may take before others are launched in their place.
    pub stopping_timeout: Duration,
    /// How long messages that no client waits for stay untaken before a worker is started for them.
    pub leftover_timeout: Duration,
}

/// The longest that an unneeded worker is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum KeepIdle {
    /// As long as the policy finds cheapest.
    #[default]
    Auto,
    /// No longer than this, at any cost of a start.
    AtMost(Duration),
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl KeepIdle {
    /// Returns `time`, or the bound where that is shorter.
    #[must_use]
    pub fn bound(self, time: Duration) -> Duration {
        match self {
            Self::Auto => time,
            Self::AtMost(most) => time.min(most),
        }
    }
}

impl Bounds {
    /// Returns how many instances at this price the budget pays for; absent without a budget.
    #[must_use]
    pub fn affordable(&self, price_per_hour: f64) -> Option<u32> {
        self.budget_per_hour.map(|budget| {
            // Rounding must not cost an instance that the budget just pays for.
            (budget / price_per_hour * (1.0 + 1e-9)).floor() as u32
        })
    }

    /// Returns whether the budget pays for no worker at this price, although the maximum permits some.
    #[must_use]
    pub fn afford_none(&self, price_per_hour: f64) -> bool {
        self.max_workers > 0 && self.affordable(price_per_hour) == Some(0)
    }
}

impl Policy {
    /// Returns the least and the most workers at this time of day: the configured bounds, the schedule's minimum, and what the
    /// budget allows besides `still_paid` instances that are down and still paid for.
    #[must_use]
    pub fn limits(&self, time_of_day: Timestamp, still_paid: u32) -> WorkerLimits {
        let affordable = self.bounds.affordable(self.prices.per_hour);
        let max_workers = affordable.map_or(self.bounds.max_workers, |affordable| {
            let affordable = affordable.saturating_sub(still_paid);
            affordable.min(self.bounds.max_workers)
        });
        let scheduled = self
            .schedule
            .iter()
            .filter(|window| window.contains(time_of_day))
            .map(|window| window.min_workers)
            .max();
        let min_workers = self.bounds.min_workers.max(scheduled.unwrap_or(0));
        WorkerLimits {
            min_workers: min_workers.min(max_workers),
            max_workers,
        }
    }

    /// Returns the most workers that frames of clips alone start or keep.
    #[must_use]
    pub fn video_workers(&self) -> u32 {
        let most = self.bounds.max_workers;
        self.video
            .max_workers
            .unwrap_or((most / 2).max(1))
            .min(most)
    }

    /// Returns when the next window of the schedule begins or ends after `now`.
    #[must_use]
    pub fn next_window_edge(&self, now: Timestamp) -> Option<Timestamp> {
        let of_day = Duration::from_nanos((now.elapsed().as_nanos() % DAY.as_nanos()) as u64);
        let midnight = now.elapsed().saturating_sub(of_day);
        self.schedule
            .iter()
            .flat_map(|window| [window.from, window.to])
            .map(|edge| {
                let days = if edge > of_day { Duration::ZERO } else { DAY };
                Timestamp::after_epoch(midnight + days + edge)
            })
            .min()
    }
}

/// How many workers there may be at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerLimits {
    pub min_workers: u32,
    pub max_workers: u32,
}

impl WorkerLimits {
    /// Returns the nearest number of workers within the limits.
    #[must_use]
    pub fn clamp(&self, workers: u64) -> u32 {
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        workers.max(self.min_workers).min(self.max_workers)
    }
}

impl Prices {
    /// Returns what is billed by `until` for a start at `started_at`: the minimum is owed at once.
    #[must_use]
    pub fn billed(&self, started_at: Timestamp, until: Timestamp) -> Duration {
        until.since(started_at).max(self.minimum)
    }

    /// Returns when the minimum of a start at `started_at` is used up.
    #[must_use]
    pub fn paid_until(&self, started_at: Timestamp) -> Timestamp {
        started_at.after(self.minimum)
    }

    /// Returns the price in dollars of `time` of one instance.
    #[must_use]
    pub fn dollars(&self, time: Duration) -> f64 {
        time.as_secs_f64() * self.per_hour / 3_600.0
    }
}

impl Window {
    #[must_use]
    pub fn contains(&self, now: Timestamp) -> bool {
        let seconds = now.elapsed().as_secs() % DAY.as_secs();
        let (from, to) = (self.from.as_secs(), self.to.as_secs());
        if from <= to {
            (from..to).contains(&seconds)
        } else {
            seconds >= from || seconds < to
        }
    }
}

impl PolicyKind {
    pub const ALL: [Self; 7] = [
        Self::Latency,
        Self::Step,
        Self::BacklogPerInstance,
        Self::Keda,
        Self::Hpa,
        Self::Kpa,
        Self::Schedule,
    ];

    /// Returns what the policy does, for help texts.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Latency => "As few workers as meet the latency target",
            Self::Step => "One worker for each unanswered request, up to the maximum",
            Self::BacklogPerInstance => {
                "AWS: target tracking on messages per running instance, once a minute"
            }
            Self::Keda => {
                "KEDA for SQS: one worker for five messages, none after five quiet minutes"
            }
            Self::Hpa => "Kubernetes: 80 % of the workers busy, checked every 15 s; at least one",
            Self::Kpa => {
                "Knative: 0.7 requests at a time per worker, averaged over 60 s, over 6 s in a burst"
            }
            Self::Schedule => {
                "By time of day, as --schedule says; outside its windows, one while there is demand"
            }
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Step => "step",
            Self::BacklogPerInstance => "backlog-per-instance",
            Self::Keda => "keda",
            Self::Hpa => "hpa",
            Self::Kpa => "kpa",
            Self::Schedule => "schedule",
        }
    }
}

impl std::str::FromStr for PolicyKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == name);
        named.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no policy {name}: choose one of {names}")
        })
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            min_workers: 0,
            max_workers: 15,
            budget_per_hour: None,
            warm_pool: 0,
            scale_out_cooldown: Duration::ZERO,
            scale_in_cooldown: Duration::ZERO,
        }
    }
}

impl Default for Targets {
    fn default() -> Self {
        Self {
            latency: Duration::from_secs(2),
            service_time: Duration::from_millis(500),
            boot_time: Duration::from_secs(20),
        }
    }
}

impl Default for Video {
    fn default() -> Self {
        Self {
            target: Duration::from_secs(60),
            max_workers: None,
        }
    }
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            // c7i.large, Linux, on demand, us-east-1: <https://aws.amazon.com/ec2/pricing/on-demand/>.
            per_hour: 0.08925,
            minimum: Duration::from_secs(60),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            idle_time: Duration::from_secs(2),
            settle: Duration::from_millis(200),
            keep_idle: KeepIdle::Auto,
            silence_deadline: Duration::from_secs(15),
            boot_deadline: Duration::from_secs(120),
            front_stale_after: Duration::from_secs(3),
            queue_stale_after: Duration::from_secs(5),
            fleet_stale_after: Duration::from_secs(5),
            stopping_timeout: Duration::from_secs(10),
            leftover_timeout: Duration::from_secs(30),
        }
    }
}
