use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::connection::{RECONNECT, connect, within};
use super::keys::RedisKeys;
use super::{Demand, RedisUrl, TIME_TO_LIVE, next_update};
use crate::shutdown::CancellationToken;

/// Longest time to withdraw the demand at shutdown. Otherwise it expires.
const WITHDRAW_DEADLINE: Duration = Duration::from_millis(500);
/// Replicas remove a dead one from the list after this time, by their own clocks. AWS accepts clocks that are off by 15
/// minutes at most, so that a live one is never removed.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// Writes the demand of one replica to Redis, under a random id.
#[derive(Debug)]
pub struct Publisher {
    url: RedisUrl,
    keys: RedisKeys,
    replica: String,
}

impl Publisher {
    /// `prefix` is the deployment's, as in the names of its buckets and queues.
    #[must_use]
    pub fn new(url: RedisUrl, prefix: &str) -> Self {
        Self {
            url,
            keys: RedisKeys::new(prefix),
            replica: Uuid::new_v4().simple().to_string(),
        }
    }

    /// Writes `demand` at every change and each second, until `stop` or until its sender is gone. Then removes the
    /// replica. While Redis cannot be reached, it retries at least each second.
    pub async fn publish_until(self, mut demand: watch::Receiver<Demand>, stop: CancellationToken) {
        let mut connection = None;
        stop.run_until_cancelled(self.publish(&mut demand, &mut connection))
            .await;
        // On the connection of the last write, which this must not overtake.
        if let Some(connection) = connection {
            let withdrawn = within(WITHDRAW_DEADLINE, self.withdraw(connection)).await;
            if let Err(error) = withdrawn {
                tracing::warn!(%error, "demand stays in Redis until it expires");
            }
        }
    }

    /// Returns when the sender of `demand` is gone.
    async fn publish(
        &self,
        demand: &mut watch::Receiver<Demand>,
        connection: &mut Option<MultiplexedConnection>,
    ) {
        let mut backoff = RECONNECT;
        let mut is_away = false;
        loop {
            let written = match connection {
                Some(connection) => {
                    let newest = *demand.borrow_and_update();
                    self.write(connection, newest).await
                }
                None => match connect(&self.url, Arc::new(Notify::new())).await {
                    Ok(connected) => {
                        *connection = Some(connected);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            match written {
                Ok(()) => {
                    if std::mem::take(&mut is_away) {
                        tracing::info!(redis = %self.url, "demand is in Redis again");
                    }
                    backoff.reset();
                    if next_update(demand).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    *connection = None;
                    if !std::mem::replace(&mut is_away, true) {
                        tracing::warn!(%error, redis = %self.url, "demand cannot be kept in Redis");
                    }
                    tokio::time::sleep(backoff.next_pause()).await;
                }
            }
        }
    }

    async fn write(
        &self,
        connection: &mut MultiplexedConnection,
        demand: Demand,
    ) -> RedisResult<()> {
        let now = unix_time();
        redis::pipe()
            .atomic()
            .set_options(
                self.keys.replica(&self.replica),
                demand.to_string(),
                redis::SetOptions::default()
                    .with_expiration(redis::SetExpiry::PX(TIME_TO_LIVE.as_millis() as u64)),
            )
            .zadd(self.keys.replicas(), &self.replica, now)
            .zrembyscore(
                self.keys.replicas(),
                "-inf",
                now.saturating_sub(FORGET_AFTER.as_secs()),
            )
            .expire(self.keys.replicas(), FORGET_AFTER.as_secs() as i64)
            .publish(self.keys.channel(), &self.replica)
            .exec_async(connection)
            .await
    }

    async fn withdraw(&self, mut connection: MultiplexedConnection) -> RedisResult<()> {
        redis::pipe()
            .atomic()
            .del(self.keys.replica(&self.replica))
            .zrem(self.keys.replicas(), &self.replica)
            .publish(self.keys.channel(), &self.replica)
            .exec_async(&mut connection)
            .await
    }
}

fn unix_time() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.unwrap_or_default().as_secs()
}
