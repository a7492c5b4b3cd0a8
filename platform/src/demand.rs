//! Demand that several fronts share by Redis: each keeps its own there, and the scaler adds them up without knowing who
//! they are.
//!
//! A replica's demand is the string `<unanswered> <accepted_total> <answered_total>` under a key of its own, written
//! anew at every change and each second. It expires after [`TIME_TO_LIVE`], so that a replica that died drops out. A
//! sorted set lists the replicas, so that nobody has to search a keyspace that others may use too; its scores are the
//! seconds since 1970 of their last write. Every write is announced on a channel, which wakes the scaler. All of this
//! expires by itself once nobody writes any more.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};

pub use publish::Publisher;
pub use read::Reader;

mod connection;
mod keys;
mod publish;
mod read;
mod sum;

/// How long a replica counts after its last write.
pub const TIME_TO_LIVE: Duration = Duration::from_secs(5);

/// Where fronts and the scaler meet.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DemandArgs {
    /// Redis in which all fronts of a prefix keep their demand and where the scaler reads it, as redis://HOST:PORT/DB or
    /// rediss:// for TLS; for front and scaler alike. Absent: the scaler watches its one front over gRPC
    #[arg(
        long,
        env = "MUSTER_DEMAND",
        value_name = "URL",
        hide_env_values = true
    )]
    pub demand: Option<RedisUrl>,
}

/// Where Redis is. It is shown as `HOST:PORT/DB`, without user name and password.
#[derive(Debug, Clone)]
pub struct RedisUrl(ConnectionInfo);

/// Text that is not the URL of a Redis database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a Redis URL such as redis://127.0.0.1:6379/0: {0}")]
pub struct RedisUrlError(String);

/// What is asked of one front, or of all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Requests accepted and not yet answered.
    pub unanswered: u64,
    /// Requests accepted since the start.
    pub accepted_total: u64,
    /// Requests answered since the start, with a result or with an error.
    pub answered_total: u64,
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let info = text
            .into_connection_info()
            .map_err(|error| RedisUrlError(error.to_string()))?;
        // Version 3, of Redis 6 and later, has announcements come over the connection that is read on: one cannot be
        // lost without the other.
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
    /// As it lies in Redis.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            unanswered,
            accepted_total,
            answered_total,
        } = self;
        write!(f, "{unanswered} {accepted_total} {answered_total}")
    }
}

impl FromStr for Demand {
    type Err = std::num::ParseIntError;

    /// Reads what [`Demand`]'s `Display` writes. What follows is ignored, so that a newer front is understood.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = text.split(' ');
        let mut next = || fields.next().unwrap_or_default().parse();
        Ok(Self {
            unanswered: next()?,
            accepted_total: next()?,
            answered_total: next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_survives_its_way_through_redis() {
        let demand = Demand {
            unanswered: 3,
            accepted_total: u64::MAX,
            answered_total: 0,
        };
        assert_eq!(demand.to_string(), "3 18446744073709551615 0");
        assert_eq!(demand.to_string().parse(), Ok(demand));
        assert_eq!("3 18446744073709551615 0 9 x".parse(), Ok(demand));
        for wrong in ["", "1 2", "a b c", "-1 2 3", "1  2 3"] {
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
