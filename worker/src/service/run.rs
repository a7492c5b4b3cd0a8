//! `worker serve`: starts everything, and ends it in order.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::Context;
use platform::admin::AdminArgs;
use platform::aws::{Aws, AwsArgs};
use platform::duration;
use platform::metadata::{Metadata, MetadataArgs};
use platform::queue::{Queue, QueueError};
use platform::shutdown::{CancellationToken, bounded};
use platform::tls::PeerTlsArgs;
use platform::token::{FLEET_TOKEN_VARIABLE, Token};
use proto::Names;
use proto::v1::WorkerState;
use tokio::sync::watch;

use super::attend::{ScalerLink, Status, attend};
use super::inference::{Inference, Load, RecognizePhotos};
use super::lease;
use super::metric;
use super::model::{LinkedEngines, ModelArgs};
use super::notices;
use super::process::Processor;
use super::replies::Replies;
use super::work::Worker;

/// How long the queue may be out of reach at the start. With many boots at once, a metadata service may need longer for the
/// credentials than the second that the SDK waits.
const OPEN_RETRY_TIME: Duration = Duration::from_secs(30);
const OPEN_RETRY_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// URLs at which the scalers serve gRPC, separated by commas; one of them leads [default: none; the worker takes work until
    /// it is stopped]
    #[arg(long, env = "MUSTER_SCALER", value_name = "URL", value_delimiter = ',')]
    pub scaler: Vec<String>,
    /// File with the token that the scaler asks workers of its fleet for [default: the environment variable
    /// MUSTER_FLEET_TOKEN]
    #[arg(long, env = "MUSTER_FLEET_TOKEN_FILE", value_name = "FILE")]
    pub fleet_token_file: Option<PathBuf>,
    /// This instance's id [default: that of the EC2 instance metadata service]
    #[arg(long, env = "EC2_INSTANCE_ID", value_name = "ID")]
    pub instance_id: Option<String>,
    /// OS threads that recognize photos [default: one for each core]
    #[arg(long, env = "MUSTER_INFERENCE_THREADS", value_name = "COUNT")]
    pub inference_threads: Option<NonZeroUsize>,
    /// Most jobs in flight at once. With more than the default, fetching and storing overlap with inference, and threads take
    /// several photos together, but other workers may be left idle [default: one for each inference thread]
    #[arg(long, env = "MUSTER_JOBS", value_name = "COUNT")]
    pub jobs: Option<NonZeroUsize>,
    /// Longest time to recognize a photo. A job that takes longer is replied to with an error, and the worker ends, since
    /// a thread cannot be stopped
    #[arg(
        long,
        env = "MUSTER_MAX_JOB_TIME",
        value_name = "DURATION",
        value_parser = duration::parse,
        default_value = "60s"
    )]
    pub max_job_time: Duration,
    /// Longest time for jobs in flight to end at shutdown. The messages of unfinished jobs return to the queue
    #[arg(
        long,
        env = "MUSTER_WORKER_DRAIN",
        value_name = "DURATION",
        value_parser = duration::parse,
        default_value = "30s"
    )]
    pub drain_deadline: Duration,
    #[command(flatten)]
    pub peer_tls: PeerTlsArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub aws: AwsArgs,
    #[command(flatten)]
    pub metadata: MetadataArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
}

impl ServeArgs {
    fn inference_threads(&self) -> NonZeroUsize {
        self.inference_threads
            .or_else(|| std::thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN)
    }
}

/// Works until `shutdown`, then finishes the jobs in flight.
///
/// # Errors
/// When the model, the gallery or the fleet's token cannot be loaded, or an inference thread ends.
#[inline(never)]
pub fn run(
    args: ServeArgs,
    linked: LinkedEngines,
    aws: Aws,
    shutdown: CancellationToken,
) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>> {
    let model = args.model.clone();
    let load = Box::new(move || -> anyhow::Result<Box<dyn RecognizePhotos>> {
        let recognizer = model.load(linked)?;
        tracing::info!(
            model = recognizer.description().name,
            engine = %recognizer.engine(),
            precision = %recognizer.precision(),
            runs_on = recognizer.runs_on(),
            "model loaded"
        );
        Ok(Box::new(recognizer))
    });
    run_with(args, load, aws, shutdown)
}

/// Works as [`run`] does, with another recognizer than the arguments name.
///
/// # Errors
/// When `load` fails, the fleet's token cannot be loaded, or an inference thread ends.
#[inline(never)]
pub fn run_with(
    args: ServeArgs,
    load: Load,
    aws: Aws,
    shutdown: CancellationToken,
) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>> {
    // Compiled here once, and not in each binary and test: see "Builds" in docs/development.md.
    Box::pin(serve(args, load, aws, shutdown))
}

async fn serve(
    args: ServeArgs,
    load: Load,
    aws: Aws,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let (instance_id, metadata) = identify(&args).await?;
    let (ready, readiness) = watch::channel(false);
    // The loop runs on the thread that reports its life.
    platform::service_manager::report(readiness.clone(), shutdown.clone(), || true);
    args.admin.spawn(readiness, shutdown.clone()).await?;
    metric::describe();
    // Until the very end, so that the scaler sees a job that runs on after the order to stop.
    let attending = CancellationToken::new();
    let _attending = attending.clone().drop_guard();
    let notices = match metadata {
        Some(metadata) => notices::watch(metadata, attending.clone()),
        None => notices::none(),
    };
    let scalers = args
        .scaler
        .iter()
        .map(|url| platform::grpc::channel(url, &args.peer_tls));
    let scalers: Vec<_> = scalers.collect::<anyhow::Result<_>>()?;
    let mut link = if scalers.is_empty() {
        ScalerLink::alone(notices)
    } else {
        let token = Token::read(args.fleet_token_file.as_deref(), FLEET_TOKEN_VARIABLE)?;
        attend(scalers, instance_id.clone(), token, notices, attending)
    };
    let (status, told) = (link.status.subscribe(), shutdown.clone());
    tokio::spawn(async move {
        told.cancelled().await;
        let state = status.borrow().state;
        tracing::info!(busy = state == WorkerState::Busy, "told to end");
    });
    let threads = args.inference_threads();
    let max_jobs = args.jobs.unwrap_or(threads).get();
    let booting = cordonable(
        &mut link,
        boot(&args, load, threads, aws, instance_id, shutdown.clone()),
    );
    let Some(processor) = shutdown.run_until_cancelled(booting).await.transpose()? else {
        return Ok(());
    };
    tracing::info!(
        ready_ms = started.elapsed().as_millis(),
        threads,
        max_jobs,
        "ready"
    );
    ready.send_replace(true);
    let work = Worker::new(processor, link, max_jobs, shutdown.clone()).work();
    let worked = bounded("worker", &shutdown, args.drain_deadline, work).await;
    worked.unwrap_or(Ok(()))
}

/// Returns the instance's id and the metadata service to ask for notices: the one that gave the id, or the one whose
/// endpoint is set.
async fn identify(args: &ServeArgs) -> anyhow::Result<(String, Option<Metadata>)> {
    let MetadataArgs {
        metadata_endpoint,
        metadata_disabled,
    } = &args.metadata;
    match &args.instance_id {
        Some(id) if *metadata_disabled || metadata_endpoint.is_none() => Ok((id.clone(), None)),
        Some(id) => Ok((id.clone(), Some(args.metadata.connect()?))),
        None if *metadata_disabled => {
            anyhow::bail!("the metadata service is disabled: set --instance-id")
        }
        None => {
            let metadata = args.metadata.connect()?;
            let id = metadata.instance_id().await;
            Ok((
                id.context("cannot ask for the instance id: set --instance-id")?,
                Some(metadata),
            ))
        }
    }
}

/// Loads the model and, meanwhile, opens the queue.
async fn boot(
    args: &ServeArgs,
    load: Load,
    threads: NonZeroUsize,
    aws: Aws,
    instance_id: String,
    shutdown: CancellationToken,
) -> anyhow::Result<Processor> {
    let inference = Inference::start(threads, args.max_job_time, load);
    let names = Names::new(&args.aws.prefix);
    let requests = async {
        let (queue, visibility_timeout) = open(&aws, &names.request_queue()).await?;
        anyhow::ensure!(
            visibility_timeout >= lease::SHORTEST,
            "the request queue's visibility timeout is {visibility_timeout:?}: set it to {:?} or more",
            lease::SHORTEST
        );
        Ok((queue, visibility_timeout))
    };
    let (inference, (requests, visibility_timeout)) = tokio::try_join!(inference, requests)?;
    Ok(Processor {
        requests,
        photos: aws.objects(names.in_bucket()),
        results: aws.objects(names.out_bucket()),
        replies: Replies::new(aws),
        inference,
        instance_id,
        visibility_timeout,
        shutdown,
    })
}

/// Opens a queue and reads its visibility timeout. Retries for [`OPEN_RETRY_TIME`] while SQS or the credentials are out of
/// reach: the end of this process would cost a boot.
async fn open(aws: &Aws, name: &str) -> Result<(Queue, Duration), QueueError> {
    let give_up_at = Instant::now() + OPEN_RETRY_TIME;
    loop {
        let opened = async {
            let queue = aws.queue(name).await?;
            let visibility_timeout = queue.visibility_timeout().await?;
            Ok((queue, visibility_timeout))
        };
        match opened.await {
            Err(QueueError::Unavailable(why)) if Instant::now() < give_up_at => {
                tracing::warn!(queue = name, why, "the queue cannot be opened; retrying");
                tokio::time::sleep(OPEN_RETRY_PAUSE).await;
            }
            settled => return settled,
        }
    }
}

/// Runs `booting` to its end. Meanwhile it confirms each cordon and notice at once.
async fn cordonable<T>(link: &mut ScalerLink, booting: impl Future<Output = T>) -> T {
    tokio::pin!(booting);
    loop {
        let control = link.control();
        link.status.send_replace(Status::booting(control));
        tokio::select! {
            output = &mut booting => return output,
            () = link.changed() => {}
        }
    }
}
