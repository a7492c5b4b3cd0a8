//! The scaler's own counters.

use std::time::Duration;

use anyhow::{Context, bail};
use platform::access::called_with;
use platform::token::Token;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{GetStatusRequest, Totals};
use tonic::Code;
use tonic::transport::Channel;

use crate::target::TargetArgs;

const TIMEOUT: Duration = Duration::from_secs(5);

/// A client of the scaler.
#[derive(Debug)]
pub struct Scaler {
    client: ScalerClient<Channel>,
    url: String,
    key: Option<Token>,
}

impl Scaler {
    /// Makes a client of the scaler at `url`, which connects at the first call.
    ///
    /// # Errors
    /// When `url` is not a URL, or the key or certificates of `target` cannot be read.
    pub fn new(url: &str, target: &TargetArgs) -> anyhow::Result<Self> {
        let channel = platform::grpc::channel(url, &target.tls)
            .with_context(|| format!("--scaler {url:?} cannot be called"))?;
        Ok(Self {
            client: ScalerClient::new(channel),
            url: url.to_owned(),
            key: target.key.key()?,
        })
    }

    /// Reads the totals.
    ///
    /// # Errors
    /// When the scaler does not respond.
    pub async fn totals(&self) -> anyhow::Result<Totals> {
        let mut client = self.client.clone();
        let request = called_with(self.key.as_ref(), GetStatusRequest {});
        let asked = tokio::time::timeout(TIMEOUT, client.get_status(request));
        match asked.await {
            Ok(Err(refused))
                if matches!(
                    refused.code(),
                    Code::Unauthenticated | Code::PermissionDenied
                ) =>
            {
                bail!(
                    "the scaler at {} refuses the call: {}",
                    self.url,
                    refused.message()
                )
            }
            Ok(Ok(status)) => Ok(status.into_inner().totals.unwrap_or_default()),
            _ => bail!(
                "the scaler does not respond at {}; give its address with --scaler",
                self.url
            ),
        }
    }
}

/// Returns the number of workers started from the pool or launched.
pub fn ordered(totals: &Totals) -> u64 {
    totals.started + totals.launched
}
