use std::path::PathBuf;

use anyhow::Context;
use platform::fleet::{Disk, HopLimit, LAUNCH_TAG, LaunchSpec, Market, PREFIX_TAG, UserData};
use platform::token::{FLEET_TOKEN_VARIABLE, Token};

use crate::execute::{CapacityPools, ExecutorConfig, RequestLimits};
use crate::fleet::token::PLACEHOLDER;

/// How worker instances are launched. When a setting of those that an instance keeps changes, its instances are replaced.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Worker instances")]
pub struct LaunchArgs {
    /// Machine image
    #[arg(long, env = "MUSTER_WORKER_IMAGE", default_value = "ami-muster-worker")]
    pub image_id: String,
    /// EC2 instance types, best first: the next one is launched when EC2 lacks capacity for those before it
    #[arg(
        long,
        env = "MUSTER_WORKER_INSTANCE_TYPE",
        default_value = "c7i.large",
        value_delimiter = ','
    )]
    pub instance_type: Vec<String>,
    /// Subnets, best first: all are tried before the next instance type [default: the account's default subnet]
    #[arg(long, env = "MUSTER_WORKER_SUBNET", value_delimiter = ',')]
    pub subnet_id: Vec<String>,
    /// Security group; may be given several times
    #[arg(long, env = "MUSTER_WORKER_SECURITY_GROUPS", value_delimiter = ',')]
    pub security_group_id: Vec<String>,
    /// Whether instances get a public address: true or false [default: as the subnet says]
    #[arg(long, env = "MUSTER_WORKER_PUBLIC_IP")]
    pub public_ip: Option<bool>,
    /// Name of the IAM instance profile
    #[arg(long, env = "MUSTER_WORKER_INSTANCE_PROFILE")]
    pub instance_profile: Option<String>,
    /// Name of the SSH key pair
    #[arg(long, env = "MUSTER_WORKER_KEY")]
    pub key_name: Option<String>,
    /// Size of the disk in GiB, at least the image's [default: the image's]
    #[arg(long, env = "MUSTER_WORKER_DISK_GB", value_parser = clap::value_parser!(i32).range(1..=65_536))]
    pub disk_gb: Option<i32>,
    /// EBS volume type of the disk, such as gp3 [default: the image's]
    #[arg(long, env = "MUSTER_WORKER_DISK_TYPE")]
    pub disk_type: Option<String>,
    /// Whether the disk is encrypted with the account's default key: true or false [default: as the image]
    #[arg(long, env = "MUSTER_WORKER_DISK_ENCRYPTED")]
    pub disk_encrypted: Option<bool>,
    /// Network hops that replies of the metadata service travel, 1 to 64; a worker in a container needs 2. Session tokens
    /// (IMDSv2) are always required
    #[arg(long, env = "MUSTER_WORKER_METADATA_HOP_LIMIT", default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=64))]
    pub metadata_hop_limit: u8,
    /// Whether CloudWatch gets metrics of the instances every minute instead of every five, which AWS bills: true or false
    #[arg(long, env = "MUSTER_WORKER_DETAILED_MONITORING", default_value = "false", action = clap::ArgAction::Set)]
    pub detailed_monitoring: bool,
    /// How to buy instances; spot instances are terminated instead of stopped
    #[arg(long, env = "MUSTER_WORKER_MARKET", default_value = "on-demand")]
    pub market: Market,
    /// Tag for instances and disks; may be given several times
    #[arg(long = "tag", env = "MUSTER_WORKER_TAGS", value_delimiter = ',', value_name = "KEY=VALUE", value_parser = tag)]
    pub tags: Vec<(String, String)>,
    /// File with the user data, in which @MUSTER_FLEET_TOKEN@ stands for the fleet's token. Without it the user
    /// data is the one line MUSTER_FLEET_TOKEN=@MUSTER_FLEET_TOKEN@
    #[arg(long, env = "MUSTER_WORKER_USER_DATA_FILE", value_name = "FILE")]
    pub user_data_file: Option<PathBuf>,
    /// File with the token by which workers prove that they belong to the fleet [default: the environment variable
    /// MUSTER_FLEET_TOKEN, else a token that the scaler makes once and keeps in its bucket]
    #[arg(long, env = "MUSTER_FLEET_TOKEN_FILE", value_name = "FILE")]
    pub fleet_token_file: Option<PathBuf>,
    /// Request limits for calls to EC2: aws (the published ones), none, or a factor of the published ones
    #[arg(long, env = "MUSTER_EC2_REQUEST_LIMITS", default_value = "aws")]
    pub ec2_request_limits: RequestLimits,
}

impl LaunchArgs {
    pub(super) fn fleet_token(&self) -> anyhow::Result<Option<Token>> {
        Token::read(self.fleet_token_file.as_deref(), FLEET_TOKEN_VARIABLE)
    }

    /// A token that is given may be in the image. A token that the scaler makes reaches the workers only by user data.
    pub(super) fn executor(&self, fleet_token_is_given: bool) -> anyhow::Result<ExecutorConfig> {
        let mut pools = CapacityPools::combine(&self.instance_type, &self.subnet_id).into_iter();
        let first = pools.next().context("--instance-type is empty")?;
        let user_data = match &self.user_data_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the user data in {}", path.display()))?;
                anyhow::ensure!(
                    fleet_token_is_given || text.contains(PLACEHOLDER),
                    "the user data in {} does not give the fleet's token to the workers: add {FLEET_TOKEN_VARIABLE}={PLACEHOLDER}, or give the token by --fleet-token-file",
                    path.display()
                );
                text
            }
            None => format!("{FLEET_TOKEN_VARIABLE}={PLACEHOLDER}\n"),
        };
        let disk = Disk {
            size: self.disk_gb,
            kind: self.disk_type.clone(),
            encrypted: self.disk_encrypted,
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
            market: self.market,
            public_ip: self.public_ip,
            disk: (disk != Disk::default()).then_some(disk),
            hop_limit: HopLimit(self.metadata_hop_limit),
            detailed_monitoring: self.detailed_monitoring,
        };
        Ok(ExecutorConfig {
            launch,
            fallbacks: pools.collect(),
            request_limits: self.ec2_request_limits,
        })
    }
}

/// Parses a tag. AWS reserves the prefix `aws:`.
fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key @ ("Name" | PREFIX_TAG | LAUNCH_TAG), _)) => {
            Err(format!("the scaler sets the tag {key} itself"))
        }
        Some((key, value)) if !key.is_empty() && !key.starts_with("aws:") => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}
