use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, PushInfo, RedisResult};
use tokio::sync::Notify;

use super::RedisUrl;
use crate::backoff::Backoff;

/// Includes name resolution, TLS and login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest pause is well below [`super::TIME_TO_LIVE`], so that all replicas are back soon after Redis is.
pub const RECONNECT: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

/// Connects once. `pushed` is notified of messages on subscribed channels, and when Redis closes the connection.
pub async fn connect(url: &RedisUrl, pushed: Arc<Notify>) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_push_sender(move |_: PushInfo| {
            pushed.notify_one();
            Ok::<_, std::convert::Infallible>(())
        });
    let client = Client::open(url.0.clone())?;
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    within(CONNECT_TIMEOUT, connecting).await
}

/// Fails when `call` takes longer than `limit`.
pub async fn within<T>(
    limit: Duration,
    call: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    let timed = tokio::time::timeout(limit, call).await;
    timed.map_err(std::io::Error::from)?
}
