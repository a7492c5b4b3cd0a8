//! The reply queue of one front: created at its start, deleted at its end. No other front receives from it. Other fronts
//! delete the queue of a front that died.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use platform::queue::{BATCH_LIMIT, Message, QueueAttributes, QueueError};
use proto::v1::RecognitionResult;
use tokio_util::sync::CancellationToken;

use super::backend::{Deployment, REPLY_QUEUE_ATTRIBUTES, REPLY_RETENTION};
use super::kept_results::KeptResults;

/// Interval at which a front sets its queue's attributes, to show that it runs, and checks the queues of others.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// A front counts as dead after this time without a heartbeat. Longer than SQS needs to propagate attributes (60 s), and
/// than requests wait by default.
const STALE_AFTER: Duration = Duration::from_secs(300);
/// A receive of this length asks all of SQS's servers for the replies of a front that died.
const LAST_POLL: Duration = Duration::from_secs(1);

/// Maintains the front's queue and deletes those of dead fronts until `stop`. Then deletes its own. If others deleted it
/// after a long outage of SQS, it is created again. Replies in deleted queues are kept; those that come later are kept by
/// their workers.
pub async fn maintain_until(
    deployment: Deployment,
    own: String,
    kept: KeptResults,
    stop: CancellationToken,
) {
    let (mut others, mut count) = (OtherQueues::default(), 0);
    let mut ticks = tokio::time::interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        count += 1;
        let sent = heartbeat(&deployment, &own, count).await;
        let deleted = delete_stale(&deployment, &own, &kept, &mut others, Instant::now()).await;
        if let Err(error) = sent.and(deleted) {
            tracing::warn!(%error, "reply queues cannot be maintained");
        }
    }
    if let Err(error) = delete(&deployment, &own, &kept, Duration::ZERO).await {
        tracing::warn!(queue = own, %error, "the reply queue stays until another front deletes it");
    }
}

/// The attributes alternate, since SQS may not count equal ones as a modification.
async fn heartbeat(deployment: &Deployment, own: &str, count: u64) -> Result<(), QueueError> {
    let attributes = QueueAttributes {
        retention: Some(REPLY_RETENTION + Duration::from_secs(count % 2)),
        ..REPLY_QUEUE_ATTRIBUTES
    };
    let ensured = deployment.aws.ensure_queue(own, &attributes).await;
    ensured.map(|_| ())
}

async fn delete_stale(
    deployment: &Deployment,
    own: &str,
    kept: &KeptResults,
    others: &mut OtherQueues,
    now: Instant,
) -> Result<(), QueueError> {
    let Deployment { aws, names } = deployment;
    let mut found = Vec::new();
    for name in aws.queue_names(&names.reply_queue()).await? {
        if name == own || !names.is_new_reply_queue(&name) {
            continue;
        }
        // The list may still have a queue that was just deleted.
        let last_heartbeat = async { aws.queue(&name).await?.last_modified().await };
        match last_heartbeat.await {
            Ok(last_heartbeat) => found.push((name, last_heartbeat)),
            Err(QueueError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    for name in others.stale(found, now) {
        delete(deployment, &name, kept, LAST_POLL).await?;
        tracing::warn!(queue = name, "deleted the reply queue of a front that died");
    }
    Ok(())
}

/// Keeps the replies in a queue, of which it waits `poll` for the last ones, and deletes it.
async fn delete(
    deployment: &Deployment,
    name: &str,
    kept: &KeptResults,
    poll: Duration,
) -> Result<(), QueueError> {
    let deleted = async {
        let queue = deployment.aws.queue(name).await?;
        loop {
            let replies = queue.receive(BATCH_LIMIT, poll).await?;
            if replies.is_empty() {
                return queue.delete_queue().await;
            }
            for reply in replies {
                keep(&reply, kept).await;
            }
        }
    };
    match deleted.await {
        Err(QueueError::NotFound(_)) => Ok(()),
        settled => settled,
    }
}

async fn keep(reply: &Message, kept: &KeptResults) {
    let Ok(result) = proto::decode::<RecognitionResult>(&reply.body) else {
        return;
    };
    let Ok(id) = result.job_id.parse() else {
        return;
    };
    if let Err(error) = kept.keep(id, &result).await {
        tracing::warn!(%error, request_id = %id, "the result of a request whose front ended cannot be kept");
    }
}

/// The queues of other fronts, by name: the last heartbeat, by SQS's clock, and when it was first seen, by this machine's.
/// The two are never compared.
#[derive(Debug, Default)]
struct OtherQueues(HashMap<String, (u64, Instant)>);

impl OtherQueues {
    /// Records the present queues and their last heartbeats. Returns those of dead fronts.
    fn stale(&mut self, found: Vec<(String, u64)>, now: Instant) -> Vec<String> {
        let before = std::mem::take(&mut self.0);
        let seen = found
            .into_iter()
            .map(|(name, beat)| match before.get(&name) {
                Some(&(last, since)) if last == beat => (name, (last, since)),
                _ => (name, (beat, now)),
            });
        self.0 = seen.collect();
        let stale = self.0.iter();
        let stale = stale.filter(|(_, (_, since))| now.duration_since(*since) >= STALE_AFTER);
        stale.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
pub mod tests {
    use platform::aws::{Aws, AwsArgs};
    use proto::v1::recognition_result::Outcome;
    use proto::v1::{Failure, FailureCode};
    use proto::{JobId, Names};
    use tokio::net::TcpListener;
    use tokio_util::sync::DropGuard;

    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn a_queue_is_stale_when_its_heartbeat_stands_still_for_five_minutes() {
        let (mut others, begun) = (OtherQueues::default(), Instant::now());
        let mut stale = |beats: &[(&str, u64)], after| {
            let found = beats.iter().map(|&(name, beat)| (name.to_owned(), beat));
            others.stale(found.collect(), begun + minutes(after))
        };
        let none = Vec::<String>::new();
        assert_eq!(stale(&[("living", 100), ("dead", 7)], 0), none);
        assert_eq!(stale(&[("living", 101), ("dead", 7)], 4), none);
        // A time that goes backwards is a heartbeat, too.
        assert_eq!(stale(&[("living", 50), ("dead", 7)], 5), ["dead"]);
        assert_eq!(stale(&[("living", 50)], 9), none);
        // A queue that returns under its old name is new.
        assert_eq!(stale(&[("living", 51), ("dead", 7)], 10), none);
        assert_eq!(stale(&[("living", 52), ("dead", 7)], 15), ["dead"]);
    }

    pub async fn cloud() -> (Deployment, DropGuard) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        let end = stop.clone().drop_guard();
        let args = AwsArgs {
            endpoint_url: Some(format!("http://{}", listener.local_addr().unwrap())),
            region: Some("us-east-1".to_owned()),
            prefix: "test".to_owned(),
        };
        let config = localcloud::Config::default();
        tokio::spawn(localcloud::run(config, listener, stop.cancelled_owned()));
        let deployment = Deployment {
            aws: Aws::connect_as(&args, "test", "test").await,
            names: Names::new("test"),
        };
        (deployment, end)
    }

    pub async fn kept_in(deployment: &Deployment) -> KeptResults {
        let results = deployment.aws.objects(deployment.names.out_bucket());
        results.ensure().await.unwrap();
        KeptResults::new(results)
    }

    #[tokio::test]
    async fn calls_to_a_deleted_queue_return_not_found() {
        let (deployment, _end) = cloud().await;
        heartbeat(&deployment, "gone", 1).await.unwrap();
        let queue = deployment.aws.queue("gone").await.unwrap();
        let kept = kept_in(&deployment).await;
        delete(&deployment, "gone", &kept, Duration::ZERO)
            .await
            .unwrap();
        let body = || "a reply".to_owned();
        let results = [
            queue.send(body()).await,
            queue.send_batch(vec![body()]).await.remove(0),
            queue.receive(1, Duration::ZERO).await.map(drop),
            queue.delete_batch(vec!["handle".to_owned()]).await,
            queue.counters().await.map(drop),
            deployment.aws.queue("gone").await.map(drop),
        ];
        for result in results {
            assert!(
                matches!(&result, Err(QueueError::NotFound(name)) if name == "gone"),
                "{result:?}"
            );
        }
    }

    #[tokio::test]
    async fn only_the_queue_of_a_dead_front_is_deleted_and_its_replies_are_kept() {
        let (deployment, _end) = cloud().await;
        let kept = kept_in(&deployment).await;
        let own = deployment.names.new_reply_queue();
        let dead = deployment.names.new_reply_queue();
        let queues = [&own, &dead, "test-resp-queue", "test-resp-queue-2"];
        for queue in queues {
            heartbeat(&deployment, queue, 1).await.unwrap();
        }
        let id = JobId::random();
        let reply = RecognitionResult {
            job_id: id.to_string(),
            outcome: Some(Outcome::Failure(Failure {
                code: FailureCode::NoFace.into(),
                message: "no face found".to_owned(),
            })),
            ..RecognitionResult::default()
        };
        let replies = deployment.aws.queue(&dead).await.unwrap();
        for body in [proto::encode(&reply), "no reply".to_owned()] {
            replies.send(body).await.unwrap();
        }
        let (mut others, now) = (OtherQueues::default(), Instant::now());
        for (at, expected) in [(now, 4), (now + STALE_AFTER, 3)] {
            delete_stale(&deployment, &own, &kept, &mut others, at)
                .await
                .unwrap();
            let error = kept.find(id).await.unwrap_err();
            assert_eq!(error.message == "no face found", expected == 3, "{error}");
            let left = deployment.aws.queue_names("test-").await.unwrap();
            assert_eq!(left.len(), expected);
            assert_eq!(left.contains(&dead), expected == 4, "{left:?}");
        }
        delete(&deployment, &dead, &kept, Duration::ZERO)
            .await
            .unwrap();
    }
}
