use anyhow::Context;
use platform::access::{KEY_VARIABLE, called_with};
use proto::v1::scaler_client::ScalerClient;
use proto::v1::set_bounds_request::Budget;
use proto::v1::{PauseRequest, ResumeRequest, ScalerStatus, SetBoundsRequest};
use tonic::Request;
use tonic::transport::Channel;

use super::ConnectArgs;
use crate::config::BoundFlags;
use crate::rpc::{TOKEN_VARIABLE, TokenArgs};

/// Where the scaler is, and what permits to change it.
#[derive(Debug, Clone, clap::Args)]
pub struct OperatorArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    token: TokenArgs,
}

#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("given").required(true).multiple(true).args([
    "min_workers", "max_workers", "budget", "no_budget", "warm_pool", "scale_out_cooldown", "scale_in_cooldown",
]))]
pub struct BoundsArgs {
    #[command(flatten)]
    bounds: BoundFlags,
    /// Remove the hourly budget
    #[arg(long, conflicts_with = "budget")]
    no_budget: bool,
    #[command(flatten)]
    operator: OperatorArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub struct PauseArgs {
    /// Name recorded as having paused scaling
    #[arg(long, env = "USER", default_value = "somebody", value_name = "NAME")]
    by: String,
    #[command(flatten)]
    operator: OperatorArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    operator: OperatorArgs,
}

impl BoundsArgs {
    pub async fn run(&self) -> anyhow::Result<ScalerStatus> {
        let given = &self.bounds;
        let request = SetBoundsRequest {
            min_workers: given.min_workers,
            max_workers: given.max_workers,
            budget: if self.no_budget {
                Some(Budget::NoBudget(true))
            } else {
                given.budget.map(Budget::BudgetPerHour)
            },
            warm_pool: given.warm_pool,
            scale_out_cooldown: given
                .scale_out_cooldown
                .map(TryInto::try_into)
                .transpose()?,
            scale_in_cooldown: given.scale_in_cooldown.map(TryInto::try_into).transpose()?,
        };
        let (mut client, request) = self.operator.prepare(request)?;
        self.operator.status(client.set_bounds(request).await)
    }
}

impl PauseArgs {
    pub async fn run(&self) -> anyhow::Result<ScalerStatus> {
        let by = self.by.clone();
        let (mut client, request) = self.operator.prepare(PauseRequest { by })?;
        self.operator.status(client.pause(request).await)
    }
}

impl ResumeArgs {
    pub async fn run(&self) -> anyhow::Result<ScalerStatus> {
        let (mut client, request) = self.operator.prepare(ResumeRequest {})?;
        self.operator.status(client.resume(request).await)
    }
}

impl OperatorArgs {
    fn prepare<T>(&self, request: T) -> anyhow::Result<(ScalerClient<Channel>, Request<T>)> {
        let token = match self.token.token()? {
            None => self.connect.key.key()?,
            token => token,
        };
        let token = token.with_context(|| {
            format!(
                "an API key or the scaler's token is needed: give --api-key-file FILE or --token-file FILE, or set {KEY_VARIABLE} or {TOKEN_VARIABLE}"
            )
        })?;
        Ok((self.connect.client()?, called_with(Some(&token), request)))
    }

    fn status(
        &self,
        reply: Result<tonic::Response<ScalerStatus>, tonic::Status>,
    ) -> anyhow::Result<ScalerStatus> {
        let reply = reply.map_err(|error| self.connect.failure(&error))?;
        Ok(reply.into_inner())
    }
}
