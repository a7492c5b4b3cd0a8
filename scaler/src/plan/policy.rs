use std::time::Duration;

/// How to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub kind: PolicyKind,
    pub bounds: Bounds,
    pub patience: Patience,
}

/// The rule that turns demand into a number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum PolicyKind {
    /// One worker for each unanswered request, up to the maximum
    #[default]
    Step,
}

/// How many workers there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub min_workers: u32,
    pub max_workers: u32,
}

/// How long to wait before something is done that costs something when done too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long a worker that is not needed stays idle before it is cordoned.
    pub idle_time: Duration,
    /// How long demand stays at zero before all workers are cordoned.
    pub settle: Duration,
    /// After how long without a report a worker is given up.
    pub silence_deadline: Duration,
    /// After how long of running without a single report an instance is given up.
    pub boot_deadline: Duration,
    /// From which age on front's demand is not believed.
    pub front_stale_after: Duration,
    /// From which age on the queue's counters are not believed.
    pub queue_stale_after: Duration,
    /// From which age on EC2's answer is not acted on, except that stopped instances are started.
    pub fleet_stale_after: Duration,
    /// How long to wait for stopping instances to become startable before others are launched in their place.
    pub stopping_patience: Duration,
    /// After how long messages that no client waits for, and no worker takes, get a worker.
    pub leftover_patience: Duration,
}

impl PolicyKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
        }
    }
}

impl Bounds {
    /// The nearest number of workers within the bounds.
    #[must_use]
    pub fn clamp(&self, workers: u64) -> u32 {
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        workers.max(self.min_workers).min(self.max_workers)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            min_workers: 0,
            max_workers: 15,
        }
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            idle_time: Duration::from_secs(2),
            settle: Duration::from_millis(200),
            silence_deadline: Duration::from_secs(15),
            boot_deadline: Duration::from_secs(120),
            front_stale_after: Duration::from_secs(3),
            queue_stale_after: Duration::from_secs(5),
            fleet_stale_after: Duration::from_secs(5),
            stopping_patience: Duration::from_secs(10),
            leftover_patience: Duration::from_secs(30),
        }
    }
}
