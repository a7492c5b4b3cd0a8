//! The reply queue of one front: created when the front starts, deleted when it ends. No other front receives from it. The
//! queues of fronts that died are deleted by the others.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use platform::queue::{QueueAttributes, QueueError};
use tokio_util::sync::CancellationToken;

use super::backend::Deployment;

/// How often a front shows that it runs, by setting its queue's attributes, and looks at the queues of others.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// The front of a queue without heartbeats for so long is taken for dead. Longer than SQS needs to spread attributes (60 s)
/// and than requests wait by default.
const STALE_AFTER: Duration = Duration::from_secs(300);
/// Until a reply is received again whose receive's answer was lost.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer than any request waits.
const RETENTION: Duration = Duration::from_secs(3600);

/// What a reply queue is created with.
pub const ATTRIBUTES: QueueAttributes = QueueAttributes {
    visibility_timeout: VISIBILITY_TIMEOUT,
    maximum_message_size: None,
    retention: Some(RETENTION),
    redrive: None,
};

/// Keeps the front's queue and deletes those of dead fronts until `stop`, and then deletes its own. A queue that others
/// took for a dead front's, because SQS could not be reached for long, is made anew.
pub async fn keep_until(deployment: Deployment, own: String, stop: CancellationToken) {
    let (mut others, mut count) = (Others::default(), 0);
    let mut ticks = tokio::time::interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        count += 1;
        let beaten = beat(&deployment, &own, count).await;
        let swept = sweep(&deployment, &own, &mut others, Instant::now()).await;
        if let Err(error) = beaten.and(swept) {
            tracing::warn!(%error, "reply queues cannot be kept");
        }
    }
    if let Err(error) = delete(&deployment, &own).await {
        tracing::warn!(queue = own, %error, "the reply queue stays until another front deletes it");
    }
}

/// Attributes that do not change may count as unmodified, so that they alternate.
async fn beat(deployment: &Deployment, own: &str, count: u64) -> Result<(), QueueError> {
    let attributes = QueueAttributes {
        retention: Some(RETENTION + Duration::from_secs(count % 2)),
        ..ATTRIBUTES
    };
    let ensured = deployment.aws.ensure_queue(own, &attributes).await;
    ensured.map(|_| ())
}

async fn sweep(
    deployment: &Deployment,
    own: &str,
    others: &mut Others,
    now: Instant,
) -> Result<(), QueueError> {
    let Deployment { aws, names } = deployment;
    let mut found = Vec::new();
    for name in aws.queue_names(&names.reply_queue()).await? {
        if name == own || !names.is_new_reply_queue(&name) {
            continue;
        }
        // Lists may name a queue that was just deleted.
        let last_beat = async { aws.queue(&name).await?.last_modified().await };
        match last_beat.await {
            Ok(last_beat) => found.push((name, last_beat)),
            Err(QueueError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    for name in others.stale(found, now) {
        delete(deployment, &name).await?;
        tracing::warn!(queue = name, "deleted the reply queue of a front that died");
    }
    Ok(())
}

async fn delete(deployment: &Deployment, name: &str) -> Result<(), QueueError> {
    let deleted = async { deployment.aws.queue(name).await?.delete_queue().await };
    match deleted.await {
        Err(QueueError::NotFound(_)) => Ok(()),
        settled => settled,
    }
}

/// The queues of other fronts, by name: the last heartbeat, in SQS's time, and when it was first seen, in ours. The two are
/// never compared.
#[derive(Debug, Default)]
struct Others(HashMap<String, (u64, Instant)>);

impl Others {
    /// Takes in the queues that are there now with their last heartbeats. Returns those of dead fronts.
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
mod tests {
    use platform::aws::{Aws, AwsArgs};
    use proto::Names;
    use tokio::net::TcpListener;
    use tokio_util::sync::DropGuard;

    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn a_queue_is_stale_when_its_heartbeat_stands_still_for_five_minutes() {
        let (mut others, begun) = (Others::default(), Instant::now());
        let mut stale = |beats: &[(&str, u64)], after| {
            let found = beats.iter().map(|&(name, beat)| (name.to_owned(), beat));
            others.stale(found.collect(), begun + minutes(after))
        };
        let none = Vec::<String>::new();
        assert_eq!(stale(&[("living", 100), ("dead", 7)], 0), none);
        assert_eq!(stale(&[("living", 101), ("dead", 7)], 4), none);
        // A clock that was set back is a heartbeat, too.
        assert_eq!(stale(&[("living", 50), ("dead", 7)], 5), ["dead"]);
        assert_eq!(stale(&[("living", 50)], 9), none);
        // One that comes back under its name is new.
        assert_eq!(stale(&[("living", 51), ("dead", 7)], 10), none);
        assert_eq!(stale(&[("living", 52), ("dead", 7)], 15), ["dead"]);
    }

    async fn cloud() -> (Deployment, DropGuard) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        let end = stop.clone().drop_guard();
        let args = AwsArgs {
            endpoint_url: Some(format!("http://{}", listener.local_addr().unwrap())),
            region: "us-east-1".to_owned(),
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

    #[tokio::test]
    async fn calls_to_a_deleted_queue_say_so() {
        let (deployment, _end) = cloud().await;
        beat(&deployment, "gone", 1).await.unwrap();
        let queue = deployment.aws.queue("gone").await.unwrap();
        delete(&deployment, "gone").await.unwrap();
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
    async fn the_queue_of_a_dead_front_is_deleted_and_no_other() {
        let (deployment, _end) = cloud().await;
        let own = deployment.names.new_reply_queue();
        let dead = deployment.names.new_reply_queue();
        let queues = [&own, &dead, "test-resp-queue", "test-resp-queue-2"];
        for queue in queues {
            beat(&deployment, queue, 1).await.unwrap();
        }
        let (mut others, now) = (Others::default(), Instant::now());
        for (at, expected) in [(now, 4), (now + STALE_AFTER, 3)] {
            sweep(&deployment, &own, &mut others, at).await.unwrap();
            let left = deployment.aws.queue_names("test-").await.unwrap();
            assert_eq!(left.len(), expected);
            assert_eq!(left.contains(&dead), expected == 4, "{left:?}");
        }
        delete(&deployment, &dead).await.unwrap();
    }
}
