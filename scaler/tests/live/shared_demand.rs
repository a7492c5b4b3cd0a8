//! Demand that several fronts publish in Redis. The stage's own front is not used.

use platform::demand::{Demand, Publisher};
use platform::fleet::PowerState;
use platform::shutdown::CancellationToken;
use proto::v1::InstanceState;
use testkit::RedisServer;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::stage::{Stage, eventually};
use crate::wait::{all_stop, starts_at_once, until_listed, until_seen};
use crate::worker::stage_with_workers;

/// A front that only publishes its demand.
struct Replica {
    counts: watch::Sender<Demand>,
    publishing: JoinHandle<()>,
}

impl Replica {
    fn start(server: &RedisServer) -> Self {
        let (counts, published) = watch::channel(Demand::default());
        let publisher = Publisher::new(server.url().parse().unwrap(), "muster");
        let publishing = publisher.publish_until(published, CancellationToken::new());
        Self {
            counts,
            publishing: tokio::spawn(publishing),
        }
    }

    fn demand(&self, unanswered: u64) {
        self.counts.send_modify(|counts| {
            let accepted = unanswered.saturating_sub(counts.unanswered);
            counts.accepted_total += accepted;
            counts.unanswered = unanswered;
            counts.answered_total = counts.accepted_total - unanswered;
        });
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.publishing.abort();
    }
}

/// Returns the demand that the scaler sees.
async fn unanswered(stage: &Stage) -> Option<u64> {
    stage.status().await.observation.unwrap().unanswered
}

async fn eventually_unanswered(stage: &Stage, wanted: Option<u64>) {
    eventually(&format!("{wanted:?} are unanswered"), async || {
        unanswered(stage).await == wanted
    })
    .await;
}

#[tokio::test]
async fn two_fronts_together_start_workers_and_all_stop_when_both_are_done() {
    let server = RedisServer::start().await;
    let (first, second) = (Replica::start(&server), Replica::start(&server));
    let arguments = ["--max-workers", "5", "--demand", &server.url()];
    let (stage, _workers) = stage_with_workers(&arguments).await;
    eventually_unanswered(&stage, Some(0)).await;
    first.demand(2);
    until_seen(&stage, InstanceState::Idle, 2).await;
    assert_eq!(stage.calls("RunInstances").await, 1);
    second.demand(1);
    until_seen(&stage, InstanceState::Idle, 3).await;
    assert_eq!(unanswered(&stage).await, Some(3));

    first.demand(0);
    eventually_unanswered(&stage, Some(1)).await;
    all_stop(&stage, 3, || second.demand(0)).await;
}

#[tokio::test]
async fn a_first_request_leads_to_the_start_call_as_fast_as_over_grpc() {
    let server = RedisServer::start().await;
    let mut stage = Stage::without_scaler(&["--demand", &server.url()]).await;
    stage.prepare_stopped(4).await;
    stage.start_scaler().await;
    let front = Replica::start(&server);
    until_seen(&stage, InstanceState::Stopped, 4).await;
    eventually_unanswered(&stage, Some(0)).await;
    // The same bound as over gRPC. Polling would exceed it in one of two runs.
    starts_at_once(&stage, || front.demand(4)).await;
}

#[tokio::test]
async fn the_queue_replaces_a_lost_redis_until_it_is_back() {
    let mut server = RedisServer::start().await;
    let front = Replica::start(&server);
    let stage = Stage::set(&["--demand", &server.url()]).await;
    let queue = stage.create_queue().await;
    front.demand(1);
    until_listed(&stage, PowerState::Running, 1).await;
    assert_eq!(unanswered(&stage).await, Some(1));

    server.kill();
    eventually_unanswered(&stage, None).await;
    for _ in 0..3 {
        queue.send("{}".to_owned()).await.unwrap();
    }
    until_listed(&stage, PowerState::Running, 3).await;
    assert_eq!(unanswered(&stage).await, None);

    front.demand(4);
    server.restart().await;
    until_listed(&stage, PowerState::Running, 4).await;
    assert_eq!(unanswered(&stage).await, Some(4));
}

#[tokio::test]
async fn without_any_front_the_queue_decides() {
    let server = RedisServer::start().await;
    let stage = Stage::set(&["--demand", &server.url()]).await;
    let queue = stage.create_queue().await;
    queue.send("{}".to_owned()).await.unwrap();
    until_listed(&stage, PowerState::Running, 1).await;
    assert_eq!(unanswered(&stage).await, None);
}

#[tokio::test]
async fn the_demand_of_a_dead_front_no_longer_counts() {
    let server = RedisServer::start().await;
    let (dying, living) = (Replica::start(&server), Replica::start(&server));
    let stage = Stage::set(&["--demand", &server.url()]).await;
    dying.demand(2);
    living.demand(1);
    eventually_unanswered(&stage, Some(3)).await;
    drop(dying);
    eventually_unanswered(&stage, Some(1)).await;
}
