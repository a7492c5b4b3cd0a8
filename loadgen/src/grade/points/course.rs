//! What a grade by points reads of a system, in the order of the course's grader, and how a system is emptied.

use std::iter;
use std::time::Duration;

use futures::future::try_join_all;
use platform::aws::brief;
use platform::fleet::FleetError;
use platform::process::print;
use platform::queue::QueueError;
use proto::names::WEB_INSTANCE;

use crate::grade::cloud::Cloud;
use crate::report::points::{Queues, Sample, Start};
use crate::report::seconds;

/// Deletions of objects at once.
const DELETIONS: usize = 16;
/// SQS's limit.
const BATCH: usize = 10;

/// Reads what the deductions are for.
pub async fn start(cloud: &Cloud) -> Start {
    Start {
        instances: instances(cloud).await.map_err(|it| brief(&it.to_string())),
        buckets: buckets(cloud).await.map_err(|it| brief(&format!("{it:#}"))),
        queues: queues(cloud).await.map_err(|it| brief(&it.to_string())),
    }
}

/// Reads a row of the table.
///
/// # Errors
/// When a part cannot be read.
pub async fn sample(cloud: &Cloud, at: Duration) -> anyhow::Result<Sample> {
    let (requests, replies) = cloud.counters().await?;
    let running = cloud.workers().await?.running;
    let (photos, results) = cloud.stored().await?;
    Ok(Sample {
        t_s: seconds(at),
        requests: requests.visible,
        replies: replies.visible,
        running,
        photos,
        results,
    })
}

/// Empties the buckets and the queues, and says first what goes.
///
/// # Errors
/// When a part does not exist or refuses.
pub async fn clean(cloud: &Cloud) -> anyhow::Result<()> {
    for bucket in &cloud.buckets {
        let keys = bucket.keys().await?;
        if keys.is_empty() {
            continue;
        }
        print(format_args!(
            "clean     deleting {} objects of the bucket {}",
            keys.len(),
            bucket.bucket()
        ))?;
        for keys in keys.chunks(DELETIONS) {
            try_join_all(keys.iter().map(|key| bucket.delete(key))).await?;
        }
    }
    let requests = cloud.request_queue().await?;
    for queue in iter::once(requests).chain(cloud.reply_queues().await?) {
        let waiting = queue.counters().await?.visible;
        if waiting == 0 {
            continue;
        }
        print(format_args!(
            "clean     deleting {waiting} messages of the queue {}",
            queue.name()
        ))?;
        loop {
            let messages = queue.receive(BATCH, Duration::ZERO).await?;
            if messages.is_empty() && queue.counters().await?.visible == 0 {
                break;
            }
            let handles: Vec<_> = messages.into_iter().map(|it| it.receipt_handle).collect();
            if !handles.is_empty() {
                queue.delete_batch(handles).await?;
            }
        }
    }
    Ok(())
}

async fn instances(cloud: &Cloud) -> Result<(usize, usize), FleetError> {
    Ok((
        cloud.instances(WEB_INSTANCE).await?.running,
        cloud.workers().await?.running,
    ))
}

async fn buckets(cloud: &Cloud) -> anyhow::Result<(u64, u64)> {
    for bucket in &cloud.buckets {
        // The count of one that does not exist would be 0.
        let status = bucket.head().await?;
        anyhow::ensure!(
            status != 404,
            "the bucket {} does not exist",
            bucket.bucket()
        );
    }
    cloud.stored().await
}

async fn queues(cloud: &Cloud) -> Result<Queues, QueueError> {
    let (requests, replies) = cloud.counters().await?;
    let request_bytes = cloud.request_queue().await?.maximum_message_size().await?;
    let mut reply_bytes = usize::MAX;
    for queue in cloud.reply_queues().await? {
        reply_bytes = reply_bytes.min(queue.maximum_message_size().await?);
    }
    Ok(Queues {
        requests: requests.visible,
        replies: replies.visible,
        request_bytes,
        reply_bytes,
    })
}
