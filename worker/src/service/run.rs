use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Context;
use platform::admin::AdminArgs;
use platform::aws::{Aws, AwsArgs};
use platform::shutdown::CancellationToken;
use proto::Names;
use proto::v1::WorkerState;
use tokio::sync::watch;

use super::attend::{Attendance, Status, attend};
use super::inference::Inference;
use super::lease;
use super::model::ModelArgs;
use super::process::Processor;
use super::work::Worker;

#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// The scaler's gRPC address; absent: the worker takes work until it is stopped
    #[arg(long, env = "MUSTER_SCALER", value_name = "URL")]
    pub scaler: Option<String>,
    /// This instance's id; absent: asked of the EC2 instance metadata service
    #[arg(long, env = "EC2_INSTANCE_ID", value_name = "ID")]
    pub instance_id: Option<String>,
    /// OS threads that recognise photos; absent: one for each core
    #[arg(long, env = "MUSTER_INFERENCE_THREADS", value_name = "COUNT")]
    pub inference_threads: Option<NonZeroUsize>,
    /// Jobs that are in flight at most; absent: one for each inference thread. With more, fetching and storing overlap
    /// with inference and threads take several photos together, but idle workers elsewhere go without these jobs
    #[arg(long, env = "MUSTER_JOBS", value_name = "COUNT")]
    pub jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub aws: AwsArgs,
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

/// Works until `shutdown`, finishing the jobs at hand.
///
/// # Errors
/// When the model or the gallery cannot be loaded, or an inference thread ends.
pub async fn run(args: ServeArgs, aws: Aws, shutdown: CancellationToken) -> anyhow::Result<()> {
    let started = Instant::now();
    let instance_id = match &args.instance_id {
        Some(id) => id.clone(),
        None => platform::aws::instance_id()
            .await
            .context("--instance-id is not given")?,
    };
    let (ready, readiness) = watch::channel(false);
    args.admin.spawn(readiness, shutdown.clone()).await?;
    // Until the very end, so that the scaler sees a job that goes on after the order to stop.
    let attending = CancellationToken::new();
    let _attending = attending.clone().drop_guard();
    let mut attendance = match &args.scaler {
        Some(url) => attend(
            platform::grpc::channel(url)?,
            instance_id.clone(),
            attending,
        ),
        None => Attendance::alone(),
    };
    let threads = args.inference_threads();
    let most_jobs = args.jobs.unwrap_or(threads).get();
    let booting = cordonable(&mut attendance, boot(&args, threads, aws, instance_id));
    let Some(processor) = shutdown.run_until_cancelled(booting).await.transpose()? else {
        return Ok(());
    };
    tracing::info!(
        ready_ms = started.elapsed().as_millis(),
        threads,
        most_jobs,
        "ready"
    );
    ready.send_replace(true);
    Worker::new(processor, attendance, most_jobs, shutdown)
        .work()
        .await
}

/// Loads the model while the queue is looked up.
async fn boot(
    args: &ServeArgs,
    threads: NonZeroUsize,
    aws: Aws,
    instance_id: String,
) -> anyhow::Result<Processor> {
    let model = args.model.clone();
    let inference = Inference::start(threads, move || model.load());
    let names = Names::new(&args.aws.prefix);
    let requests = async {
        let queue = aws.queue(&names.request_queue()).await?;
        let visibility_timeout = queue.visibility_timeout().await?;
        anyhow::ensure!(
            visibility_timeout >= lease::SHORTEST,
            "the request queue's visibility timeout is {visibility_timeout:?}; at least {:?} are needed",
            lease::SHORTEST
        );
        Ok((queue, visibility_timeout))
    };
    let (inference, (requests, visibility_timeout)) = tokio::try_join!(inference, requests)?;
    Ok(Processor {
        requests,
        photos: aws.objects(names.in_bucket()),
        results: aws.objects(names.out_bucket()),
        aws,
        inference,
        instance_id,
        visibility_timeout,
        reply_queues: Mutex::default(),
    })
}

/// Runs `booting` to its end and meanwhile confirms each cordon at once: nothing was received yet.
async fn cordonable<T>(attendance: &mut Attendance, booting: impl Future<Output = T>) -> T {
    tokio::pin!(booting);
    loop {
        let obeyed = *attendance.orders.borrow_and_update();
        let state = if obeyed.cordoned {
            WorkerState::Cordoned
        } else {
            WorkerState::Booting
        };
        attendance.status.send_replace(Status {
            state,
            completed: 0,
            obeyed,
        });
        tokio::select! {
            output = &mut booting => return output,
            () = attendance.next_order() => {}
        }
    }
}
