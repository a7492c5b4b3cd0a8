use platform::queue::Counters;
use testkit::{LocalCloud, plain_queue};

use super::*;

const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn messages_are_deleted_together_when_a_worker_ends() {
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let attributes = plain_queue(VISIBILITY_TIMEOUT);
    let aws = cloud.aws("test").await;
    let queue = aws.ensure_queue("requests", &attributes).await.unwrap();
    queue.send_batch(vec!["a job".to_owned(); 3]).await;
    let received = queue.receive(3, Duration::ZERO).await.unwrap();
    let mut deletes = Deletes::new(queue.clone());
    for message in received {
        deletes.add(Settled {
            lease: Lease::hold(&queue, &message, VISIBILITY_TIMEOUT),
            receipt_handle: message.receipt_handle,
            span: Span::none(),
        });
    }
    assert_eq!(deletes.len(), 3);
    deletes.hurry(true);
    while deletes.next().await.is_some() {}
    assert!(deletes.is_empty());
    assert_eq!(queue.counters().await.unwrap(), Counters::default());
}
