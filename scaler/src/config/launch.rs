use std::path::PathBuf;

use anyhow::Context;
use platform::fleet::{LaunchSpec, Market, UserData};
use platform::token::{FLEET_TOKEN_VARIABLE, Token};

use crate::execute::{CapacityPools, ExecutorConfig, RequestLimits};
use crate::fleet::token::PLACEHOLDER;

/// How worker instances are launched.
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
    /// EC2 instance types, best first: the next one is launched when EC2 lacks capacity for those before it
    #[arg(
        long,
        env = "MUSTER_WORKER_INSTANCE_TYPE",
        default_value = "c7i.large",
        value_delimiter = ',',
        value_name = "TYPE"
    )]
    pub instance_type: Vec<String>,
    /// Subnets, best first: all are tried before the next instance type; by default the account's default subnet
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
    /// Tag for the instances besides Name; may be given several times
    #[arg(
        long = "tag",
        env = "MUSTER_WORKER_TAGS",
        value_delimiter = ',',
        value_name = "KEY=VALUE",
        value_parser = tag
    )]
    pub tags: Vec<(String, String)>,
    /// Request limits for calls to EC2: aws (the published ones), none, or a factor of the published ones
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
    /// File with the user data, in which @MUSTER_FLEET_TOKEN@ stands for the fleet's token; by default the one line
    /// MUSTER_FLEET_TOKEN=@MUSTER_FLEET_TOKEN@
    #[arg(long, env = "MUSTER_WORKER_USER_DATA_FILE", value_name = "FILE")]
    pub user_data_file: Option<PathBuf>,
    /// File with the token by which workers prove that they belong to the fleet; by default the environment variable
    /// MUSTER_FLEET_TOKEN, and without it a token that the scaler makes once and keeps in its bucket
    #[arg(long, env = "MUSTER_FLEET_TOKEN_FILE", value_name = "FILE")]
    pub fleet_token_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MarketArg {
    OnDemand,
    Spot,
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
        Ok(ExecutorConfig {
            launch,
            fallbacks: pools.collect(),
            request_limits: self.ec2_request_limits,
        })
    }
}

/// Parses a tag. `Name` is how the scaler finds its instances, and AWS reserves the prefix `aws:`.
fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some(("Name", _)) => Err("the scaler sets the tag Name itself".to_owned()),
        Some((key, value)) if !key.is_empty() && !key.starts_with("aws:") => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}
