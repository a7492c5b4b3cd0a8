//! A client of a system's queues, buckets and instances, by the names of the course.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use platform::aws::{Aws, AwsArgs};
use platform::fleet::{Fleet, FleetError, PowerState};
use platform::objects::Objects;
use platform::queue::{Counters, Queue, QueueError};
use proto::Names;
use proto::names::{REQUEST_MAX_BYTES, WEB_INSTANCE, WORKER_INSTANCE};
use tokio::sync::OnceCell;

/// Keys in one page of a bucket's list.
const KEYS_A_PAGE: u64 = 1000;

/// A client of one system, which counts its own calls. It finds the queues at their first use: a system without its queues can
/// be graded, too.
#[derive(Debug)]
pub struct Cloud {
    aws: Aws,
    names: Names,
    replies: ReplyQueues,
    fleet: Fleet,
    /// The in-bucket and the out-bucket.
    pub buckets: [Objects; 2],
    request_queue: OnceCell<Queue>,
    reply_queues: OnceCell<Vec<Queue>>,
    own_calls: AtomicU64,
}

/// Which reply queues a system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyQueues {
    /// One, by the name of the course.
    One,
    /// One for each front, whose names begin with that of the course.
    EachFront,
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

/// Numbers of instances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Instances {
    pub running: usize,
    /// Started and not yet running.
    pub pending: usize,
}

impl Cloud {
    #[must_use]
    pub fn new(aws: Aws, prefix: &str, replies: ReplyQueues) -> Self {
        let names = Names::new(prefix);
        Self {
            replies,
            fleet: aws.fleet(),
            buckets: [names.in_bucket(), names.out_bucket()].map(|name| aws.objects(name)),
            request_queue: OnceCell::new(),
            reply_queues: OnceCell::new(),
            own_calls: AtomicU64::new(0),
            names,
            aws,
        }
    }

    /// Makes a client of Muster, whose queues must exist.
    ///
    /// # Errors
    /// When AWS cannot be reached or a queue does not exist.
    pub async fn open(args: &AwsArgs) -> anyhow::Result<Self> {
        let aws = Aws::connect(args).await;
        let cloud = Self::new(aws, &args.prefix, ReplyQueues::EachFront);
        let with_hint = |error: QueueError| {
            anyhow::anyhow!(
                "{error}; is --prefix {} right, and --aws-endpoint-url?",
                args.prefix
            )
        };
        cloud.reply_queues().await.map_err(with_hint)?;
        cloud.request_queue().await.map_err(with_hint)?;
        Ok(cloud)
    }

    /// Returns the number of own calls since the queues were found. It is exact while none is in flight.
    pub fn own_calls(&self) -> u64 {
        self.own_calls.load(Ordering::Relaxed)
    }

    /// Counts messages and objects.
    ///
    /// # Errors
    /// When AWS cannot be reached or refuses.
    pub async fn contents(&self) -> anyhow::Result<Contents> {
        let (requests, replies) = self
            .counters()
            .await
            .context("cannot read the queues' counters")?;
        let (photos, results) = self.stored().await?;
        Ok(Contents {
            requests: requests.visible,
            replies: replies.visible,
            in_flight: requests.in_flight + replies.in_flight,
            photos,
            results,
        })
    }

    /// Reads the counters of the request queue, and the sums of those of the reply queues.
    ///
    /// # Errors
    /// When a queue does not exist or cannot be read.
    pub async fn counters(&self) -> Result<(Counters, Counters), QueueError> {
        let requests = self.request_queue().await?.counters().await?;
        let mut replies = Counters::default();
        let queues = self.reply_queues().await?;
        for queue in queues {
            let counters = queue.counters().await?;
            replies.visible += counters.visible;
            replies.in_flight += counters.in_flight;
        }
        self.count(1 + queues.len() as u64);
        Ok((requests, replies))
    }

    /// Counts the objects in the in-bucket and in the out-bucket. A bucket that does not exist has none.
    ///
    /// # Errors
    /// When a bucket cannot be listed.
    pub async fn stored(&self) -> anyhow::Result<(u64, u64)> {
        let [photos, results] = &self.buckets;
        let (photos, results) = tokio::join!(self.objects(photos), self.objects(results));
        Ok((photos?, results?))
    }

    /// Counts the workers.
    ///
    /// # Errors
    /// When EC2 cannot be reached or refuses.
    pub async fn workers(&self) -> Result<Instances, FleetError> {
        self.instances(WORKER_INSTANCE).await
    }

    /// Counts the instances whose names begin with `name`.
    ///
    /// # Errors
    /// When EC2 cannot be reached or refuses.
    pub async fn instances(&self, name: &str) -> Result<Instances, FleetError> {
        let found = self.fleet.find(&format!("{name}*")).await;
        self.count(1);
        let found = found?;
        let count = |state| found.iter().filter(|it| it.state == state).count();
        Ok(Instances {
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
        let unlisted = "cannot list the instances";
        let web = self.instances(WEB_INSTANCE).await;
        let web = web.context(unlisted)?.running;
        if web != web_instances {
            unmet.push(format!(
                "{web} instances named {WEB_INSTANCE} run at the start, not {web_instances}; start the system by `make up`, or give --web-instances"
            ));
        }
        let Instances { running, pending } = self.workers().await.context(unlisted)?;
        if running + pending > 0 {
            unmet.push(format!(
                "{} workers run at the start, not 0; wait until they have stopped",
                running + pending
            ));
        }
        let unread = "cannot read the request queue";
        let queue = self.request_queue().await.context(unread)?;
        let largest = queue.maximum_message_size().await.context(unread)?;
        self.count(1);
        if largest != REQUEST_MAX_BYTES {
            unmet.push(format!(
                "the request queue accepts messages of {largest} bytes, not {REQUEST_MAX_BYTES}; start front, which sets it"
            ));
        }
        Ok(unmet)
    }

    /// Returns the request queue. Its calls are not among [`Self::own_calls`].
    ///
    /// # Errors
    /// When it does not exist.
    pub async fn request_queue(&self) -> Result<&Queue, QueueError> {
        let name = self.names.request_queue();
        self.request_queue
            .get_or_try_init(|| self.aws.queue(&name))
            .await
    }

    /// Returns the reply queues. Their calls are not among [`Self::own_calls`].
    ///
    /// # Errors
    /// When one does not exist, or they cannot be listed.
    pub async fn reply_queues(&self) -> Result<&[Queue], QueueError> {
        let found = self
            .reply_queues
            .get_or_try_init(|| self.find_reply_queues())
            .await;
        found.map(Vec::as_slice)
    }

    async fn find_reply_queues(&self) -> Result<Vec<Queue>, QueueError> {
        let name = self.names.reply_queue();
        let names = match self.replies {
            ReplyQueues::One => vec![name],
            ReplyQueues::EachFront => self.aws.queue_names(&name).await?,
        };
        let mut queues = Vec::new();
        for name in names {
            queues.push(self.aws.queue(&name).await?);
        }
        Ok(queues)
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
