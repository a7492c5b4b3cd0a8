//! The scaler's flags and environment variables.

mod launch;
mod policy;
pub mod preflight;
mod value;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use platform::access::KeyArgs;
use platform::admin::AdminArgs;
use platform::aws::AwsArgs;
use platform::demand::DemandArgs;
use platform::fleet::Market;
use platform::grpc::ServerArgs;
use platform::tls::PeerTlsArgs;
use platform::token::Token;

pub use self::launch::LaunchArgs;
pub use self::policy::{BoundFlags, PolicyArgs, PolicyFlags};
pub(crate) use self::value::{keep_idle, policy_kind, share, window};
use crate::execute::ExecutorConfig;
use crate::lease::LeaseTimes;
use crate::plan::Policy;
use crate::rpc::TokenArgs;

/// What [`crate::run()`] needs besides its listener and the AWS clients.
#[derive(Debug, Clone)]
pub struct Config {
    pub policy: Policy,
    /// Normal polling interval of EC2 and the queue.
    pub tick: Duration,
    /// URL of front. Not used when `demand` names a Redis.
    pub front: String,
    /// Redis in which any number of fronts publish their demand.
    pub demand: DemandArgs,
    /// Prefix of the names of buckets and queues.
    pub prefix: String,
    pub executor: ExecutorConfig,
    /// Whether to check the account after the start.
    pub preflight: bool,
    /// `None`: this is the only scaler.
    pub lease: Option<LeaseConfig>,
    pub server: ServerArgs,
    pub peer_tls: PeerTlsArgs,
    /// API key for front.
    pub key: Option<Token>,
    /// Permits its bearer to change bounds, pause and resume.
    pub token: Option<Token>,
    /// `None`: the token is in the scaler's bucket.
    pub fleet_token: Option<Token>,
    pub admin: AdminArgs,
}

/// How several scalers agree on one leader.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    pub times: LeaseTimes,
    /// Address at which others reach this scaler. `None`: the address it listens on.
    pub advertised: Option<String>,
}

/// The scaler's command line.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Address to serve gRPC on
    #[arg(
        long,
        env = "MUSTER_SCALER_LISTEN",
        default_value = "127.0.0.1:8052",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// URL at which front serves its demand; not used with --demand
    #[arg(
        long,
        env = "MUSTER_FRONT",
        default_value = "http://127.0.0.1:8051",
        value_name = "URL"
    )]
    pub front: String,
    /// Normal polling interval of EC2 and the queue, 50ms to 4s; longer while nothing runs, shorter while instances start
    /// or stop
    #[arg(
        long,
        env = "MUSTER_TICK",
        default_value = "500ms",
        value_name = "DURATION",
        value_parser = value::tick
    )]
    pub tick: Duration,
    /// Whether to check the account as `scaler preflight` does, in the background after the start
    #[arg(
        long,
        env = "MUSTER_PREFLIGHT",
        default_value = "on",
        value_name = "ON|OFF"
    )]
    pub preflight: Switch,
    #[command(flatten)]
    pub demand: DemandArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub peer_tls: PeerTlsArgs,
    #[command(flatten)]
    pub key: KeyArgs,
    #[command(flatten)]
    pub token: TokenArgs,
    #[command(flatten)]
    pub launch: LaunchArgs,
    #[command(flatten)]
    pub lease: LeaseArgs,
    #[command(flatten)]
    pub aws: AwsArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// How several scalers agree on one leader.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Lease")]
pub struct LeaseArgs {
    /// Whether scalers with the same prefix elect a leader by a lease in S3; off when there is only one scaler
    #[arg(
        long,
        env = "MUSTER_LEASE",
        default_value = "on",
        value_name = "ON|OFF"
    )]
    pub lease: Switch,
    /// How long the next scaler waits after a leader has died; 15s or more
    #[arg(
        long,
        env = "MUSTER_LEASE_TIME",
        default_value = "20s",
        value_name = "DURATION",
        value_parser = platform::duration::parse
    )]
    pub lease_time: Duration,
    /// Address at which others reach this scaler, as the lease names it [default: the address it listens on]
    #[arg(long, env = "MUSTER_SCALER_ADVERTISED", value_name = "ADDRESS")]
    pub advertised: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

impl ServeArgs {
    /// Returns the configuration.
    ///
    /// # Errors
    /// When the bounds contradict each other or the market, the lease time is too short, the user data or a token cannot
    /// be read, or the user data would not give the fleet's token to the workers.
    pub fn config(&self) -> anyhow::Result<Config> {
        let policy = self.policy()?;
        let warm_pool = policy.bounds.warm_pool;
        anyhow::ensure!(
            warm_pool == 0 || self.launch.market != Market::Spot,
            "--warm-pool {warm_pool} does not go with --market spot: spot instances cannot be stopped and kept ready"
        );
        let fleet_token = self.launch.fleet_token()?;
        Ok(Config {
            policy,
            tick: self.tick,
            front: self.front.clone(),
            demand: self.demand.clone(),
            prefix: self.aws.prefix.clone(),
            executor: self.launch.executor(fleet_token.is_some())?,
            preflight: self.preflight == Switch::On,
            lease: self.lease.config()?,
            server: self.server.clone(),
            peer_tls: self.peer_tls.clone(),
            key: self.key.key()?,
            token: self.token.token()?,
            fleet_token,
            admin: self.admin.clone(),
        })
    }

    /// The instance type of a launch is not known in advance, so all instances count at the highest price.
    fn policy(&self) -> anyhow::Result<Policy> {
        let prices = &self.policy.own.prices;
        let mut highest = None;
        if !prices.is_empty() {
            for kind in &self.launch.instance_type {
                let price = prices.iter().find(|(priced, _)| priced == kind);
                let (_, price) = price.with_context(|| {
                    format!("--price is missing for {kind}: add {kind}=DOLLARS")
                })?;
                highest = Some(price.max(highest.unwrap_or(0.0)));
            }
        }
        self.policy.policy(highest)
    }
}

impl LeaseArgs {
    fn config(&self) -> anyhow::Result<Option<LeaseConfig>> {
        if self.lease == Switch::Off {
            return Ok(None);
        }
        Ok(Some(LeaseConfig {
            times: LeaseTimes::of(self.lease_time)?,
            advertised: self.advertised.clone(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use platform::fleet::{Disk, HopLimit};

    use super::*;
    use crate::fleet::token::PLACEHOLDER;

    fn serve(arguments: &[&str]) -> anyhow::Result<Config> {
        let arguments = ["scaler"].iter().chain(arguments);
        let cli = <crate::cli::Cli as clap::Parser>::try_parse_from(arguments)?;
        cli.serve.config()
    }

    #[test]
    fn types_and_subnets_are_combined_in_order() {
        let arguments = [
            "--instance-type=c7i.large,m7i.large",
            "--subnet-id=subnet-a",
            "--subnet-id=subnet-b",
            "--market=spot",
            "--tag=team=faces",
            "--tag=note=a=b",
        ];
        let executor = serve(&arguments).unwrap().executor;
        assert_eq!(executor.launch.instance_type, "c7i.large");
        assert_eq!(executor.launch.subnet_id.as_deref(), Some("subnet-a"));
        let fallbacks: Vec<_> = executor
            .fallbacks
            .iter()
            .map(|it| (it.instance_type.as_str(), it.subnet_id.as_deref()))
            .collect();
        let expected = [
            ("c7i.large", Some("subnet-b")),
            ("m7i.large", Some("subnet-a")),
            ("m7i.large", Some("subnet-b")),
        ];
        assert_eq!(fallbacks, expected);
        assert_eq!(executor.launch.market, Market::Spot);
        let tags = [("team", "faces"), ("note", "a=b")];
        assert_eq!(
            executor.launch.tags,
            tags.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn disk_and_address_are_the_images_and_the_subnets_unless_they_are_set() {
        let by_default = serve(&[]).unwrap().executor.launch;
        assert_eq!((by_default.disk, by_default.public_ip), (None, None));
        assert_eq!(by_default.hop_limit, HopLimit(1));
        assert!(!by_default.detailed_monitoring);
        let set = serve(&[
            "--disk-gb=20",
            "--disk-type=gp3",
            "--public-ip=false",
            "--metadata-hop-limit=2",
            "--detailed-monitoring=true",
        ]);
        let set = set.unwrap().executor.launch;
        let disk = Disk {
            size: Some(20),
            kind: Some("gp3".to_owned()),
            encrypted: None,
        };
        assert_eq!((set.disk, set.public_ip), (Some(disk), Some(false)));
        assert_eq!(set.hop_limit, HopLimit(2));
        assert!(set.detailed_monitoring);
    }

    #[test]
    fn user_data_without_the_token_is_refused() {
        let user_data = tempfile::NamedTempFile::new().unwrap();
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(user_data.path(), "MUSTER_PREFIX=faces\n").unwrap();
        std::fs::write(token.path(), "secret\n").unwrap();
        let user_data_file = format!("--user-data-file={}", user_data.path().display());
        let token_file = format!("--fleet-token-file={}", token.path().display());
        let refused = serve(&[&user_data_file]).unwrap_err();
        assert!(refused.to_string().contains(PLACEHOLDER), "{refused}");
        let config = serve(&[&user_data_file, &token_file]).unwrap();
        assert!(config.fleet_token.is_some());
        assert!(!format!("{config:?}").contains("secret"));
        std::fs::write(user_data.path(), format!("A={PLACEHOLDER}\n")).unwrap();
        assert!(serve(&[&user_data_file]).is_ok());
        let by_default = serve(&[]).unwrap().executor.launch.user_data;
        assert!(by_default.0.contains(PLACEHOLDER));
    }

    #[test]
    fn a_fleet_of_several_types_counts_at_the_highest_price() {
        let types = "--instance-type=c7i.large,m7i.large";
        let prices = "--price=c7i.large=0.09,m7i.large=0.1,c7i.xlarge=0.2";
        assert_eq!(serve(&[types, prices]).unwrap().policy.prices.per_hour, 0.1);
        assert!(serve(&[types, "--price=c7i.large=0.09"]).is_err());
    }

    #[test]
    fn invalid_values_are_refused() {
        for wrong in [
            "--tag=Name=mine",
            "--tag=muster-prefix=other",
            "--tag=muster-launch=0",
            "--tag=aws:x=y",
            "--tag=x",
            "--market=bazaar",
            "--ec2-request-limits=few",
            "--lease-time=14s",
            "--public-ip=maybe",
            "--disk-gb=0",
            "--metadata-hop-limit=0",
            "--detailed-monitoring=maybe",
            "--silence-deadline=0s",
            "--silence-deadline=2s",
            "--boot-deadline=0s",
            "--tick=0s",
            "--tick=49ms",
            "--tick=5s",
        ] {
            assert!(serve(&[wrong]).is_err(), "{wrong}");
        }
        assert!(serve(&["--lease=off"]).unwrap().lease.is_none());
    }

    /// The packaged unit and the template of AWS pass nothing but the environment.
    #[test]
    fn every_deadline_has_a_variable() {
        let command = <crate::cli::Cli as clap::CommandFactory>::command();
        for (id, variable) in [
            ("silence_deadline", "MUSTER_SILENCE_DEADLINE"),
            ("boot_deadline", "MUSTER_BOOT_DEADLINE"),
            ("tick", "MUSTER_TICK"),
        ] {
            let argument = command.get_arguments().find(|it| it.get_id() == id);
            let read = argument.and_then(clap::Arg::get_env);
            assert_eq!(read, Some(std::ffi::OsStr::new(variable)), "{id}");
        }
    }

    /// Spot instances would be launched and terminated forever.
    #[test]
    fn a_warm_pool_of_spot_instances_is_refused() {
        let refused = serve(&["--market=spot", "--warm-pool=2"]).unwrap_err();
        assert!(refused.to_string().contains("--market spot"), "{refused}");
        assert!(serve(&["--market=spot"]).is_ok());
        assert!(serve(&["--warm-pool=2"]).is_ok());
    }
}
