use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, RedisResult};
use tokio::sync::Notify;

use super::connection::{RECONNECT, connect};
use super::keys::RedisKeys;
use super::sum::DemandSum;
use super::{Demand, RedisUrl};

/// Longest time between two readings, without any message on the channel.
const READ_EVERY: Duration = Duration::from_millis(500);
/// Shortest time between two readings.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(5);

/// Reads the demand of all replicas and sums it.
#[derive(Debug)]
pub struct Reader {
    url: RedisUrl,
    keys: RedisKeys,
}

/// Why the demand could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
    #[error("a front wrote a malformed demand: {0:?}")]
    Malformed(String),
}

impl Reader {
    /// `prefix` is the deployment's, as in the names of its buckets and queues.
    #[must_use]
    pub fn new(url: RedisUrl, prefix: &str) -> Self {
        Self {
            url,
            keys: RedisKeys::new(prefix),
        }
    }

    /// Calls `tell` with the sum of all replicas' demand after every change, and at least twice a second. `None` stands for
    /// an unknown demand: Redis cannot be reached, there is no replica, or replicas that were there before Redis was lost
    /// are not back yet. Totals never go backwards. Runs until it is dropped.
    pub async fn follow(self, mut tell: impl FnMut(Option<Demand>)) {
        let mut sum = DemandSum::default();
        let mut backoff = RECONNECT;
        let mut was_known = None;
        let mut tell = |demand: Result<Demand, String>| {
            let is_change = was_known.replace(demand.is_ok()) != Some(demand.is_ok());
            match &demand {
                Ok(demand) if is_change => {
                    tracing::info!(unanswered = demand.unanswered, redis = %self.url, "the fronts' demand is known");
                }
                Err(reason) if is_change => {
                    tracing::warn!(reason, redis = %self.url, "the fronts' demand is not known");
                }
                _ => {}
            }
            tell(demand.ok());
        };
        loop {
            let readings = |reading: &[(String, Demand)]| {
                backoff.reset();
                let demand = sum.take(reading, Instant::now());
                tell(demand.map_err(|unknown| unknown.to_string()));
            };
            let Err(error) = self.read_until_lost(readings).await;
            sum.lost();
            tell(Err(error.to_string()));
            tokio::time::sleep(backoff.next_pause()).await;
        }
    }

    async fn read_until_lost(
        &self,
        mut take: impl FnMut(&[(String, Demand)]),
    ) -> Result<std::convert::Infallible, ReadError> {
        let pushed = Arc::new(Notify::new());
        let mut connection = connect(&self.url, Arc::clone(&pushed)).await?;
        // Before the first reading, so that no change falls between the two.
        connection.subscribe(self.keys.channel()).await?;
        loop {
            take(&self.read(&mut connection).await?);
            tokio::time::sleep(SHORTEST_INTERVAL).await;
            let _ = tokio::time::timeout(READ_EVERY, pushed.notified()).await;
        }
    }

    async fn read(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Vec<(String, Demand)>, ReadError> {
        let ids: Vec<String> = connection.zrange(self.keys.replicas(), 0, -1).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<_> = ids.iter().map(|id| self.keys.replica(id)).collect();
        let values: RedisResult<Vec<Option<String>>> = connection.mget(keys).await;
        // A dead replica that is still listed has no value.
        let listed = ids.into_iter().zip(values?);
        listed
            .filter_map(|(id, value)| value.map(|value| (id, value)))
            .map(|(id, value)| match value.parse() {
                Ok(demand) => Ok((id, demand)),
                Err(_) => Err(ReadError::Malformed(value)),
            })
            .collect()
    }
}
