use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use platform::admin::AdminArgs;
use platform::aws::AwsArgs;
use platform::fleet::LaunchSpec;

use crate::access::{Token, TokenArgs};
use crate::plan::{Bounds, Patience, Policy, PolicyKind};

/// Everything that [`crate::run()`] needs besides its listener and the AWS clients.
#[derive(Debug, Clone)]
pub struct Config {
    pub policy: Policy,
    /// How often EC2 and the queue are asked in the ordinary.
    pub tick: Duration,
    /// URL of front, whose demand decides.
    pub front: String,
    /// Prefix of the names of buckets and queues.
    pub prefix: String,
    /// What workers are launched from.
    pub launch: LaunchSpec,
    /// Who carries it may change bounds, pause and resume; absent: nobody.
    pub token: Option<Token>,
    pub admin: AdminArgs,
}

/// The scaler's command line.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Address to serve gRPC on
    #[arg(
        long,
        env = "MUSTER_SCALER_LISTEN",
        default_value = "127.0.0.1:50052",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// Where front serves its demand
    #[arg(
        long,
        env = "MUSTER_FRONT",
        default_value = "http://127.0.0.1:50051",
        value_name = "URL"
    )]
    pub front: String,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub token: TokenArgs,
    #[command(flatten)]
    pub launch: LaunchArgs,
    #[command(flatten)]
    pub aws: AwsArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// How to decide.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Policy")]
pub struct PolicyArgs {
    /// The rule that turns demand into a number of workers
    #[arg(long, env = "MUSTER_POLICY", default_value = "latency")]
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
    /// How long a worker that is not needed stays idle before it goes
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = duration)]
    pub idle_time: Duration,
    /// How long demand stays at zero before all workers go
    #[arg(long, default_value = "200ms", value_name = "DURATION", value_parser = duration)]
    pub settle: Duration,
    /// After how long without a report a worker is given up and its instance stopped
    #[arg(long, default_value = "15s", value_name = "DURATION", value_parser = duration)]
    pub silence_deadline: Duration,
    /// After how long of running without a worker an instance is stopped
    #[arg(long, default_value = "2m", value_name = "DURATION", value_parser = duration)]
    pub boot_deadline: Duration,
    /// How often EC2 and the queue are asked; seldom while nothing runs, more often while instances stop or start
    #[arg(long, default_value = "500ms", value_name = "DURATION", value_parser = duration)]
    pub tick: Duration,
}

/// What workers are launched from.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Worker instances")]
pub struct LaunchArgs {
    /// Machine image
    #[arg(
        long,
        env = "MUSTER_WORKER_IMAGE",
        default_value = "ami-muster-worker",
        value_name = "ID"
    )]
    pub image_id: String,
    /// EC2 instance type
    #[arg(
        long,
        env = "MUSTER_WORKER_INSTANCE_TYPE",
        default_value = "c7i.large",
        value_name = "TYPE"
    )]
    pub instance_type: String,
    /// Subnet; absent: the account's default
    #[arg(long, env = "MUSTER_WORKER_SUBNET", value_name = "ID")]
    pub subnet_id: Option<String>,
    /// Security group; may be given several times
    #[arg(
        long,
        env = "MUSTER_WORKER_SECURITY_GROUPS",
        value_delimiter = ',',
        value_name = "ID"
    )]
    pub security_group_id: Vec<String>,
    /// Name of the IAM instance profile
    #[arg(long, env = "MUSTER_WORKER_INSTANCE_PROFILE", value_name = "NAME")]
    pub instance_profile: Option<String>,
    /// Name of the SSH key pair
    #[arg(long, env = "MUSTER_WORKER_KEY", value_name = "NAME")]
    pub key_name: Option<String>,
    /// File with the user data
    #[arg(long, env = "MUSTER_WORKER_USER_DATA_FILE", value_name = "FILE")]
    pub user_data_file: Option<PathBuf>,
}

impl ServeArgs {
    /// # Errors
    /// When the bounds contradict each other, or the user data or the token cannot be read.
    pub fn config(&self) -> anyhow::Result<Config> {
        Ok(Config {
            policy: self.policy.policy()?,
            tick: self.policy.tick,
            front: self.front.clone(),
            prefix: self.aws.prefix.clone(),
            launch: self.launch.spec()?,
            token: self.token.token()?,
            admin: self.admin.clone(),
        })
    }
}

impl PolicyArgs {
    fn policy(&self) -> anyhow::Result<Policy> {
        let (min_workers, max_workers) = (self.min_workers, self.max_workers);
        anyhow::ensure!(
            min_workers <= max_workers,
            "--min-workers {min_workers} exceeds --max-workers {max_workers}"
        );
        Ok(Policy {
            kind: self.policy,
            bounds: Bounds {
                min_workers,
                max_workers,
                ..Bounds::default()
            },
            patience: Patience {
                idle_time: self.idle_time,
                settle: self.settle,
                silence_deadline: self.silence_deadline,
                boot_deadline: self.boot_deadline,
                ..Patience::default()
            },
            ..Policy::default()
        })
    }
}

impl LaunchArgs {
    fn spec(&self) -> anyhow::Result<LaunchSpec> {
        let user_data = match &self.user_data_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the user data in {}", path.display()))?,
            None => String::new(),
        };
        Ok(LaunchSpec {
            image_id: self.image_id.clone(),
            instance_type: self.instance_type.clone(),
            subnet_id: self.subnet_id.clone(),
            security_group_ids: self.security_group_id.clone(),
            instance_profile: self.instance_profile.clone(),
            key_name: self.key_name.clone(),
            user_data,
            tags: Vec::new(),
        })
    }
}

/// A whole number and one of the units ms, s, m and h.
pub fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("expected a number with a unit: 200ms, 2s, 5m, 1h".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a number before the unit".to_owned())?;
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(|| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in [
            "",
            "2",
            "s",
            "-2s",
            "2 s",
            "2d",
            "99999999999999999999s",
            "9999999999999999h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }
}
