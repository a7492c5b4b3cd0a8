use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use platform::admin::AdminArgs;
use platform::aws::{Aws, AwsArgs};
use platform::queue::Message;
use platform::shutdown::CancellationToken;
use proto::Names;
use proto::v1::WorkerState;
use tokio::sync::watch;

use super::attend::{Attendance, Order, Status, attend};
use super::inference::{Inference, InferenceError};
use super::lease;
use super::model::ModelArgs;
use super::process::{Outcome, Processor};

/// Jobs by outcome.
const JOBS: &str = "muster_worker_jobs_total";
/// From receiving a message to deleting it.
const JOB_SECONDS: &str = "muster_worker_job_seconds";

/// How long one receive call waits for a message. A cordoned worker may have to wait for its end, so this bounds how
/// fast the fleet scales in; the price is one call a second for each idle worker.
const RECEIVE_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// The scaler's gRPC address; absent: the worker takes work until it is stopped
    #[arg(long, env = "MUSTER_SCALER", value_name = "URL")]
    pub scaler: Option<String>,
    /// This instance's id; absent: asked of the EC2 instance metadata service
    #[arg(long, env = "EC2_INSTANCE_ID", value_name = "ID")]
    pub instance_id: Option<String>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub aws: AwsArgs,
    #[command(flatten)]
    pub admin: AdminArgs,
}

/// Works until `shutdown`, finishing the job at hand.
///
/// # Errors
/// When the model or the gallery cannot be loaded, or the inference thread ends.
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
    let booting = cordonable(&mut attendance, boot(&args, aws, instance_id));
    let Some(processor) = shutdown.run_until_cancelled(booting).await.transpose()? else {
        return Ok(());
    };
    tracing::info!(ready_ms = started.elapsed().as_millis(), "ready");
    ready.send_replace(true);
    let obeyed = Order::default();
    Worker {
        processor,
        attendance,
        completed: 0,
        obeyed,
        failures: 0,
        shutdown,
    }
    .work()
    .await
}

/// Loads the model while the queue is looked up.
async fn boot(args: &ServeArgs, aws: Aws, instance_id: String) -> anyhow::Result<Processor> {
    let model = args.model.clone();
    let inference = Inference::start(move || model.load());
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
        reply_queues: HashMap::new(),
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

/// A loop around [`Processor::turn`] that obeys the scaler.
#[derive(Debug)]
struct Worker {
    processor: Processor,
    attendance: Attendance,
    completed: u64,
    obeyed: Order,
    /// Calls to S3 or SQS that failed in a row.
    failures: u32,
    shutdown: CancellationToken,
}

impl Worker {
    async fn work(mut self) -> anyhow::Result<()> {
        while !self.shutdown.is_cancelled() {
            self.obeyed = *self.attendance.orders.borrow_and_update();
            if self.obeyed.cordoned {
                self.report(WorkerState::Cordoned);
                self.shutdown
                    .run_until_cancelled(self.attendance.next_order())
                    .await;
                continue;
            }
            self.report(WorkerState::Idle);
            for message in self.receive().await {
                self.report(WorkerState::Busy);
                self.turn(&message).await?;
            }
        }
        tracing::info!(completed = self.completed, "stopped");
        Ok(())
    }

    /// The call is always awaited to its end, also when a cordon or the shutdown comes in between: a message that it
    /// was about to bring would be hidden from the other workers.
    async fn receive(&mut self) -> Vec<Message> {
        match self.processor.requests.receive(1, RECEIVE_WAIT).await {
            Ok(messages) => messages,
            Err(error) => {
                tracing::warn!(%error, "cannot receive");
                self.pause().await;
                Vec::new()
            }
        }
    }

    async fn turn(&mut self, message: &Message) -> anyhow::Result<()> {
        let started = Instant::now();
        let outcome = self.processor.turn(message).await;
        let (elapsed_ms, receive_count) = (started.elapsed().as_millis(), message.receive_count);
        metrics::histogram!(JOB_SECONDS).record(started.elapsed());
        metrics::counter!(JOBS, "outcome" => outcome.label()).increment(1);
        match outcome {
            Outcome::Recognised => {
                self.settled();
                tracing::debug!(elapsed_ms, receive_count, "recognised");
            }
            Outcome::Failed(code) => {
                self.settled();
                tracing::info!(
                    code = code.as_str_name(),
                    receive_count,
                    "answered with an error"
                );
            }
            Outcome::Rejected(error) if error.is::<InferenceError>() => return Err(error),
            Outcome::Rejected(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    receive_count,
                    "refused a message"
                );
            }
            Outcome::Abandoned(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    receive_count,
                    "gave up a job for now"
                );
                self.pause().await;
            }
        }
        Ok(())
    }

    fn settled(&mut self) {
        self.completed += 1;
        self.failures = 0;
    }

    /// A worker that went on at once would use up the receive counts of good jobs while S3 or SQS are in trouble.
    async fn pause(&mut self) {
        let pause = Duration::from_secs(1 << self.failures.min(4));
        self.failures += 1;
        self.report(WorkerState::Idle);
        let rest = async {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.attendance.next_order() => {}
            }
        };
        self.shutdown.run_until_cancelled(rest).await;
    }

    fn report(&self, state: WorkerState) {
        let status = Status {
            state,
            completed: self.completed,
            obeyed: self.obeyed,
        };
        self.attendance.status.send_replace(status);
    }
}
