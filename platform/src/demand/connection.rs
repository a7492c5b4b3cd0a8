use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, PushInfo, RedisResult};
use tokio::sync::Notify;

use super::RedisUrl;

/// With name resolution, TLS and login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Well below [`super::TIME_TO_LIVE`], so that all replicas are back soon after Redis is.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Connects once. `pushed` is notified of whatever Redis sends unasked: announcements, and that it has hung up.
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

/// Waits no longer than `limit`.
pub async fn within<T>(
    limit: Duration,
    call: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    let timed = tokio::time::timeout(limit, call).await;
    timed.map_err(std::io::Error::from)?
}

/// The pauses between attempts to connect: longer and longer, until one succeeds.
#[derive(Debug)]
pub struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    pub fn succeeded(&mut self) {
        self.0 = FIRST_PAUSE;
    }

    pub async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}
