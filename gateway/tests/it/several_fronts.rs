//! Several fronts that share a deployment, with their demand in Redis.

use std::time::Duration;

use gateway::front;
use platform::demand::{Demand, DemandArgs, Reader};
use testkit::{LocalCloud, RedisServer, TIMEOUT};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::photos::photo;
use crate::stack::Stack;
use crate::worker::{Behavior, Worker, recognized};

/// The demand that a scaler reads.
struct Watched {
    told: watch::Receiver<Option<Demand>>,
    _reading: AbortOnDropHandle<()>,
}

impl Watched {
    fn start(server: &RedisServer) -> Self {
        let (tell, told) = watch::channel(None);
        let reader = Reader::new(server.url().parse().unwrap(), "test");
        let reading = reader.follow(move |demand| {
            tell.send_replace(demand);
        });
        Self {
            told,
            _reading: AbortOnDropHandle::new(tokio::spawn(reading)),
        }
    }

    async fn until(&mut self, wanted: Option<Demand>) {
        let found = self.told.wait_for(|told| *told == wanted);
        let in_time = tokio::time::timeout(TIMEOUT, found).await.is_ok();
        assert!(in_time, "{:?} instead of {wanted:?}", self.told.borrow());
    }
}

fn keep_demand_in(server: &RedisServer, front: &mut front::Config) {
    front.demand = DemandArgs {
        demand: Some(server.url().parse().unwrap()),
    };
}

fn demand(unanswered: u64, accepted_total: u64) -> Option<Demand> {
    Some(Demand {
        unanswered,
        accepted_total,
        answered_total: accepted_total - unanswered,
        ..Demand::default()
    })
}

#[tokio::test]
async fn two_fronts_share_a_request_queue_and_their_demand_is_summed() {
    let server = RedisServer::start().await;
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let first = Stack::in_cloud(&cloud.url, |front, _| keep_demand_in(&server, front)).await;
    let second = Stack::in_cloud(&cloud.url, |front, _| {
        keep_demand_in(&server, front);
        front.reply_queue = Some("test-second-resp-queue".to_owned());
    })
    .await;
    first.until_ready().await;
    second.until_ready().await;
    let mut watched = Watched::start(&server);

    let (one, two) = (photo(1), photo(2));
    let meanwhile = async {
        watched.until(demand(2, 2)).await;
        // The name in the result is that of the reply queue.
        let worker = Worker::start(&first, |job| {
            Behavior::Send(vec![recognized(job, &job.reply_queue)])
        });
        let worker = worker.await;
        watched.until(demand(0, 2)).await;
        worker
    };
    let (of_first, of_second, worker) = tokio::join!(
        first.post("a.jpg", &one),
        second.post("b.jpg", &two),
        meanwhile
    );
    let own = first.reply_queues().await;
    assert_eq!(own.len(), 1, "{own:?}");
    of_first.assert_recognized(&format!("a:{}", own[0]));
    of_second.assert_recognized("b:test-second-resp-queue");
    assert_eq!(worker.jobs(), 2);
}

#[tokio::test]
async fn a_front_withdraws_its_demand_at_shutdown() {
    let server = RedisServer::start().await;
    let mut stack = Stack::configured(|front, _| keep_demand_in(&server, front)).await;
    let mut watched = Watched::start(&server);
    watched.until(demand(0, 0)).await;
    let stopped = Instant::now();
    stack.stop_front.cancel();
    watched.until(None).await;
    let took = stopped.elapsed();
    // Expiry alone takes five seconds.
    assert!(took < Duration::from_secs(3), "{took:?}");
    let ended = tokio::time::timeout(TIMEOUT, &mut stack.front_ended).await;
    ended.expect("front ends").unwrap().unwrap();
}

#[tokio::test]
async fn an_outage_of_redis_does_not_affect_requests() {
    let mut server = RedisServer::start().await;
    let stack = Stack::configured(|front, _| keep_demand_in(&server, front)).await;
    let _worker = Worker::recognizing(&stack).await;
    let mut watched = Watched::start(&server);
    let (one, two, three) = (photo(1), photo(2), photo(3));
    let answer = stack.post("a.jpg", &one).await;
    answer.assert_recognized("a:somebody");
    watched.until(demand(0, 1)).await;

    server.kill();
    watched.until(None).await;
    let answer = stack.post("b.jpg", &two).await;
    answer.assert_recognized("b:somebody");
    let answer = stack.post("c.jpg", &three).await;
    answer.assert_recognized("c:somebody");
    server.restart().await;
    watched.until(demand(0, 3)).await;
}

#[tokio::test]
async fn a_job_that_kills_its_workers_fails_at_its_own_front() {
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let first = Stack::in_cloud(&cloud.url, |_, _| {}).await;
    let second = Stack::in_cloud(&cloud.url, |_, _| {}).await;
    first.until_ready().await;
    second.until_ready().await;
    let worker = Worker::start(&first, |_| Behavior::Fail).await;
    let (one, two) = (photo(1), photo(2));
    // Each front's scans hide the dead letters from the other one for a second.
    let (of_first, of_second) = tokio::join!(first.post("a.jpg", &one), second.post("b.jpg", &two));
    of_first.assert_refused(500, "gave up after 5 attempts");
    of_second.assert_refused(500, "gave up after 5 attempts");
    assert_eq!(worker.jobs(), 10);
}

/// As in a rolling restart. With a shared queue each would receive the other's replies.
#[tokio::test]
async fn fronts_receive_only_their_own_replies() {
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let mut first = Stack::in_cloud(&cloud.url, |_, _| {}).await;
    let second = Stack::in_cloud(&cloud.url, |_, _| {}).await;
    first.until_ready().await;
    second.until_ready().await;
    assert_eq!(second.reply_queues().await.len(), 2);
    let _worker = Worker::recognizing(&second).await;
    let photos: Vec<_> = (0..20).map(photo).collect();
    let posts = photos.iter().enumerate().map(|(number, photo)| {
        let front = if number % 2 == 0 { &first } else { &second };
        async move { front.post(&format!("{number}.jpg"), photo).await }
    });
    for (number, answer) in futures::future::join_all(posts).await.iter().enumerate() {
        answer.assert_recognized(&format!("{number}:somebody"));
    }
    // A front deletes its queue at shutdown.
    first.stop_front.cancel();
    let ended = tokio::time::timeout(TIMEOUT, &mut first.front_ended).await;
    ended.expect("front ends").unwrap().unwrap();
    assert_eq!(second.reply_queues().await.len(), 1);
    let answer = second.post("last.jpg", &photos[0]).await;
    answer.assert_recognized("last:somebody");
}

#[tokio::test]
async fn a_reply_queue_named_by_the_operator_is_kept() {
    let mut stack = Stack::configured(|front, _| {
        front.reply_queue = Some("test-resp-queue".to_owned());
    })
    .await;
    stack.stop_front.cancel();
    let ended = tokio::time::timeout(TIMEOUT, &mut stack.front_ended).await;
    ended.expect("front ends").unwrap().unwrap();
    assert_eq!(stack.reply_queues().await, ["test-resp-queue"]);
}
