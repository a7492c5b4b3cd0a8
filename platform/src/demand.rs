//! Demand, and how several fronts share it through Redis: each writes its own, and the scaler sums them.
//!
//! A replica's demand is the string `<unanswered> <accepted_total> <answered_total> <waiting_frames> <frames_done_total>`
//! under a key of its own. It is written at every change and each second, and expires after [`TIME_TO_LIVE`], so that a
//! dead replica drops out. A sorted set lists the replicas, so that the reader does not scan a keyspace with other keys; its
//! scores are the Unix times of the last writes. Every write is published on a channel, which wakes the scaler. All of it
//! expires after the last write.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use proto::v1::DemandUpdate;
use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use tokio::sync::watch;

pub use publish::Publisher;
pub use read::Reader;

mod connection;
mod keys;
mod publish;
mod read;
mod sum;

/// How long a replica counts after its last write.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// Changes within this time are sent as one: the scaler is to order for a whole burst of requests, not for its first.
const COALESCE: Duration = Duration::from_millis(10);
/// Longest time between two updates.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Redis settings of front and scaler.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DemandArgs {
    /// Redis for the demand of several fronts: redis://HOST:PORT/DB, or rediss:// for TLS. Give fronts and scaler the same
    /// [default: the scaler watches one front over gRPC]
    #[arg(
        long,
        env = "MUSTER_DEMAND",
        value_name = "URL",
        hide_env_values = true
    )]
    pub demand: Option<RedisUrl>,
}

/// A Redis URL. Its `Display` is `HOST:PORT/DB`, without user name and password.
#[derive(Debug, Clone)]
pub struct RedisUrl(ConnectionInfo);

/// Text that is not the URL of a Redis database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a Redis URL such as redis://127.0.0.1:6379/0: {0}")]
pub struct RedisUrlError(String);

/// The demand on one front, or on all fronts together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Requests accepted and not yet answered.
    pub unanswered: u64,
    /// Requests accepted since the start.
    pub accepted_total: u64,
    /// Requests answered since the start, with a result or with an error.
    pub answered_total: u64,
    /// Frames of clips that are not done. Photos go first.
    pub waiting_frames: u64,
    /// Frames done since the start, recognized or given up.
    pub frames_done_total: u64,
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let info = text
            .into_connection_info()
            .map_err(|error| RedisUrlError(error.to_string()))?;
        // With version 3 (Redis 6 and later) messages of a channel arrive on the connection that reads, so that neither
        // can be lost without the other.
        let settings = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP3);
        Ok(Self(info.set_redis_settings(settings)))
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.addr(), self.0.redis_settings().db())
    }
}

impl fmt::Display for Demand {
    /// Writes the form that Redis stores.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            unanswered,
            accepted_total,
            answered_total,
            waiting_frames,
            frames_done_total,
        } = self;
        write!(
            f,
            "{unanswered} {accepted_total} {answered_total} {waiting_frames} {frames_done_total}"
        )
    }
}

impl FromStr for Demand {
    type Err = std::num::ParseIntError;

    /// Reads what `Display` writes. Further fields are ignored, so that a newer front is understood. An older one writes none
    /// about frames.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = text.split(' ');
        let mut next = |default| fields.next().unwrap_or(default).parse();
        Ok(Self {
            unanswered: next("")?,
            accepted_total: next("")?,
            answered_total: next("")?,
            waiting_frames: next("0")?,
            frames_done_total: next("0")?,
        })
    }
}

impl From<Demand> for DemandUpdate {
    fn from(demand: Demand) -> Self {
        Self {
            unanswered: demand.unanswered,
            accepted_total: demand.accepted_total,
            answered_total: demand.answered_total,
            waiting_frames: demand.waiting_frames,
            frames_done_total: demand.frames_done_total,
        }
    }
}

/// Returns when the next update is due: shortly after a change, or after a second without one.
///
/// # Errors
/// When the demand cannot change anymore, since its sender is gone.
pub async fn next_update(
    demand: &mut watch::Receiver<Demand>,
) -> Result<(), watch::error::RecvError> {
    if let Ok(changed) = tokio::time::timeout(HEARTBEAT, demand.changed()).await {
        changed?;
        tokio::time::sleep(COALESCE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_survives_a_round_trip_through_redis() {
        let demand = Demand {
            unanswered: 3,
            accepted_total: u64::MAX,
            answered_total: 0,
            waiting_frames: 7,
            frames_done_total: 12,
        };
        assert_eq!(demand.to_string(), "3 18446744073709551615 0 7 12");
        assert_eq!(demand.to_string().parse(), Ok(demand));
        assert_eq!("3 18446744073709551615 0 7 12 x".parse(), Ok(demand));
        let of_an_older_front = Demand {
            waiting_frames: 0,
            frames_done_total: 0,
            ..demand
        };
        assert_eq!("3 18446744073709551615 0".parse(), Ok(of_an_older_front));
        for wrong in ["", "1 2", "a b c", "-1 2 3", "1  2 3", "1 2 3 x"] {
            assert!(wrong.parse::<Demand>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let url: RedisUrl = "redis://user:secret@cache.internal:7000/3".parse().unwrap();
        assert_eq!(url.to_string(), "cache.internal:7000/3");
        assert!(!format!("{url:?}").contains("secret"));
        assert!("rediss://cache.internal".parse::<RedisUrl>().is_ok());
    }

    #[test]
    fn other_urls_are_refused() {
        for wrong in ["", "http://127.0.0.1:8051", "redis://", "redis://a/b"] {
            let refused = wrong.parse::<RedisUrl>().unwrap_err().to_string();
            assert!(refused.contains("redis://127.0.0.1:6379/0"), "{refused}");
        }
    }
}
