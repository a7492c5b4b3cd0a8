mod policy;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use platform::admin::AdminArgs;
use platform::aws::AwsArgs;
use platform::demand::DemandArgs;
use platform::fleet::LaunchSpec;

pub use self::policy::PolicyArgs;
pub(crate) use self::value::duration;
use crate::access::{Token, TokenArgs};
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
    /// Where front serves its demand; not used with --demand
    #[arg(
        long,
        env = "MUSTER_FRONT",
        default_value = "http://127.0.0.1:50051",
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
    pub token: TokenArgs,
    #[command(flatten)]
    pub launch: LaunchArgs,
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
            tick: self.tick,
            front: self.front.clone(),
            demand: self.demand.clone(),
            prefix: self.aws.prefix.clone(),
            launch: self.launch.spec()?,
            token: self.token.token()?,
            admin: self.admin.clone(),
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
