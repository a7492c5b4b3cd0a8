use platform::queue::Queue;
use testkit::{LocalCloud, plain_queue};

use super::*;

/// Returns clients, and the queue of a front.
async fn front(cloud: &LocalCloud) -> (Aws, Queue) {
    let aws = cloud.aws("test").await;
    let attributes = plain_queue(Duration::from_secs(30));
    let queue = aws.ensure_queue("replies", &attributes).await.unwrap();
    (aws, queue)
}

#[tokio::test]
async fn a_reply_waits_only_while_other_jobs_are_in_flight() {
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let replies = Replies::new(cloud.aws("test").await);
    assert_eq!(replies.wait(), Wait::No);
    let mut others = vec![replies.job()];
    assert_eq!(replies.wait(), Wait::ForCalls);
    others.extend((1..MANY_JOBS).map(|_| replies.job()));
    assert_eq!(replies.wait(), Wait::ForOthers);
    others.clear();
    assert_eq!(replies.wait(), Wait::No);
}

#[tokio::test]
async fn a_lone_reply_takes_a_call_of_its_own() {
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let (aws, _queue) = front(&cloud).await;
    let replies = Replies::new(aws);
    for sent in 1..=3 {
        let reply = replies.send("replies", "a reply".to_owned(), replies.job());
        reply.await.unwrap();
        assert_eq!(cloud.answers("SendMessageBatch", 200).await, sent);
    }
}

#[tokio::test]
async fn replies_of_jobs_that_end_together_go_out_together() {
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let (aws, queue) = front(&cloud).await;
    let replies = Replies::new(aws);
    let first = replies.send("replies", "opens the queue".to_owned(), replies.job());
    first.await.unwrap();
    let [one, two, three] = std::array::from_fn(|_| replies.job());
    let send = |job| replies.send("replies", "a reply".to_owned(), job);
    let (one, two, three) = tokio::join!(send(one), send(two), send(three));
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(cloud.answers("SendMessageBatch", 200).await, 2);
    assert_eq!(queue.counters().await.unwrap().visible, 4);
}
