use std::time::Duration;

use super::value::{dollars, duration, keep_idle, policy_kind, positive_duration, price, window};
use crate::plan::{Bounds, KeepIdle, Policy, PolicyKind, Prices, Targets, Timeouts, Window};

/// How to decide.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Policy")]
pub struct PolicyArgs {
    /// The rule that turns demand into a number of workers
    #[arg(long, env = "MUSTER_POLICY", default_value = "latency", value_parser = policy_kind())]
    pub policy: PolicyKind,
    /// Workers that are always kept
    #[arg(
        long,
        env = "MUSTER_MIN_WORKERS",
        default_value_t = 0,
        value_name = "COUNT"
    )]
    pub min_workers: u32,
    /// The most workers there may be
    #[arg(
        long,
        env = "MUSTER_MAX_WORKERS",
        default_value_t = 15,
        value_name = "COUNT"
    )]
    pub max_workers: u32,
    /// Workers that are kept at times of the day, in UTC, under any policy: 08:00-18:00=5,22:00-02:00=1
    #[arg(
        long,
        env = "MUSTER_SCHEDULE",
        value_name = "WINDOWS",
        value_parser = window,
        value_delimiter = ','
    )]
    pub schedule: Vec<Window>,
    /// Stopped instances that are kept ready besides those that are up
    #[arg(
        long,
        env = "MUSTER_WARM_POOL",
        default_value_t = 0,
        value_name = "COUNT"
    )]
    pub warm_pool: u32,
    /// After workers were added, how long until others may be
    #[arg(
        long,
        env = "MUSTER_SCALE_OUT_COOLDOWN",
        default_value = "0s",
        value_name = "DURATION",
        value_parser = duration
    )]
    pub scale_out_cooldown: Duration,
    /// After workers were added or withdrawn, how long until others may be withdrawn
    #[arg(
        long,
        env = "MUSTER_SCALE_IN_COOLDOWN",
        default_value = "0s",
        value_name = "DURATION",
        value_parser = duration
    )]
    pub scale_in_cooldown: Duration,
    /// How long a worker that is not needed stays idle before it goes, under the policy `step`, and under the published
    /// ones while the queue is unreachable or holds messages without a client. `latency` ignores it: it keeps a worker
    /// for about as long as starting it again would cost. While front is unreachable, the queue has to be empty for this
    /// long before demand counts as zero, under any policy
    #[arg(
        long,
        env = "MUSTER_IDLE_TIME",
        default_value = "2s",
        value_name = "DURATION",
        value_parser = duration
    )]
    pub idle_time: Duration,
    /// How long demand has to stay at zero to be believed. Then all workers go, but under `latency`, which keeps a worker
    /// for about as long as starting it again would cost
    #[arg(
        long,
        env = "MUSTER_SETTLE",
        default_value = "200ms",
        value_name = "DURATION",
        value_parser = duration
    )]
    pub settle: Duration,
    /// The longest that `latency` and `step` keep a worker that is not needed; `0s` stops it at once, whatever a start
    /// costs and is billed for. `auto`: each policy's own rule
    #[arg(
        long,
        env = "MUSTER_KEEP_IDLE",
        default_value = "auto",
        value_name = "auto|DURATION",
        value_parser = keep_idle
    )]
    pub keep_idle: KeepIdle,
    /// After how long without a report a worker is given up and its instance stopped
    #[arg(long, default_value = "15s", value_name = "DURATION", value_parser = duration)]
    pub silence_deadline: Duration,
    /// After how long of running without a worker an instance is stopped
    #[arg(long, default_value = "2m", value_name = "DURATION", value_parser = duration)]
    pub boot_deadline: Duration,
    #[command(flatten)]
    pub goal: GoalArgs,
    #[command(flatten)]
    pub prices: PriceArgs,
}

/// What the policies aim at, and assume.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Goal")]
pub struct GoalArgs {
    /// From a request's acceptance to its answer, at most
    #[arg(
        long,
        env = "MUSTER_LATENCY_TARGET",
        default_value = "2s",
        value_name = "DURATION",
        value_parser = positive_duration
    )]
    pub latency_target: Duration,
    /// How long a worker is taken up by one request; assumed until it is measured
    #[arg(
        long,
        env = "MUSTER_SERVICE_TIME",
        default_value = "500ms",
        value_name = "DURATION",
        value_parser = positive_duration
    )]
    pub service_time: Duration,
    /// From the order to start an instance until its worker is ready; assumed until it is measured
    #[arg(
        long,
        env = "MUSTER_BOOT_TIME",
        default_value = "20s",
        value_name = "DURATION",
        value_parser = duration
    )]
    pub boot_time: Duration,
}

/// What instances cost, and may cost.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Cost")]
pub struct PriceArgs {
    /// What an instance of a type costs for an hour, as c7i.large=0.08925; may be given several times
    #[arg(
        long = "price",
        env = "MUSTER_PRICES",
        value_delimiter = ',',
        value_name = "TYPE=DOLLARS",
        value_parser = price
    )]
    pub by_type: Vec<(String, f64)>,
    /// What an instance costs for an hour, unless --price says it
    #[arg(
        long,
        env = "MUSTER_PRICE_PER_HOUR",
        default_value = "0.08925",
        value_name = "DOLLARS",
        value_parser = dollars
    )]
    pub price_per_hour: f64,
    /// The shortest time that a start of an instance is billed for
    #[arg(
        long,
        env = "MUSTER_BILLING_MINIMUM",
        default_value = "1m",
        value_name = "DURATION",
        value_parser = duration
    )]
    pub billing_minimum: Duration,
    /// What all workers may cost an hour, at any time; absent: whatever --max-workers cost
    #[arg(long, env = "MUSTER_BUDGET", value_name = "DOLLARS", value_parser = dollars)]
    pub budget: Option<f64>,
}

impl PolicyArgs {
    /// # Errors
    /// When the bounds contradict each other.
    pub(super) fn policy(&self) -> anyhow::Result<Policy> {
        self.check()?;
        Ok(Policy {
            kind: self.policy,
            bounds: Bounds {
                min_workers: self.min_workers,
                max_workers: self.max_workers,
                budget_per_hour: self.prices.budget,
                warm_pool: self.warm_pool,
                scale_out_cooldown: self.scale_out_cooldown,
                scale_in_cooldown: self.scale_in_cooldown,
            },
            timeouts: Timeouts {
                idle_time: self.idle_time,
                settle: self.settle,
                keep_idle: self.keep_idle,
                silence_deadline: self.silence_deadline,
                boot_deadline: self.boot_deadline,
                ..Timeouts::default()
            },
            targets: Targets {
                latency: self.goal.latency_target,
                service_time: self.goal.service_time,
                boot_time: self.goal.boot_time,
            },
            prices: Prices {
                per_hour: self.prices.price_per_hour,
                minimum: self.prices.billing_minimum,
            },
            schedule: self.schedule.clone(),
            paused_by: None,
        })
    }

    fn check(&self) -> anyhow::Result<()> {
        let (min_workers, max_workers) = (self.min_workers, self.max_workers);
        anyhow::ensure!(
            min_workers <= max_workers,
            "--min-workers {min_workers} exceeds --max-workers {max_workers}"
        );
        let scheduled = self.schedule.iter().map(|window| window.min_workers).max();
        let scheduled = scheduled.unwrap_or(0);
        anyhow::ensure!(
            scheduled <= max_workers,
            "--schedule asks for {scheduled} workers, which exceeds --max-workers {max_workers}"
        );
        let least = min_workers.max(scheduled);
        let cost = f64::from(least) * self.prices.price_per_hour;
        if let Some(budget) = self.prices.budget {
            anyhow::ensure!(
                // Rounding must not refuse a budget that just pays for them.
                cost <= budget * (1.0 + 1e-9),
                "{least} workers are to be kept, which cost {cost:.4} dollars an hour and exceed --budget {budget}"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Scaler {
        #[command(flatten)]
        policy: PolicyArgs,
    }

    fn policy(line: &str) -> anyhow::Result<Policy> {
        let words = std::iter::once("scaler").chain(line.split_whitespace());
        Scaler::try_parse_from(words)?.policy.policy()
    }

    #[test]
    fn the_defaults_of_the_command_line_are_those_of_the_policy() {
        assert_eq!(policy("").unwrap(), Policy::default());
    }

    #[test]
    fn every_word_arrives() {
        let policy = policy(
            "--policy kpa --min-workers 1 --max-workers 9 --schedule 08:00-18:00=5,22:00-02:00=2 --warm-pool 3 \
             --scale-out-cooldown 4s --scale-in-cooldown 5s --latency-target 3s --service-time 250ms --boot-time 30s \
             --price-per-hour 0.1 --billing-minimum 2m --budget 0.9 --idle-time 6s --settle 7s --keep-idle 8s",
        )
        .unwrap();
        assert_eq!(policy.kind, PolicyKind::Kpa);
        assert_eq!(
            policy.timeouts,
            Timeouts {
                idle_time: Duration::from_secs(6),
                settle: Duration::from_secs(7),
                keep_idle: KeepIdle::AtMost(Duration::from_secs(8)),
                ..Timeouts::default()
            }
        );
        assert_eq!(
            policy.bounds,
            Bounds {
                min_workers: 1,
                max_workers: 9,
                budget_per_hour: Some(0.9),
                warm_pool: 3,
                scale_out_cooldown: Duration::from_secs(4),
                scale_in_cooldown: Duration::from_secs(5),
            }
        );
        assert_eq!(
            policy.targets,
            Targets {
                latency: Duration::from_secs(3),
                service_time: Duration::from_millis(250),
                boot_time: Duration::from_secs(30),
            }
        );
        assert_eq!(
            policy.prices,
            Prices {
                per_hour: 0.1,
                minimum: Duration::from_secs(120),
            }
        );
        let scheduled: Vec<_> = policy.schedule.iter().map(|it| it.min_workers).collect();
        assert_eq!(scheduled, [5, 2]);
    }

    #[test]
    fn bounds_that_contradict_each_other_are_refused() {
        for (line, complaint) in [
            (
                "--min-workers 3 --max-workers 2",
                "--min-workers 3 exceeds --max-workers 2",
            ),
            (
                "--schedule 08:00-18:00=20",
                "--schedule asks for 20 workers",
            ),
            (
                "--min-workers 3 --price-per-hour 0.1 --budget 0.25",
                "3 workers are to be kept, which cost 0.3000 dollars",
            ),
            ("--schedule 08:00=5", "not a period"),
            ("--latency-target 0s", "must be longer than zero"),
            ("--keep-idle never", "200ms, 2s, 5m, 1h, or auto"),
        ] {
            let error = policy(line).unwrap_err().to_string();
            assert!(error.contains(complaint), "{line}: {error}");
        }
    }

    #[test]
    fn the_help_says_what_each_policy_does() {
        let help = Scaler::command().render_long_help().to_string();
        for kind in PolicyKind::ALL {
            let line = format!("- {}:", kind.name());
            let found = help.lines().find_map(|it| it.trim().strip_prefix(&line));
            assert!(found.is_some_and(|about| about.len() > 10), "{line}");
        }
    }
}
