mod policy;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use platform::access::KeyArgs;
use platform::admin::AdminArgs;
use platform::aws::AwsArgs;
use platform::demand::DemandArgs;
use platform::fleet::{LaunchSpec, Market, UserData};
use platform::grpc::DoorArgs;
use platform::tls::PeerTlsArgs;
use platform::token::{FLEET_TOKEN_VARIABLE, Token};

pub use self::policy::PolicyArgs;
pub(crate) use self::value::{
    dollars, duration, keep_idle, policy_kind, positive_duration, share, window,
};
use crate::access::TokenArgs;
use crate::execute::{Places, RequestLimits, Settings};
use crate::fleet_token::PLACEHOLDER;
use crate::lease::LeaseTimes;
use crate::plan::Policy;

/// Everything that [`crate::run()`] needs besides its listener and the AWS clients.
#[derive(Debug, Clone)]
pub struct Config {
    pub policy: Policy,
    /// How often EC2 and the queue are asked in the ordinary.
    pub tick: Duration,
    /// URL of front, whose demand decides unless `demand` is given.
    pub front: String,
    /// Redis in which any number of fronts keep their demand.
    pub demand: DemandArgs,
    /// Prefix of the names of buckets and queues.
    pub prefix: String,
    /// What workers are launched from, and how EC2 is called.
    pub calls: Settings,
    /// Absent: this is the only scaler.
    pub lease: Option<LeaseConfig>,
    pub door: DoorArgs,
    pub peer_tls: PeerTlsArgs,
    /// What front lets the scaler in by.
    pub key: Option<Token>,
    /// Who carries it may change bounds, pause and resume; absent: nobody.
    pub token: Option<Token>,
    /// What workers prove themselves with; absent: what the scaler's bucket holds.
    pub fleet_token: Option<Token>,
    pub admin: AdminArgs,
}

/// How scalers agree on which of them acts.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    pub times: LeaseTimes,
    /// Where others reach this scaler; absent: at the address it listens on.
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
    /// Where front serves its demand; not used with --demand
    #[arg(
        long,
        env = "MUSTER_FRONT",
        default_value = "http://127.0.0.1:8051",
        value_name = "URL"
    )]
    pub front: String,
    /// How often EC2 and the queue are asked; seldom while nothing runs, more often while instances stop or start
    #[arg(long, default_value = "500ms", value_name = "DURATION", value_parser = duration)]
    pub tick: Duration,
    #[command(flatten)]
    pub demand: DemandArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub door: DoorArgs,
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
    /// EC2 instance type; several, best first: the next is launched where there is no capacity for those before it
    #[arg(
        long,
        env = "MUSTER_WORKER_INSTANCE_TYPE",
        default_value = "c7i.large",
        value_delimiter = ',',
        value_name = "TYPE"
    )]
    pub instance_type: Vec<String>,
    /// Subnet; absent: the account's default; several, best first: all are tried before the next instance type
    #[arg(
        long,
        env = "MUSTER_WORKER_SUBNET",
        value_delimiter = ',',
        value_name = "ID"
    )]
    pub subnet_id: Vec<String>,
    /// How to buy instances; spot instances are terminated instead of stopped
    #[arg(
        long,
        env = "MUSTER_WORKER_MARKET",
        default_value = "on-demand",
        value_name = "MARKET"
    )]
    pub market: MarketArg,
    /// Tag of the instances besides Name; may be given several times
    #[arg(
        long = "tag",
        env = "MUSTER_WORKER_TAGS",
        value_delimiter = ',',
        value_name = "KEY=VALUE",
        value_parser = tag
    )]
    pub tags: Vec<(String, String)>,
    /// Keep calls within AWS's published request limits: aws, none, or a factor of them
    #[arg(
        long,
        env = "MUSTER_EC2_REQUEST_LIMITS",
        default_value = "aws",
        value_name = "LIMITS"
    )]
    pub ec2_request_limits: RequestLimits,
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
    /// File with the user data, in which @MUSTER_FLEET_TOKEN@ stands for the fleet's token; absent: the one line
    /// MUSTER_FLEET_TOKEN=@MUSTER_FLEET_TOKEN@
    #[arg(long, env = "MUSTER_WORKER_USER_DATA_FILE", value_name = "FILE")]
    pub user_data_file: Option<PathBuf>,
    /// File with the token that workers prove themselves with; absent: the environment variable MUSTER_FLEET_TOKEN, and
    /// without that a token that the scaler makes once and keeps in its bucket
    #[arg(long, env = "MUSTER_FLEET_TOKEN_FILE", value_name = "FILE")]
    pub fleet_token_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MarketArg {
    OnDemand,
    Spot,
}

/// How scalers agree on which of them acts.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Lease")]
pub struct LeaseArgs {
    /// Whether scalers of one prefix take turns by a lease in S3; off where there is only ever one
    #[arg(
        long,
        env = "MUSTER_LEASE",
        default_value = "on",
        value_name = "ON|OFF"
    )]
    pub lease: LeaseSwitch,
    /// How long a scaler that dies holds up the next one; 15s or more
    #[arg(
        long,
        env = "MUSTER_LEASE_TIME",
        default_value = "20s",
        value_name = "DURATION",
        value_parser = duration
    )]
    pub lease_time: Duration,
    /// Where others reach this scaler, as the lease names it; absent: the address it listens on
    #[arg(long, env = "MUSTER_SCALER_ADVERTISED", value_name = "ADDRESS")]
    pub advertised: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LeaseSwitch {
    On,
    Off,
}

impl ServeArgs {
    /// # Errors
    /// When the bounds contradict each other or the market, the lease time is too short, the user data or a token
    /// cannot be read, or the workers would not learn the fleet's token.
    pub fn config(&self) -> anyhow::Result<Config> {
        anyhow::ensure!(
            self.policy.warm_pool == 0 || self.launch.market != MarketArg::Spot,
            "--warm-pool {} does not go with --market spot: spot instances cannot be stopped and kept ready",
            self.policy.warm_pool
        );
        let fleet_token = self.launch.fleet_token()?;
        Ok(Config {
            policy: self.policy()?,
            tick: self.tick,
            front: self.front.clone(),
            demand: self.demand.clone(),
            prefix: self.aws.prefix.clone(),
            calls: self.launch.settings(fleet_token.is_some())?,
            lease: self.lease.config()?,
            door: self.door.clone(),
            peer_tls: self.peer_tls.clone(),
            key: self.key.key()?,
            token: self.token.token()?,
            fleet_token,
            admin: self.admin.clone(),
        })
    }
}

impl ServeArgs {
    /// Which instance type a launch will bring is not known before, so all count at the price of the dearest.
    fn policy(&self) -> anyhow::Result<Policy> {
        let mut policy = self.policy.clone();
        let prices = &policy.prices.by_type;
        if !prices.is_empty() {
            let mut dearest = 0.0_f64;
            for kind in &self.launch.instance_type {
                let price = prices.iter().find(|(priced, _)| priced == kind);
                let (_, price) =
                    price.with_context(|| format!("--price says nothing of {kind}"))?;
                dearest = dearest.max(*price);
            }
            policy.prices.price_per_hour = dearest;
        }
        policy.policy()
    }
}

impl LeaseArgs {
    fn config(&self) -> anyhow::Result<Option<LeaseConfig>> {
        if self.lease == LeaseSwitch::Off {
            return Ok(None);
        }
        Ok(Some(LeaseConfig {
            times: LeaseTimes::of(self.lease_time)?,
            advertised: self.advertised.clone(),
        }))
    }
}

impl LaunchArgs {
    fn fleet_token(&self) -> anyhow::Result<Option<Token>> {
        Token::read(self.fleet_token_file.as_deref(), FLEET_TOKEN_VARIABLE)
    }

    /// A token that is given may be in the image; one that the scaler makes gets to the workers by the user data alone.
    fn settings(&self, fleet_token_is_given: bool) -> anyhow::Result<Settings> {
        let mut places = Places::combine(&self.instance_type, &self.subnet_id).into_iter();
        let first = places.next().context("--instance-type is empty")?;
        let user_data = match &self.user_data_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the user data in {}", path.display()))?;
                anyhow::ensure!(
                    fleet_token_is_given || text.contains(PLACEHOLDER),
                    "the user data in {} does not tell the workers the fleet's token: add {FLEET_TOKEN_VARIABLE}={PLACEHOLDER}, or give the token by --fleet-token-file",
                    path.display()
                );
                text
            }
            None => format!("{FLEET_TOKEN_VARIABLE}={PLACEHOLDER}\n"),
        };
        let launch = LaunchSpec {
            image_id: self.image_id.clone(),
            instance_type: first.instance_type,
            subnet_id: first.subnet_id,
            security_group_ids: self.security_group_id.clone(),
            instance_profile: self.instance_profile.clone(),
            key_name: self.key_name.clone(),
            user_data: UserData(user_data),
            tags: self.tags.clone(),
            market: match self.market {
                MarketArg::OnDemand => Market::OnDemand,
                MarketArg::Spot => Market::Spot,
            },
        };
        Ok(Settings {
            launch,
            fallbacks: places.collect(),
            request_limits: self.ec2_request_limits,
        })
    }
}

/// `Name` is how instances are found, and AWS keeps what begins with `aws:` to itself.
fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some(("Name", _)) => Err("the tag Name is the scaler's own".to_owned()),
        Some((key, value)) if !key.is_empty() && !key.starts_with("aws:") => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let calls = serve(&arguments).unwrap().calls;
        assert_eq!(calls.launch.instance_type, "c7i.large");
        assert_eq!(calls.launch.subnet_id.as_deref(), Some("subnet-a"));
        let fallbacks: Vec<_> = calls
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
        assert_eq!(calls.launch.market, Market::Spot);
        let tags = [("team", "faces"), ("note", "a=b")];
        assert_eq!(
            calls.launch.tags,
            tags.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn user_data_that_does_not_tell_the_token_is_refused() {
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
        let by_default = serve(&[]).unwrap().calls.launch.user_data;
        assert!(by_default.0.contains(PLACEHOLDER));
    }

    #[test]
    fn a_fleet_of_several_types_counts_at_the_dearest_price() {
        let types = "--instance-type=c7i.large,m7i.large";
        let prices = "--price=c7i.large=0.09,m7i.large=0.1,c7i.xlarge=0.2";
        assert_eq!(serve(&[types, prices]).unwrap().policy.prices.per_hour, 0.1);
        assert!(serve(&[types, "--price=c7i.large=0.09"]).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            "--tag=Name=mine",
            "--tag=aws:x=y",
            "--tag=x",
            "--market=bazaar",
            "--ec2-request-limits=few",
            "--lease-time=14s",
        ] {
            assert!(serve(&[wrong]).is_err(), "{wrong}");
        }
        assert!(serve(&["--lease=off"]).unwrap().lease.is_none());
    }

    /// They would be launched and terminated for ever.
    #[test]
    fn a_warm_pool_of_spot_instances_is_refused() {
        let refused = serve(&["--market=spot", "--warm-pool=2"]).unwrap_err();
        assert!(refused.to_string().contains("--market spot"), "{refused}");
        assert!(serve(&["--market=spot"]).is_ok());
        assert!(serve(&["--warm-pool=2"]).is_ok());
    }
}
