use std::time::Duration;

use anyhow::Context;
use platform::access::{KEY_VARIABLE, called_with};
use proto::v1::scaler_client::ScalerClient;
use proto::v1::set_bounds_request::Budget;
use proto::v1::{PauseRequest, ResumeRequest, ScalerStatus, SetBoundsRequest};
use tonic::Request;
use tonic::transport::Channel;

use super::LookArgs;
use crate::access::{TOKEN_VARIABLE, TokenArgs};
use crate::config::{dollars, duration};

/// Where the scaler is, and what lets one change it.
#[derive(Debug, Clone, clap::Args)]
pub struct OrderArgs {
    #[command(flatten)]
    look: LookArgs,
    #[command(flatten)]
    token: TokenArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub struct BoundsArgs {
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    bounds: Given,
}

/// Only what is given changes.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = true)]
struct Given {
    /// Workers that are always kept
    #[arg(long, value_name = "COUNT")]
    min_workers: Option<u32>,
    /// The most workers there may be
    #[arg(long, value_name = "COUNT")]
    max_workers: Option<u32>,
    /// What the workers may cost, in dollars an hour
    #[arg(long, value_name = "DOLLARS", value_parser = dollars, conflicts_with = "no_budget")]
    budget: Option<f64>,
    /// The workers may cost what they cost
    #[arg(long)]
    no_budget: bool,
    /// How many stopped instances are kept ready
    #[arg(long, value_name = "COUNT")]
    warm_pool: Option<u32>,
    /// How long after workers were added others may be added
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    scale_out_cooldown: Option<Duration>,
    /// How long after workers were added or withdrawn others may be withdrawn
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    scale_in_cooldown: Option<Duration>,
}

#[derive(Debug, Clone, clap::Args)]
pub struct PauseArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// Who pauses, for those who wonder
    #[arg(long, env = "USER", default_value = "somebody", value_name = "NAME")]
    by: String,
}

#[derive(Debug, Clone, clap::Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    order: OrderArgs,
}

impl BoundsArgs {
    pub async fn run(&self) -> anyhow::Result<ScalerStatus> {
        let Given {
            min_workers,
            max_workers,
            budget,
            no_budget,
            warm_pool,
            scale_out_cooldown,
            scale_in_cooldown,
        } = self.bounds;
        let request = SetBoundsRequest {
            min_workers,
            max_workers,
            budget: if no_budget {
                Some(Budget::NoBudget(true))
            } else {
                budget.map(Budget::BudgetPerHour)
            },
            warm_pool,
            scale_out_cooldown: scale_out_cooldown.map(TryInto::try_into).transpose()?,
            scale_in_cooldown: scale_in_cooldown.map(TryInto::try_into).transpose()?,
        };
        let (mut client, request) = self.order.prepare(request)?;
        self.order.answer(client.set_bounds(request).await)
    }
}

impl PauseArgs {
    pub async fn run(&self) -> anyhow::Result<ScalerStatus> {
        let by = self.by.clone();
        let (mut client, request) = self.order.prepare(PauseRequest { by })?;
        self.order.answer(client.pause(request).await)
    }
}

impl ResumeArgs {
    pub async fn run(&self) -> anyhow::Result<ScalerStatus> {
        let (mut client, request) = self.order.prepare(ResumeRequest {})?;
        self.order.answer(client.resume(request).await)
    }
}

impl OrderArgs {
    fn prepare<T>(&self, request: T) -> anyhow::Result<(ScalerClient<Channel>, Request<T>)> {
        let token = match self.token.token()? {
            None => self.look.key.key()?,
            token => token,
        };
        let token = token.with_context(|| {
            format!(
                "an API key or the scaler's token is needed: give --api-key-file FILE or --token-file FILE, or set {KEY_VARIABLE} or {TOKEN_VARIABLE}"
            )
        })?;
        Ok((self.look.client()?, called_with(Some(&token), request)))
    }

    fn answer(
        &self,
        answer: Result<tonic::Response<ScalerStatus>, tonic::Status>,
    ) -> anyhow::Result<ScalerStatus> {
        let answer = answer.map_err(|error| self.look.failure(&error))?;
        Ok(answer.into_inner())
    }
}
