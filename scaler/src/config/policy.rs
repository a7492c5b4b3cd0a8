#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::{ArgMatches, Args, Command, Error, FromArgMatches};
use platform::duration;

use super::value::{dollars, keep_idle, policy_kind, price, silence_deadline, window};
use crate::plan::{KeepIdle, Policy, PolicyKind, Prices, Targets, Timeouts, Window};

/// The policy's flags that more than one command takes: the service, `replay` and, for the bounds, `bounds`. A flag that is
/// not given changes nothing.
#[derive(Debug, Clone, clap::Args)]
pub struct PolicyFlags {
    /// Rule that turns demand into a number of workers
    #[arg(long, value_name = "NAME", value_parser = policy_kind())]
    pub policy: Option<PolicyKind>,
    #[command(flatten)]
    pub bounds: BoundFlags,
    /// How long the policy `step` keeps an idle worker that is not needed. The published policies keep one as long while the
    /// queue is unreachable or holds messages without a client. Under every policy, while front is unreachable, demand
    /// counts as zero once the queue has been empty for this long
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub idle_time: Option<Duration>,
    /// How long demand has to stay at zero before it counts as zero. Then all workers stop, except under `latency`, which
    /// keeps a worker for about as long as a new start would cost
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub settle: Option<Duration>,
    /// The longest time that `latency` and `step` keep a worker that is not needed; `0s` stops it at once, `auto` applies
    /// each policy's own rule
    #[arg(long, value_name = "auto|DURATION", value_parser = keep_idle)]
    pub keep_idle: Option<KeepIdle>,
    /// Target for the time from a request's acceptance to its reply
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive, help_heading = "Targets")]
    pub latency_target: Option<Duration>,
    /// Target for the time in which the waiting frames of clips are done, once the workers for them are up. Photos go first
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive, help_heading = "Targets")]
    pub video_target: Option<Duration>,
    /// Most workers that frames of clips alone start or keep [default: half of the maximum, at least 1]
    #[arg(long, value_name = "COUNT", help_heading = "Targets")]
    pub video_max_workers: Option<u32>,
    /// Dollars per instance-hour
    #[arg(long, value_name = "DOLLARS", value_parser = dollars, help_heading = "Cost")]
    pub price_per_hour: Option<f64>,
}

/// How many workers there may be.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(after_help = duration::HELP)]
pub struct BoundFlags {
    /// Minimum number of workers
    #[arg(long, value_name = "COUNT")]
    pub min_workers: Option<u32>,
    /// Maximum number of workers
    #[arg(long, value_name = "COUNT")]
    pub max_workers: Option<u32>,
    /// Most dollars per hour for all workers together, at any time
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    pub budget: Option<f64>,
    /// Stopped instances to keep ready besides those that are up
    #[arg(long, value_name = "COUNT")]
    pub warm_pool: Option<u32>,
    /// How long after an increase of workers no other increase follows
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub scale_out_cooldown: Option<Duration>,
    /// How long after a change of the number of workers no decrease follows
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub scale_in_cooldown: Option<Duration>,
}

/// The policy of the service: the shared flags with environment variables and defaults, and the flags of its own.
#[derive(Debug, Clone)]
pub struct PolicyArgs {
    pub flags: PolicyFlags,
    pub own: OwnPolicyArgs,
}

/// Environment variable and default of each shared flag, for the service.
const SERVED: [(&str, &str, Option<&str>); 14] = [
    ("policy", "MUSTER_POLICY", Some("latency")),
    ("min_workers", "MUSTER_MIN_WORKERS", Some("0")),
    ("max_workers", "MUSTER_MAX_WORKERS", Some("15")),
    ("budget", "MUSTER_BUDGET", None),
    ("warm_pool", "MUSTER_WARM_POOL", Some("0")),
    (
        "scale_out_cooldown",
        "MUSTER_SCALE_OUT_COOLDOWN",
        Some("0s"),
    ),
    ("scale_in_cooldown", "MUSTER_SCALE_IN_COOLDOWN", Some("0s")),
    ("idle_time", "MUSTER_IDLE_TIME", Some("2s")),
    ("settle", "MUSTER_SETTLE", Some("200ms")),
    ("keep_idle", "MUSTER_KEEP_IDLE", Some("auto")),
    ("latency_target", "MUSTER_LATENCY_TARGET", Some("2s")),
    ("video_target", "MUSTER_VIDEO_TARGET", Some("60s")),
    ("video_max_workers", "MUSTER_VIDEO_MAX_WORKERS", None),
    ("price_per_hour", "MUSTER_PRICE_PER_HOUR", Some("0.08925")),
];

/// The policy's flags that only the service takes.
#[derive(Debug, Clone, clap::Args)]
pub struct OwnPolicyArgs {
    /// Minimum numbers of workers by time of day, in UTC, under every policy: 08:00-18:00=5,22:00-02:00=1
    #[arg(
        long,
        env = "MUSTER_SCHEDULE",
        value_name = "WINDOWS",
        value_parser = window,
        value_delimiter = ','
    )]
    pub schedule: Vec<Window>,
    /// How long a worker may be silent before its instance is stopped; 3s or more
    #[arg(
        long,
        env = "MUSTER_SILENCE_DEADLINE",
        default_value = "15s",
        value_name = "DURATION",
        value_parser = silence_deadline
    )]
    pub silence_deadline: Duration,
    /// How long an instance may run without a worker before it is stopped
    #[arg(
        long,
        env = "MUSTER_BOOT_DEADLINE",
        default_value = "2m",
        value_name = "DURATION",
        value_parser = duration::parse_positive
    )]
    pub boot_deadline: Duration,
    /// Assumed time that one request occupies a worker, until it is measured
    #[arg(
        long,
        env = "MUSTER_SERVICE_TIME",
        default_value = "500ms",
        value_name = "DURATION",
        value_parser = duration::parse_positive,
        help_heading = "Targets"
    )]
    pub service_time: Duration,
    /// Assumed time from the order to start an instance until its worker is ready, until it is measured
    #[arg(
        long,
        env = "MUSTER_BOOT_TIME",
        default_value = "20s",
        value_name = "DURATION",
        value_parser = duration::parse,
        help_heading = "Targets"
    )]
    pub boot_time: Duration,
    /// Dollars per instance-hour of an instance type: c7i.large=0.08925; given once for each of --instance-type [default:
    /// --price-per-hour for all]
    #[arg(
        long = "price",
        env = "MUSTER_PRICES",
        value_delimiter = ',',
        value_name = "TYPE=DOLLARS",
        value_parser = price,
        help_heading = "Cost"
    )]
    pub prices: Vec<(String, f64)>,
    /// Shortest time that a start of an instance is billed for
    #[arg(
        long,
        env = "MUSTER_BILLING_MINIMUM",
        default_value = "1m",
        value_name = "DURATION",
        value_parser = duration::parse,
        help_heading = "Cost"
    )]
    pub billing_minimum: Duration,
}

impl PolicyFlags {
    /// Replaces the parts of `policy` that are given.
    pub fn apply(&self, policy: &mut Policy) {
        fn set<T: Copy>(part: &mut T, given: Option<T>) {
            *part = given.unwrap_or(*part);
        }
        set(&mut policy.kind, self.policy);
        let bounds = &mut policy.bounds;
        set(&mut bounds.min_workers, self.bounds.min_workers);
        set(&mut bounds.max_workers, self.bounds.max_workers);
        set(&mut bounds.warm_pool, self.bounds.warm_pool);
        bounds.budget_per_hour = self.bounds.budget.or(bounds.budget_per_hour);
        set(
            &mut bounds.scale_out_cooldown,
            self.bounds.scale_out_cooldown,
        );
        set(&mut bounds.scale_in_cooldown, self.bounds.scale_in_cooldown);
        set(&mut policy.prices.per_hour, self.price_per_hour);
        set(&mut policy.targets.latency, self.latency_target);
        set(&mut policy.video.target, self.video_target);
        policy.video.max_workers = self.video_max_workers.or(policy.video.max_workers);
        set(&mut policy.timeouts.idle_time, self.idle_time);
        set(&mut policy.timeouts.settle, self.settle);
        set(&mut policy.timeouts.keep_idle, self.keep_idle);
    }
}

impl BoundFlags {
    /// Checks that the bounds do not contradict each other.
    ///
    /// # Errors
    /// When the minimum exceeds the maximum.
    pub fn check(&self) -> anyhow::Result<()> {
        if let (Some(min), Some(max)) = (self.min_workers, self.max_workers) {
            anyhow::ensure!(
                min <= max,
                "--min-workers {min} exceeds --max-workers {max}"
            );
        }
        Ok(())
    }
}

impl Args for PolicyArgs {
    fn augment_args(command: Command) -> Command {
        let command = PolicyFlags::augment_args(command.next_help_heading("Policy"));
        let command = SERVED
            .into_iter()
            .fold(command, |command, (id, variable, default)| {
                command.mut_arg(id, |arg| arg.env(variable).default_value(default))
            });
        OwnPolicyArgs::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PolicyArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self {
            flags: PolicyFlags::from_arg_matches(matches)?,
            own: OwnPolicyArgs::from_arg_matches(matches)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.flags.update_from_arg_matches(matches)?;
        self.own.update_from_arg_matches(matches)
    }
}

impl PolicyArgs {
    /// Returns the policy. `price_per_hour` replaces the flag of that name.
    ///
    /// # Errors
    /// When the bounds contradict each other.
    pub(super) fn policy(&self, price_per_hour: Option<f64>) -> anyhow::Result<Policy> {
        let own = &self.own;
        let mut policy = Policy {
            timeouts: Timeouts {
                silence_deadline: own.silence_deadline,
                boot_deadline: own.boot_deadline,
                ..Timeouts::default()
            },
            targets: Targets {
                service_time: own.service_time,
                boot_time: own.boot_time,
                ..Targets::default()
            },
            prices: Prices {
                minimum: own.billing_minimum,
                ..Prices::default()
            },
            schedule: own.schedule.clone(),
            ..Policy::default()
        };
        self.flags.apply(&mut policy);
        policy.prices.per_hour = price_per_hour.unwrap_or(policy.prices.per_hour);
        self.flags.bounds.check()?;
        check(&policy)?;
        Ok(policy)
    }
}

/// Checks the schedule and the budget against the bounds.
fn check(policy: &Policy) -> anyhow::Result<()> {
    let max_workers = policy.bounds.max_workers;
    let scheduled = policy.schedule.iter().map(|window| window.min_workers);
    let scheduled = scheduled.max().unwrap_or(0);
    anyhow::ensure!(
        scheduled <= max_workers,
        "--schedule asks for {scheduled} workers, which exceeds --max-workers {max_workers}"
    );
    let least = policy.bounds.min_workers.max(scheduled);
    let cost = f64::from(least) * policy.prices.per_hour;
    if let Some(budget) = policy.bounds.budget_per_hour {
        let price = policy.prices.per_hour;
        anyhow::ensure!(
            !policy.bounds.afford_none(price),
            "--budget {budget} pays for no worker, since one costs {price} dollars an hour: raise it, or set --max-workers 0"
        );
        anyhow::ensure!(
            // Tolerates rounding: a budget that just pays for them is accepted.
            cost <= budget * (1.0 + 1e-9),
            "a minimum of {least} workers costs {cost:.4} dollars an hour, which exceeds --budget {budget}"
        );
    }
    Ok(())
}
