//! The queues, buckets and instances of the system under test, by the names of the course. Nothing else of it is needed.

use std::time::Duration;

use futures::future::try_join_all;
use platform::aws::{Aws, brief};
use platform::fleet::{Fleet, PowerState};
use platform::objects::Objects;
use platform::process::print;
use platform::queue::{Queue, QueueError};
use proto::Names;
use proto::names::{WEB_INSTANCE, WORKER_INSTANCE};
use tokio::sync::OnceCell;

use crate::report::points::{Queues, Sample, Start};

/// Deletions of objects at once.
const DELETIONS: usize = 16;
/// SQS's limit.
const BATCH: usize = 10;

/// A client of one system.
#[derive(Debug)]
pub struct CourseCloud {
    aws: Aws,
    names: Names,
    fleet: Fleet,
    in_bucket: Objects,
    out_bucket: Objects,
    /// Found at the first use: a system without its queues is graded, too.
    request_queue: OnceCell<Queue>,
    reply_queue: OnceCell<Queue>,
}

impl CourseCloud {
    pub fn new(aws: Aws, prefix: &str) -> Self {
        let names = Names::new(prefix);
        Self {
            fleet: aws.fleet(),
            in_bucket: aws.objects(names.in_bucket()),
            out_bucket: aws.objects(names.out_bucket()),
            names,
            aws,
            request_queue: OnceCell::new(),
            reply_queue: OnceCell::new(),
        }
    }

    /// Reads what the deductions are for.
    pub async fn start(&self) -> Start {
        Start {
            instances: self
                .instances()
                .await
                .map_err(|it| brief(&format!("{it:#}"))),
            buckets: self.buckets().await.map_err(|it| brief(&format!("{it:#}"))),
            queues: self.queues().await.map_err(|it| brief(&it.to_string())),
        }
    }

    /// Reads a row of the table, in the order of the course's grader.
    ///
    /// # Errors
    /// When a part cannot be read.
    pub async fn sample(&self, at: Duration) -> anyhow::Result<Sample> {
        let (requests, replies) = self.waiting().await?;
        let running = self.running_workers().await?;
        let (photos, results) = self.stored().await?;
        Ok(Sample {
            t_s: (at.as_secs_f64() * 1e3).round() / 1e3,
            requests,
            replies,
            running,
            photos,
            results,
        })
    }

    /// Counts the workers that run.
    ///
    /// # Errors
    /// When EC2 cannot be reached or refuses.
    pub async fn running_workers(&self) -> anyhow::Result<usize> {
        self.running(WORKER_INSTANCE).await
    }

    /// Counts the messages that wait in the request queue and in the reply queue.
    ///
    /// # Errors
    /// When a queue does not exist or cannot be read.
    pub async fn waiting(&self) -> Result<(u64, u64), QueueError> {
        let requests = self.request_queue().await?.counters().await?;
        let replies = self.reply_queue().await?.counters().await?;
        Ok((requests.visible, replies.visible))
    }

    /// Counts the objects in the in-bucket and in the out-bucket.
    ///
    /// # Errors
    /// When a bucket does not exist or cannot be listed.
    pub async fn stored(&self) -> anyhow::Result<(u64, u64)> {
        Ok((
            count(&self.in_bucket).await?,
            count(&self.out_bucket).await?,
        ))
    }

    /// Empties the buckets and the queues, and says first what goes.
    ///
    /// # Errors
    /// When a part does not exist or refuses.
    pub async fn clean(&self) -> anyhow::Result<()> {
        for bucket in [&self.in_bucket, &self.out_bucket] {
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
        for queue in [self.request_queue().await?, self.reply_queue().await?] {
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

    async fn instances(&self) -> anyhow::Result<(usize, usize)> {
        Ok((
            self.running(WEB_INSTANCE).await?,
            self.running_workers().await?,
        ))
    }

    async fn buckets(&self) -> anyhow::Result<(u64, u64)> {
        for bucket in [&self.in_bucket, &self.out_bucket] {
            // The count of one that does not exist would be 0.
            let status = bucket.head().await?;
            anyhow::ensure!(
                status != 404,
                "the bucket {} does not exist",
                bucket.bucket()
            );
        }
        self.stored().await
    }

    async fn queues(&self) -> Result<Queues, QueueError> {
        let (requests, replies) = self.waiting().await?;
        Ok(Queues {
            requests,
            replies,
            request_bytes: self.request_queue().await?.maximum_message_size().await?,
            reply_bytes: self.reply_queue().await?.maximum_message_size().await?,
        })
    }

    async fn running(&self, name: &str) -> anyhow::Result<usize> {
        let found = self.fleet.find(&format!("{name}*")).await?;
        let running = found.iter().filter(|it| it.state == PowerState::Running);
        Ok(running.count())
    }

    async fn request_queue(&self) -> Result<&Queue, QueueError> {
        let name = self.names.request_queue();
        self.request_queue
            .get_or_try_init(|| self.aws.queue(&name))
            .await
    }

    async fn reply_queue(&self) -> Result<&Queue, QueueError> {
        let name = self.names.reply_queue();
        self.reply_queue
            .get_or_try_init(|| self.aws.queue(&name))
            .await
    }
}

async fn count(bucket: &Objects) -> anyhow::Result<u64> {
    let counted = bucket.count().await;
    counted.map_err(|error| anyhow::anyhow!("bucket {}: {error}", bucket.bucket()))
}
