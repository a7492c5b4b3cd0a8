//! Publishers and a reader of demand, with a Redis server.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use platform::demand::{Demand, Publisher, Reader, TIME_TO_LIVE};
use platform::shutdown::CancellationToken;
use testkit::{RedisServer, TIMEOUT, eventually};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// One front.
struct Replica {
    demand: watch::Sender<Demand>,
    publishing: JoinHandle<()>,
    stop: CancellationToken,
}

/// The demand that a scaler reads.
struct Watched {
    newest: watch::Receiver<Option<Demand>>,
    /// All readings.
    history: Arc<Mutex<Vec<Option<Demand>>>>,
    _reading: AbortOnDropHandle<()>,
}

impl Replica {
    fn start(url: &str, prefix: &str, demand: Demand) -> Self {
        let (sender, published) = watch::channel(demand);
        let stop = CancellationToken::new();
        let publisher = Publisher::new(url.parse().unwrap(), prefix);
        let publishing = tokio::spawn(publisher.publish_until(published, stop.clone()));
        Self {
            demand: sender,
            publishing,
            stop,
        }
    }

    /// Ends without withdrawing.
    fn die(self) {
        self.publishing.abort();
    }

    async fn shut_down(self) {
        self.stop.cancel();
        self.publishing.await.unwrap();
    }
}

impl Watched {
    fn start(url: &str, prefix: &str) -> Self {
        let (sender, newest) = watch::channel(None);
        let history = Arc::new(Mutex::new(Vec::new()));
        let readings = Arc::clone(&history);
        let reader = Reader::new(url.parse().unwrap(), prefix);
        let reading = reader.follow(move |demand| {
            readings.lock().unwrap().push(demand);
            sender.send_replace(demand);
        });
        Self {
            newest,
            history,
            _reading: AbortOnDropHandle::new(tokio::spawn(reading)),
        }
    }

    /// Waits until the newest reading fits.
    async fn until(&mut self, what: &str, fits: impl Fn(Option<Demand>) -> bool) {
        let fitting = self.newest.wait_for(|demand| fits(*demand));
        let in_time = tokio::time::timeout(TIMEOUT, fitting).await.is_ok();
        assert!(in_time, "never: {what}; {:?}", self.history());
    }

    async fn until_unanswered(&mut self, unanswered: u64) {
        let fits = |demand: Option<Demand>| demand.is_some_and(|it| it.unanswered == unanswered);
        self.until(&format!("{unanswered} unanswered"), fits).await;
    }

    fn history(&self) -> Vec<Option<Demand>> {
        self.history.lock().unwrap().clone()
    }

    fn newest(&self) -> Option<Demand> {
        *self.newest.borrow()
    }
}

fn demand(unanswered: u64, accepted_total: u64) -> Demand {
    Demand {
        unanswered,
        accepted_total,
        answered_total: accepted_total - unanswered,
        ..Demand::default()
    }
}

async fn keys(server: &RedisServer) -> Vec<String> {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn demands_are_summed_and_changes_are_read_at_once() {
    let server = RedisServer::start().await;
    let mut watched = Watched::start(&server.url(), "test");
    let first = Replica::start(&server.url(), "test", demand(0, 0));
    watched.until_unanswered(0).await;
    let second = Replica::start(&server.url(), "test", demand(2, 7));
    watched.until_unanswered(2).await;
    assert_eq!(watched.newest(), Some(demand(2, 7)));
    let mut fastest = TIMEOUT;
    for change in 1..=10 {
        let changed = Instant::now();
        first.demand.send_replace(demand(change, change));
        watched.until_unanswered(2 + change).await;
        fastest = fastest.min(changed.elapsed());
    }
    assert_eq!(watched.newest(), Some(demand(12, 17)));
    // Polling alone takes 250 ms on average.
    assert!(fastest < Duration::from_millis(60), "{fastest:?}");
    drop(second);
}

#[tokio::test]
async fn deployments_with_different_prefixes_are_separate() {
    let server = RedisServer::start().await;
    let _ours = Replica::start(&server.url(), "ours", demand(1, 1));
    let _theirs = Replica::start(&server.url(), "theirs", demand(5, 5));
    let mut watched = Watched::start(&server.url(), "ours");
    let mut watched_theirs = Watched::start(&server.url(), "theirs");
    watched.until_unanswered(1).await;
    watched_theirs.until_unanswered(5).await;
    assert_eq!(watched.newest(), Some(demand(1, 1)));
}

#[tokio::test]
async fn a_replica_that_dies_drops_out_and_its_totals_stay() {
    let server = RedisServer::start().await;
    let dying = Replica::start(&server.url(), "test", demand(3, 10));
    let _living = Replica::start(&server.url(), "test", demand(1, 5));
    let mut watched = Watched::start(&server.url(), "test");
    watched.until_unanswered(4).await;
    let died = Instant::now();
    dying.die();
    watched.until_unanswered(1).await;
    let took = died.elapsed();
    assert!(took < TIME_TO_LIVE + Duration::from_secs(3), "{took:?}");
    let left = watched.newest().unwrap();
    assert_eq!((left.accepted_total, left.answered_total), (15, 11));
}

#[tokio::test]
async fn a_replica_withdraws_at_shutdown_and_no_replica_is_not_zero() {
    let server = RedisServer::start().await;
    let mut watched = Watched::start(&server.url(), "test");
    let replica = Replica::start(&server.url(), "test", demand(0, 9));
    watched.until_unanswered(0).await;
    let stopped = Instant::now();
    replica.shut_down().await;
    watched.until("no front", |demand| demand.is_none()).await;
    let took = stopped.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(keys(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn after_redis_was_killed_and_restarted_the_demand_is_exact_again() {
    let mut server = RedisServer::start().await;
    let first = Replica::start(&server.url(), "test", demand(3, 10));
    let second = Replica::start(&server.url(), "test", demand(4, 20));
    let mut watched = Watched::start(&server.url(), "test");
    watched.until_unanswered(7).await;
    server.kill();
    watched
        .until("Redis is lost", |demand| demand.is_none())
        .await;
    first.demand.send_replace(demand(5, 12));
    server.restart().await;
    watched.until_unanswered(9).await;
    assert_eq!(watched.newest(), Some(demand(9, 32)));
    // The replicas return one after the other, but the demand of one alone is never reported.
    let history = watched.history();
    let lost = history.iter().position(|seen| *seen == Some(demand(7, 30)));
    for known in history[lost.unwrap()..].iter().flatten() {
        assert!([7, 9].contains(&known.unanswered), "{history:?}");
    }
    let totals = history.iter().flatten().map(|it| it.accepted_total);
    assert!(totals.is_sorted(), "{history:?}");
    drop(second);
}

#[tokio::test]
async fn a_malformed_demand_is_not_left_out() {
    let server = RedisServer::start().await;
    let _sound = Replica::start(&server.url(), "test", demand(1, 1));
    let mut watched = Watched::start(&server.url(), "test");
    watched.until_unanswered(1).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let written = redis::pipe()
        .cmd("ZADD")
        .arg("muster:{test}:demand-replicas")
        .arg(4_000_000_000_u64)
        .arg("strange")
        .cmd("SET")
        .arg("muster:{test}:demand:strange")
        .arg("many")
        .exec_async(&mut connection)
        .await;
    written.unwrap();
    watched
        .until("the demand is unknown", |demand| demand.is_none())
        .await;
    let deleted = redis::cmd("DEL")
        .arg("muster:{test}:demand:strange")
        .exec_async(&mut connection)
        .await;
    deleted.unwrap();
    watched.until_unanswered(1).await;
}

#[tokio::test]
async fn a_redis_that_never_replies_delays_no_shutdown() {
    // The operating system accepts connections, and nothing replies.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}/0", silent.local_addr().unwrap());
    let replica = Replica::start(&url, "test", demand(1, 1));
    let watched = Watched::start(&url, "test");
    eventually("the reader reports", async || !watched.history().is_empty()).await;
    assert_eq!(watched.newest(), None);
    let stopped = Instant::now();
    replica.shut_down().await;
    let took = stopped.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn tls_with_a_server_without_tls_fails_and_is_retried() {
    let server = RedisServer::start().await;
    let url = server.url().replace("redis://", "rediss://");
    let watched = Watched::start(&url, "test");
    eventually("the reader retries", async || watched.history().len() >= 2).await;
    assert_eq!(watched.newest(), None);
}
