//! The command line.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use localcloud::{
    Authentication, AwsService, Config, Credentials, DEFAULT_REGION, Faults, LambdaConfig,
    RateLimits, RateLimitsPreset, SyncPolicy,
};
use tracing::warn;

/// Serves S3, SQS, EC2 and Lambda, with parts of IAM, STS and CloudWatch, on one local port, without an AWS account.
///
/// Point an AWS client at it with AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
/// AWS_DEFAULT_REGION=us-east-1. An address that other machines can reach gets random credentials, which are printed. With
/// --data, buckets, queues and the logs of instances persist.
///
/// An EC2 instance is a process of its image's command, in a process group of its own. Its environment has EC2_INSTANCE_ID,
/// EC2_USER_DATA_FILE (a file with the decoded user data) and AWS_EC2_METADATA_SERVICE_ENDPOINT (an IMDSv2 service of its
/// own). Its output goes to DATA/instances/ID/console.log. A stop sends SIGTERM, then SIGKILL, to the whole group. No
/// instance outlives localcloud.
///
/// GET /healthz returns "ok". GET /metrics counts calls by service, action and status. GET, PUT and DELETE
/// /_localcloud/faults show, replace and remove the faults. POST /_localcloud/ec2/interruptions interrupts a spot instance.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Address to listen on
    #[arg(
        long,
        env = "LOCALCLOUD_LISTEN",
        default_value = "127.0.0.1:4566",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,

    /// Additional address that serves only S3
    #[arg(long, env = "LOCALCLOUD_S3_LISTEN", value_name = "ADDRESS")]
    s3_listen: Option<SocketAddr>,

    /// Additional address that serves only SQS
    #[arg(long, env = "LOCALCLOUD_SQS_LISTEN", value_name = "ADDRESS")]
    sqs_listen: Option<SocketAddr>,

    /// Additional address that serves only EC2
    #[arg(long, env = "LOCALCLOUD_EC2_LISTEN", value_name = "ADDRESS")]
    ec2_listen: Option<SocketAddr>,

    /// Folder for buckets, queues with their messages, instance logs and user data [default: a temporary folder, removed at
    /// the end]
    #[arg(long, env = "LOCALCLOUD_DATA", value_name = "DIR")]
    data: Option<PathBuf>,

    /// When SQS syncs its data to the disk: always (before each reply), second (once a second) or never (as the system
    /// decides). This matters when the machine fails; the end of localcloud loses nothing in any case
    #[arg(
        long,
        env = "LOCALCLOUD_SYNC",
        default_value = "second",
        value_name = "WHEN"
    )]
    sync: SyncPolicy,

    /// TOML file with tables [[image]] (id, name, command = [...], env = {...}, user_data_env = [...]), [[instance]]
    /// (image, tags = {...}, user_data, instance_profile), [[role]] (name, policies = [FILE...], tags = {...}), [[user]]
    /// (name, policies = [NAME...]) and [[alarm]] (the parameters of PutMetricAlarm). The instances are launched at the
    /// start. A role has an instance profile of its name, and its policies are enforced; those of users are only listed
    #[arg(long, env = "LOCALCLOUD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Append each access of a role to this file, as a line of JSON: principal, action, resource, and the statement that
    /// allows or denies it
    #[arg(long, env = "LOCALCLOUD_RECORD_CALLS", value_name = "FILE")]
    record_calls: Option<PathBuf>,

    /// Seconds for which the credentials of a role are valid. Instances get new ones after half of the time
    #[arg(
        long,
        env = "LOCALCLOUD_ROLE_SESSION",
        default_value_t = 21_600.0,
        value_name = "SECONDS"
    )]
    role_session: f64,

    /// TOML file with the faults to inject: seed, [[call]] (service, action, probability, latency_ms, limit, error, reset,
    /// when), [sqs] (counter_lag_ms, duplicate, deliver_after_delete, empty_receive), [ec2] (describe_lag_ms,
    /// boot_delay_ms, boot_delay_spread_ms, stop_delay_ms, stop_delay_spread_ms, status_check_ms, spot_interruption,
    /// spot_interruption_after_ms, spot_notice_ms, fail_boot_every, limits, capacity) and [lambda] (start_delay_ms, crash)
    #[arg(long, env = "LOCALCLOUD_FAULTS", value_name = "FILE")]
    faults: Option<PathBuf>,

    /// Credentials that requests must be signed with. Prefer the environment: other users of this machine can see the command
    /// line [default: test:test if all addresses are loopback addresses, else random and printed]
    #[arg(
        long,
        env = "LOCALCLOUD_CREDENTIALS",
        hide_env_values = true,
        value_name = "KEY:SECRET"
    )]
    credentials: Option<Credentials>,

    /// Accept any access key and signature, and unsigned requests
    #[arg(
        long,
        env = "LOCALCLOUD_ANY_CREDENTIALS",
        conflicts_with = "credentials"
    )]
    any_credentials: bool,

    /// Region in ARNs and availability zones. Requests may be signed for any region
    #[arg(long, env = "LOCALCLOUD_REGION", default_value = DEFAULT_REGION, value_name = "REGION")]
    region: String,

    /// Seconds from SIGTERM to SIGKILL when an instance stops
    #[arg(
        long,
        env = "LOCALCLOUD_STOP_GRACE",
        default_value_t = 10.0,
        value_name = "SECONDS"
    )]
    stop_grace: f64,

    /// Maximum number of functions that run at once, as an account's concurrency
    #[arg(
        long,
        env = "LOCALCLOUD_LAMBDA_CONCURRENCY",
        default_value_t = 10,
        value_name = "COUNT"
    )]
    lambda_concurrency: usize,

    /// Seconds before the first retry of an event that a function failed to handle; the second one waits twice as long. AWS
    /// waits 60
    #[arg(
        long,
        env = "LOCALCLOUD_LAMBDA_RETRY_DELAY",
        default_value_t = 1.0,
        value_name = "SECONDS"
    )]
    lambda_retry_delay: f64,

    /// Seconds for which the process of a function is kept, frozen, after an invocation
    #[arg(
        long,
        env = "LOCALCLOUD_LAMBDA_IDLE_TIME",
        default_value_t = 300.0,
        value_name = "SECONDS"
    )]
    lambda_idle_time: f64,

    /// Maximum number of instances that run at once
    #[arg(
        long,
        env = "LOCALCLOUD_MAX_INSTANCES",
        default_value_t = 100,
        value_name = "COUNT"
    )]
    max_instances: usize,

    /// Seconds between the starts of two instances' processes. On few cores, instances that boot one after another are
    /// ready earlier on average than instances that boot at once
    #[arg(
        long,
        env = "LOCALCLOUD_START_INTERVAL",
        default_value_t = 0.0,
        value_name = "SECONDS"
    )]
    start_interval: f64,

    /// Rate limits of EC2's actions, above which EC2 returns RequestLimitExceeded. Limits of the faults add to these
    #[arg(
        long,
        env = "LOCALCLOUD_EC2_LIMITS",
        value_enum,
        value_name = "PRESET",
        default_value_t = RateLimitsPreset::None
    )]
    ec2_limits: RateLimitsPreset,
}

impl Arguments {
    /// Returns the address of all services, and those of one service each.
    pub fn addresses(&self) -> (SocketAddr, Vec<(AwsService, SocketAddr)>) {
        let only = [
            (AwsService::S3, self.s3_listen),
            (AwsService::Sqs, self.sqs_listen),
            (AwsService::Ec2, self.ec2_listen),
        ];
        let only = only.into_iter();
        let only = only.filter_map(|(service, address)| Some((service, address?)));
        (self.listen, only.collect())
    }

    /// Returns the configuration, for which it reads the files. Prints the credentials if they are random.
    ///
    /// # Errors
    /// When a file or a value cannot be used.
    pub fn into_config(self) -> anyhow::Result<Config> {
        let faults = match &self.faults {
            Some(file) => Faults::read(file)?,
            None => Faults::default(),
        };
        let mut config = Config {
            authentication: self.authentication(),
            data: self.data,
            sync: self.sync,
            region: self.region,
            stop_grace: Duration::try_from_secs_f64(self.stop_grace).context("--stop-grace")?,
            max_instances: self.max_instances,
            lambda: LambdaConfig {
                concurrency: self.lambda_concurrency,
                retry_delay: Duration::try_from_secs_f64(self.lambda_retry_delay)
                    .context("--lambda-retry-delay")?,
                idle_time: Duration::try_from_secs_f64(self.lambda_idle_time)
                    .context("--lambda-idle-time")?,
            },
            record_calls: self.record_calls,
            role_session: Duration::try_from_secs_f64(self.role_session)
                .context("--role-session")?,
            start_interval: Duration::try_from_secs_f64(self.start_interval)
                .context("--start-interval")?,
            ec2_limits: RateLimits::from(self.ec2_limits),
            faults,
            ..Config::default()
        };
        if let Some(file) = self.config {
            config.add_file(&file)?;
        }
        Ok(config)
    }

    fn authentication(&self) -> Authentication {
        let (listen, only) = self.addresses();
        let addresses = std::iter::once(listen).chain(only.into_iter().map(|(_, address)| address));
        let is_open = addresses.clone().any(|address| !address.ip().is_loopback());
        if self.any_credentials {
            if is_open {
                warn!("every machine that can reach this one can run commands on it");
            }
            return Authentication::Any;
        }
        let credentials = self.credentials.clone();
        Authentication::Keys(credentials.unwrap_or_else(|| {
            let credentials = Credentials::default_for(addresses);
            if is_open {
                // `println!` panics if the reader of the output is gone.
                let _ = writeln!(
                    std::io::stdout(),
                    "AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={}",
                    credentials.access_key,
                    credentials.secret_key
                );
            }
            credentials
        }))
    }
}
