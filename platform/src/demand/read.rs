use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, RedisResult};
use tokio::sync::Notify;

use super::connection::{Pause, connect};
use super::keys::Keys;
use super::sum::Sum;
use super::{Demand, RedisUrl};

/// How often the demand is read although nothing was announced.
const READ_EVERY: Duration = Duration::from_millis(500);
/// Between two readings, however many fronts announce changes.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(5);

/// Reads the demand of all replicas together.
#[derive(Debug)]
pub struct Reader {
    url: RedisUrl,
    keys: Keys,
}

/// Why demand that lies in Redis is not known.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
    #[error("a front's demand is no demand: {0:?}")]
    Malformed(String),
}

impl Reader {
    /// `prefix` is that of the deployment's buckets and queues.
    #[must_use]
    pub fn new(url: RedisUrl, prefix: &str) -> Self {
        Self {
            url,
            keys: Keys::new(prefix),
        }
    }

    /// Calls `tell` with the demand of all replicas together when one has announced a change, and at least twice a
    /// second; with `None` when it is not known: Redis cannot be reached, no replica is there, or those that were there
    /// before Redis was lost are not back yet. Totals never go backwards. Ends only by being dropped.
    pub async fn follow(self, mut tell: impl FnMut(Option<Demand>)) {
        let mut sum = Sum::default();
        let mut pause = Pause::default();
        let mut was_known = None;
        let mut tell = |demand: Result<Demand, String>| {
            let is_news = was_known.replace(demand.is_ok()) != Some(demand.is_ok());
            match &demand {
                Ok(demand) if is_news => {
                    tracing::info!(unanswered = demand.unanswered, redis = %self.url, "the fronts' demand is known");
                }
                Err(reason) if is_news => {
                    tracing::warn!(reason, redis = %self.url, "the fronts' demand is not known");
                }
                _ => {}
            }
            tell(demand.ok());
        };
        loop {
            let readings = |reading: &[(String, Demand)]| {
                pause.succeeded();
                let demand = sum.take(reading, Instant::now());
                tell(demand.map_err(|unknown| unknown.to_string()));
            };
            let Err(error) = self.read_until_lost(readings).await;
            sum.lost();
            tell(Err(error.to_string()));
            pause.wait().await;
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
        // Without a value: a replica that died, and is still listed.
        let there = ids.into_iter().zip(values?);
        there
            .filter_map(|(id, value)| value.map(|value| (id, value)))
            .map(|(id, value)| match value.parse() {
                Ok(demand) => Ok((id, demand)),
                Err(_) => Err(ReadError::Malformed(value)),
            })
            .collect()
    }
}
