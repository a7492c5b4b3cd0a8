use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::connection::{Pause, connect, within};
use super::keys::Keys;
use super::{Demand, RedisUrl, TIME_TO_LIVE};
use crate::shutdown::CancellationToken;

/// Changes within this time are written as one, as over gRPC: the scaler is to order for all requests of a burst at
/// once, not for the first alone.
const COALESCE: Duration = Duration::from_millis(10);
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long saying goodbye may take at shutdown; without it the replica expires.
const FAREWELL_DEADLINE: Duration = Duration::from_millis(500);
/// When a replica that died is struck off the list, by the clocks of the others. AWS tolerates clocks that are 15
/// minutes wrong at most, so that a live one is never struck off.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// Keeps the demand of one replica in Redis, under a random id.
#[derive(Debug)]
pub struct Publisher {
    url: RedisUrl,
    keys: Keys,
    replica: String,
}

impl Publisher {
    /// `prefix` is that of the deployment's buckets and queues.
    #[must_use]
    pub fn new(url: RedisUrl, prefix: &str) -> Self {
        Self {
            url,
            keys: Keys::new(prefix),
            replica: Uuid::new_v4().simple().to_string(),
        }
    }

    /// Writes `counts` at every change and each second until `stop` or until they cannot change any more, then takes the
    /// replica off. While Redis is away it tries again, at least each second; nobody has to wait for that.
    pub async fn publish_until<T>(self, mut counts: watch::Receiver<T>, stop: CancellationToken)
    where
        T: Copy + Send + Sync,
        Demand: From<T>,
    {
        let mut connection = None;
        stop.run_until_cancelled(self.publish(&mut counts, &mut connection))
            .await;
        // On the connection of the last write, so that this cannot overtake it.
        if let Some(connection) = connection {
            let farewell = within(FAREWELL_DEADLINE, self.withdraw(connection)).await;
            if let Err(error) = farewell {
                tracing::warn!(%error, "demand stays in Redis until it expires");
            }
        }
    }

    /// Returns when `counts` cannot change any more.
    async fn publish<T>(
        &self,
        counts: &mut watch::Receiver<T>,
        connection: &mut Option<MultiplexedConnection>,
    ) where
        T: Copy,
        Demand: From<T>,
    {
        let mut pause = Pause::default();
        let mut is_away = false;
        loop {
            let written = match connection {
                Some(connection) => {
                    let demand = Demand::from(*counts.borrow_and_update());
                    self.write(connection, demand).await
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
                    pause.succeeded();
                    if next_moment(counts).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    *connection = None;
                    if !std::mem::replace(&mut is_away, true) {
                        tracing::warn!(%error, redis = %self.url, "demand cannot be kept in Redis");
                    }
                    pause.wait().await;
                }
            }
        }
    }

    async fn write(
        &self,
        connection: &mut MultiplexedConnection,
        demand: Demand,
    ) -> RedisResult<()> {
        let now = seconds_since_1970();
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

/// Returns when the next write is due.
async fn next_moment<T>(counts: &mut watch::Receiver<T>) -> Result<(), watch::error::RecvError> {
    if let Ok(changed) = tokio::time::timeout(HEARTBEAT, counts.changed()).await {
        changed?;
        tokio::time::sleep(COALESCE).await;
    }
    Ok(())
}

fn seconds_since_1970() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.unwrap_or_default().as_secs()
}
