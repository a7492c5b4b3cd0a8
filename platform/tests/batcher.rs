//! Batch calls, against localcloud.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures::future::join_all;
use platform::queue::{BATCH_LIMIT, Batcher, Counters, Queue, QueueError, Wait};
use testkit::{LocalCloud, plain_queue};

const MINUTE: Duration = Duration::from_secs(60);

async fn queue(cloud: &LocalCloud) -> Queue {
    let aws = cloud.aws("test").await;
    let attributes = plain_queue(MINUTE);
    aws.ensure_queue("batches", &attributes).await.unwrap()
}

#[tokio::test]
async fn entries_that_wait_go_together_and_full_batches_go_at_once() {
    let cloud = LocalCloud::start(Default::default()).await;
    let queue = queue(&cloud).await;
    let (sends, making) = Batcher::sends(queue.clone(), MINUTE, 100);
    tokio::spawn(making);
    let puts = (0..25).map(|number| {
        let wait = if number == 24 {
            Wait::No
        } else {
            Wait::ForOthers
        };
        sends.put(number.to_string(), wait)
    });
    for result in join_all(puts).await {
        result.unwrap();
    }
    assert_eq!(queue.counters().await.unwrap().visible, 25);
    assert_eq!(cloud.answers("SendMessageBatch", 200).await, 3);
}

#[tokio::test]
async fn what_waits_is_deleted_when_the_batcher_is_dropped() {
    let cloud = LocalCloud::start(Default::default()).await;
    let queue = queue(&cloud).await;
    queue.send_batch(vec!["a".to_owned(), "b".to_owned()]).await;
    let received = queue.receive(BATCH_LIMIT, Duration::ZERO).await.unwrap();
    let (deletes, making) = Batcher::deletes(queue.clone(), MINUTE, 100);
    for message in received {
        assert!(deletes.post(message.receipt_handle, Wait::ForOthers));
    }
    drop(deletes);
    making.await;
    assert_eq!(queue.counters().await.unwrap(), Counters::default());
    assert_eq!(cloud.answers("DeleteMessageBatch", 200).await, 1);
}

#[tokio::test]
async fn entries_of_a_queue_that_is_gone_fail_as_its_other_calls_do() {
    let cloud = LocalCloud::start(Default::default()).await;
    let queue = queue(&cloud).await;
    let (sends, making) = Batcher::sends(queue.clone(), MINUTE, 100);
    tokio::spawn(making);
    queue.delete_queue().await.unwrap();
    let sent = sends.put("late".to_owned(), Wait::No).await;
    assert!(matches!(sent, Err(QueueError::NotFound(_))), "{sent:?}");
}
