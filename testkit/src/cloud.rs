use localcloud::Config;
use platform::aws::{Aws, AwsArgs};
use platform::shutdown::CancellationToken;
use tokio::net::TcpListener;

use crate::{http_client, listen};

/// A localcloud in this process. It shuts down when it is dropped.
pub struct LocalCloud {
    /// The endpoint for AWS clients.
    pub url: String,
    shutdown: CancellationToken,
}

impl LocalCloud {
    /// Starts one with nothing in it, on a free port.
    pub async fn start(config: Config) -> Self {
        let (listener, _) = listen().await;
        Self::serve(config, listener)
    }

    /// Starts one on a listener that the test opened.
    pub fn serve(config: Config, listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone().cancelled_owned();
        tokio::spawn(localcloud::run(config, listener, stop));
        Self { url, shutdown }
    }

    /// Returns clients for it.
    pub async fn aws(&self, prefix: &str) -> Aws {
        aws(&self.url, prefix).await
    }

    /// Injects faults, as JSON, in place of those before. `{}` ends them.
    pub async fn inject(&self, faults: &str) {
        let url = format!("{}/_localcloud/faults", self.url);
        let put = http_client().put(url).body(faults.to_owned());
        let put = put.header("content-type", "application/json");
        let answer = put.send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Returns its metrics: how often it was called. Asking is no call.
    pub async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.url);
        let response = http_client().get(url).send().await.unwrap();
        response.text().await.unwrap()
    }

    /// Returns how often an action was answered with this HTTP status.
    pub async fn answers(&self, action: &str, status: u16) -> u64 {
        let wanted = format!("action=\"{action}\",status=\"{status}\"}} ");
        let text = self.metrics().await;
        let line = text.lines().find_map(|line| line.split_once(&wanted));
        line.map_or(0, |(_, count)| count.trim().parse().unwrap())
    }
}

impl Drop for LocalCloud {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Returns clients for the localcloud at this endpoint, whether it runs yet or not.
pub async fn aws(endpoint_url: &str, prefix: &str) -> Aws {
    let args = AwsArgs {
        endpoint_url: Some(endpoint_url.to_owned()),
        region: Some("us-east-1".to_owned()),
        prefix: prefix.to_owned(),
    };
    Aws::connect_as(&args, "test", "test").await
}
