use localcloud::Config;
use platform::aws::{Aws, AwsArgs};
use platform::shutdown::CancellationToken;
use tokio::net::TcpListener;

use crate::listen;

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

    /// Clients for it.
    pub async fn aws(&self, prefix: &str) -> Aws {
        aws(&self.url, prefix).await
    }
}

impl Drop for LocalCloud {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Clients for the localcloud at this endpoint, whether it runs yet or not.
pub async fn aws(endpoint_url: &str, prefix: &str) -> Aws {
    let args = AwsArgs {
        endpoint_url: Some(endpoint_url.to_owned()),
        region: Some("us-east-1".to_owned()),
        prefix: prefix.to_owned(),
    };
    Aws::connect_as(&args, "test", "test").await
}
