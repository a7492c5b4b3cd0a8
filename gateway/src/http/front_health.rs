//! Front's health, which decides whether the gateway is ready.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const INTERVAL_WHEN_READY: Duration = Duration::from_millis(500);
/// Short, so that a start is noticed soon.
const INTERVAL_WHEN_NOT_READY: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(1);

/// Sets `ready` to front's health, until `stop`. It polls, since an open watch would delay front's shutdown.
pub async fn watch(channel: Channel, ready: watch::Sender<bool>, stop: CancellationToken) {
    let mut client = HealthClient::new(channel);
    loop {
        let serving = tokio::time::timeout(TIMEOUT, is_serving(&mut client))
            .await
            .unwrap_or(false);
        let changed = ready.send_if_modified(|ready| std::mem::replace(ready, serving) != serving);
        if changed {
            tracing::info!(serving, "front's health changed");
        }
        let interval = match serving {
            true => INTERVAL_WHEN_READY,
            false => INTERVAL_WHEN_NOT_READY,
        };
        let pause = stop.run_until_cancelled(tokio::time::sleep(interval));
        if pause.await.is_none() {
            return;
        }
    }
}

async fn is_serving(client: &mut HealthClient<Channel>) -> bool {
    let answer = client
        .check(HealthCheckRequest {
            service: String::new(),
        })
        .await;
    answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}
