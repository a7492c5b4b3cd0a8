use std::time::Duration;

use scaler_plan::{KeepIdle, Policy, PolicyKind};

use crate::{Scenario, Trace};

const KEEP_IDLE: [KeepIdle; 3] = [
    KeepIdle::Auto,
    KeepIdle::AtMost(Duration::ZERO),
    KeepIdle::AtMost(Duration::from_secs(20)),
];
const IDLE_TIMES: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(20),
    Duration::from_secs(120),
];
const COOLDOWNS: [Duration; 2] = [Duration::ZERO, Duration::from_secs(120)];

/// The settings that are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    pub kind: PolicyKind,
    pub keep_idle: KeepIdle,
    pub idle_time: Duration,
    pub min_workers: u32,
    pub scale_in_cooldown: Duration,
}

impl Setting {
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        Self {
            kind: policy.kind,
            keep_idle: policy.timeouts.keep_idle,
            idle_time: policy.timeouts.idle_time,
            min_workers: policy.bounds.min_workers,
            scale_in_cooldown: policy.bounds.scale_in_cooldown,
        }
    }

    /// Returns the scenario with this setting.
    #[must_use]
    pub fn applied_to(&self, scenario: &Scenario) -> Scenario {
        let mut scenario = scenario.with_kind(self.kind);
        let policy = &mut scenario.policy;
        policy.timeouts.keep_idle = self.keep_idle;
        policy.timeouts.idle_time = self.idle_time;
        policy.bounds.min_workers = self.min_workers;
        policy.bounds.scale_in_cooldown = self.scale_in_cooldown;
        scenario
    }

    /// Returns the settings to compare, without duplicates, those of the scenario first. Each policy has those that it
    /// obeys.
    pub fn candidates(trace: &Trace, scenario: &Scenario, kinds: &[PolicyKind]) -> Vec<Self> {
        let defaults = Self::of(&scenario.policy);
        let mut candidates = vec![defaults];
        let mut add = |setting| {
            if !candidates.contains(&setting) {
                candidates.push(setting);
            }
        };
        for min_workers in minimums(trace, scenario) {
            for &kind in kinds {
                let plain = Self {
                    kind,
                    min_workers,
                    ..defaults
                };
                add(plain);
                match kind {
                    PolicyKind::Latency => {
                        for scale_in_cooldown in COOLDOWNS {
                            for keep_idle in KEEP_IDLE {
                                add(Self {
                                    keep_idle,
                                    scale_in_cooldown,
                                    ..plain
                                });
                            }
                        }
                    }
                    PolicyKind::Step => {
                        for idle_time in IDLE_TIMES {
                            add(Self { idle_time, ..plain });
                        }
                    }
                    _ => {}
                }
            }
        }
        candidates
    }

    /// Returns how many settings differ.
    #[must_use]
    pub fn changes_from(&self, other: &Self) -> usize {
        [
            self.kind != other.kind,
            self.keep_idle != other.keep_idle,
            self.idle_time != other.idle_time,
            self.min_workers != other.min_workers,
            self.scale_in_cooldown != other.scale_in_cooldown,
        ]
        .into_iter()
        .filter(|differs| *differs)
        .count()
    }

    /// Returns the scaler's flags for what differs from `defaults`, and always the policy.
    #[must_use]
    pub fn flags(&self, defaults: &Self) -> String {
        let mut flags = vec![format!("--policy {}", self.kind.name())];
        let mut add = |differs: bool, flag: String| flags.extend(differs.then_some(flag));
        let keep_idle = match self.keep_idle {
            KeepIdle::Auto => "auto".to_owned(),
            KeepIdle::AtMost(most) => seconds(most),
        };
        add(
            self.keep_idle != defaults.keep_idle,
            format!("--keep-idle {keep_idle}"),
        );
        add(
            self.idle_time != defaults.idle_time,
            format!("--idle-time {}", seconds(self.idle_time)),
        );
        add(
            self.min_workers != defaults.min_workers,
            format!("--min-workers {}", self.min_workers),
        );
        add(
            self.scale_in_cooldown != defaults.scale_in_cooldown,
            format!("--scale-in-cooldown {}", seconds(self.scale_in_cooldown)),
        );
        flags.join(" ")
    }
}

/// Returns the minimums of workers to compare: few, and as many as the mean load occupies.
fn minimums(trace: &Trace, scenario: &Scenario) -> Vec<u32> {
    let arrivals = trace.arrivals(scenario.seed).count();
    let load = arrivals as f64 * scenario.service.0 / trace.length;
    let most = scenario.policy.bounds.max_workers;
    let mut minimums = vec![
        scenario.policy.bounds.min_workers,
        0,
        1,
        2,
        load.ceil() as u32,
    ];
    minimums.retain(|it| *it <= most);
    minimums.sort_unstable();
    minimums.dedup();
    minimums
}

/// Formats as the scaler's flags take it.
pub(super) fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}
