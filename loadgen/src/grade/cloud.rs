//! The system's queues, buckets and instances.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use platform::aws::{Aws, AwsArgs};
use platform::fleet::{Fleet, PowerState};
use platform::objects::Objects;
use platform::queue::{Counters, Queue, QueueError};
use proto::Names;
use proto::names::{REQUEST_MAX_BYTES, WEB_INSTANCE, WORKER_INSTANCE};

/// Keys in one page of a bucket's list.
const KEYS_A_PAGE: u64 = 1000;

/// A client of the system's queues, buckets and instances, which counts its own calls.
#[derive(Debug)]
pub struct Cloud {
    fleet: Fleet,
    request_queue: Queue,
    /// One for each front.
    reply_queues: Vec<Queue>,
    in_bucket: Objects,
    out_bucket: Objects,
    own_calls: AtomicU64,
}

/// Numbers of messages and objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contents {
    /// Messages waiting in the request queue.
    pub requests: u64,
    /// Messages waiting in the reply queues.
    pub replies: u64,
    /// Messages of all queues that were received and not yet deleted.
    pub in_flight: u64,
    /// Objects in the in-bucket.
    pub photos: u64,
    /// Objects in the out-bucket.
    pub results: u64,
}

/// Numbers of workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Workers {
    pub running: usize,
    /// Started and not yet running.
    pub pending: usize,
}

impl Cloud {
    /// Finds the queues and buckets.
    ///
    /// # Errors
    /// When AWS cannot be reached or a queue does not exist.
    pub async fn open(args: &AwsArgs) -> anyhow::Result<Self> {
        let aws = Aws::connect(args).await;
        let names = Names::new(&args.prefix);
        let with_hint = |error: QueueError| {
            anyhow::anyhow!(
                "{error}; is --prefix {} right, and --aws-endpoint-url?",
                args.prefix
            )
        };
        let mut reply_queues = Vec::new();
        for name in aws
            .queue_names(&names.reply_queue())
            .await
            .map_err(with_hint)?
        {
            reply_queues.push(aws.queue(&name).await.map_err(with_hint)?);
        }
        Ok(Self {
            fleet: aws.fleet(),
            request_queue: aws.queue(&names.request_queue()).await.map_err(with_hint)?,
            reply_queues,
            in_bucket: aws.objects(names.in_bucket()),
            out_bucket: aws.objects(names.out_bucket()),
            own_calls: AtomicU64::new(0),
        })
    }

    /// Returns the number of own calls since `open`. It is exact while none is in flight.
    pub fn own_calls(&self) -> u64 {
        self.own_calls.load(Ordering::Relaxed)
    }

    /// Counts messages and objects.
    ///
    /// # Errors
    /// When AWS cannot be reached or refuses.
    pub async fn contents(&self) -> anyhow::Result<Contents> {
        let unreadable = "cannot read the queues' counters";
        let requests = self.request_queue.counters().await.context(unreadable)?;
        let mut replies = Counters::default();
        for queue in &self.reply_queues {
            let counters = queue.counters().await.context(unreadable)?;
            replies.visible += counters.visible;
            replies.in_flight += counters.in_flight;
        }
        self.count(1 + self.reply_queues.len() as u64);
        let (photos, results) = tokio::join!(
            self.objects(&self.in_bucket),
            self.objects(&self.out_bucket)
        );
        Ok(Contents {
            requests: requests.visible,
            replies: replies.visible,
            in_flight: requests.in_flight + replies.in_flight,
            photos: photos?,
            results: results?,
        })
    }

    /// Counts the workers.
    ///
    /// # Errors
    /// When EC2 cannot be reached or refuses.
    pub async fn workers(&self) -> anyhow::Result<Workers> {
        let found = self.find(&format!("{WORKER_INSTANCE}*")).await?;
        let count = |state| found.iter().filter(|instance| **instance == state).count();
        Ok(Workers {
            running: count(PowerState::Running),
            pending: count(PowerState::Pending),
        })
    }

    /// Checks what grading needs: an idle system, `web_instances`, and the agreed message size. Returns what is not so.
    ///
    /// # Errors
    /// When AWS cannot be reached or refuses.
    pub async fn unmet_preconditions(&self, web_instances: usize) -> anyhow::Result<Vec<String>> {
        let mut unmet = Vec::new();
        let web = self.find(&format!("{WEB_INSTANCE}*")).await?;
        let web = web
            .iter()
            .filter(|state| **state == PowerState::Running)
            .count();
        if web != web_instances {
            unmet.push(format!(
                "{web} instances named {WEB_INSTANCE} run at the start, not {web_instances}; start the system by `make up`, or give --web-instances"
            ));
        }
        let Workers { running, pending } = self.workers().await?;
        if running + pending > 0 {
            unmet.push(format!(
                "{} workers run at the start, not 0; wait until they have stopped",
                running + pending
            ));
        }
        let largest = self
            .request_queue
            .maximum_message_size()
            .await
            .context("cannot read the request queue")?;
        self.count(1);
        if largest != REQUEST_MAX_BYTES {
            unmet.push(format!(
                "the request queue accepts messages of {largest} bytes, not {REQUEST_MAX_BYTES}; start front, which sets it"
            ));
        }
        Ok(unmet)
    }

    async fn find(&self, pattern: &str) -> anyhow::Result<Vec<PowerState>> {
        let found = self.fleet.find(pattern).await;
        self.count(1);
        Ok(found
            .context("cannot list the instances")?
            .into_iter()
            .map(|instance| instance.state)
            .collect())
    }

    async fn objects(&self, bucket: &Objects) -> anyhow::Result<u64> {
        let counted = bucket.count().await;
        let pages = counted
            .as_ref()
            .map_or(1, |objects| objects.div_ceil(KEYS_A_PAGE).max(1));
        self.count(pages);
        counted.with_context(|| format!("cannot list the bucket {}", bucket.bucket()))
    }

    fn count(&self, calls: u64) {
        self.own_calls.fetch_add(calls, Ordering::Relaxed);
    }
}

impl Contents {
    /// Returns the number of messages, waiting or in flight.
    pub fn messages(&self) -> u64 {
        self.requests + self.replies + self.in_flight
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            photos, results, ..
        } = self;
        write!(
            formatter,
            "{} messages, {photos} photos, {results} results",
            self.messages()
        )
    }
}
