use std::time::Duration;

use anyhow::{Context, bail};
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{GetStatusRequest, Totals};
use tonic::transport::Channel;

const TIMEOUT: Duration = Duration::from_secs(5);

/// The scaler's account of what it did.
#[derive(Debug)]
pub struct Scaler {
    client: ScalerClient<Channel>,
    url: String,
}

impl Scaler {
    /// # Errors
    /// When `url` is not a URL.
    pub fn new(url: &str) -> anyhow::Result<Self> {
        let channel = platform::grpc::channel(url)
            .with_context(|| format!("--scaler {url:?} is not a URL"))?;
        Ok(Self {
            client: ScalerClient::new(channel),
            url: url.to_owned(),
        })
    }

    /// # Errors
    /// When the scaler does not answer.
    pub async fn totals(&self) -> anyhow::Result<Totals> {
        let mut client = self.client.clone();
        let asked = tokio::time::timeout(TIMEOUT, client.get_status(GetStatusRequest {}));
        match asked.await {
            Ok(Ok(status)) => Ok(status.into_inner().totals.unwrap_or_default()),
            _ => bail!(
                "the scaler does not answer at {}; give its address with --scaler",
                self.url
            ),
        }
    }
}

/// Workers that were ordered to start, from the pool or newly launched.
pub fn ordered(totals: &Totals) -> u64 {
    totals.started + totals.launched
}
