use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const ASK_EVERY: Duration = Duration::from_millis(500);
/// While front is not ready, so that a start is noticed soon.
const ASK_AGAIN: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);

/// Keeps `ready` equal to what front reports of itself, until `stop`.
///
/// It asks again and again instead of watching: an open watch would hold up front's shutdown.
pub async fn watch(channel: Channel, ready: watch::Sender<bool>, stop: CancellationToken) {
    let mut client = HealthClient::new(channel);
    loop {
        let serving = tokio::time::timeout(PATIENCE, is_serving(&mut client))
            .await
            .unwrap_or(false);
        let changed = ready.send_if_modified(|ready| std::mem::replace(ready, serving) != serving);
        if changed {
            tracing::info!(serving, "front's health changed");
        }
        let pause = tokio::time::sleep(if serving { ASK_EVERY } else { ASK_AGAIN });
        if stop.run_until_cancelled(pause).await.is_none() {
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
