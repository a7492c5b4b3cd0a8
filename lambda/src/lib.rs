//! Muster's functions on AWS Lambda: a clip goes into a bucket, names come out of another.
//!
//! ```text
//! input bucket ─▶ video-splitting ─▶ stage-1 bucket, invoke ─▶ face-recognition ─▶ output bucket
//! function URL ─▶ face-detection ─▶ request queue ─▶ face-recognition ─▶ response queue
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`function`] | the three functions, chosen by name, and what they need at their start |
//! | [`settings`] | their settings, from the environment |
//! | [`splitting`] | takes frames from a clip, stores them and has each recognized |
//! | [`recognition`] | names the faces of frames in a bucket, and of faces in a queue; completes timelines |
//! | [`detection`] | cuts the face out of a picture that comes by function URL, and queues it |
//! | [`keys`] | where frames and results go |
//! | [`metadata`] | the metadata that frames and results carry |
//! | [`objects`] | S3 objects that know what they were made from |
//! | [`event`] | what Lambda passes to a function |
//! | [`failure`] | why an invocation fails |

use std::process::ExitCode;

use lambda_runtime::{LambdaEvent, service_fn};
use platform::telemetry::{self, LogFormat, TelemetryArgs};
use serde_json::Value;
use tracing::Instrument;
use worker::service::LinkedEngines;

pub mod detection;
pub mod event;
pub mod failure;
pub mod function;
pub mod keys;
pub mod metadata;
pub mod objects;
pub mod recognition;
pub mod settings;
pub mod splitting;

use event::Invocation;
use failure::Failure;
use function::Function;

/// Runs the function that `_HANDLER` names, until Lambda ends the process.
pub fn main(linked: LinkedEngines) -> ExitCode {
    run(linked).map_or_else(
        |error| {
            eprintln!("bootstrap: {error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run(linked: LinkedEngines) -> anyhow::Result<()> {
    let _telemetry = telemetry::init("lambda", &logs())?;
    // One thread does all I/O; blocking threads load the model and compute.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let function = Function::start(linked).await?;
        let handler = service_fn(|event: LambdaEvent<Value>| handle(&function, event));
        lambda_runtime::run(handler)
            .await
            .map_err(|error| anyhow::anyhow!(error))
    })
}

/// Lambda's own setting of the level takes precedence, as AWS documents it.
fn logs() -> TelemetryArgs {
    let level = ["AWS_LAMBDA_LOG_LEVEL", "MUSTER_LOG"];
    let level = level.into_iter().find_map(|name| std::env::var(name).ok());
    TelemetryArgs {
        log: level.map_or_else(|| "info".to_owned(), |level| level.to_lowercase()),
        log_format: LogFormat::Json,
        trace_endpoint: None,
    }
}

async fn handle(function: &Function, event: LambdaEvent<Value>) -> Result<Value, Failure> {
    let invocation = Invocation::of(&event.context);
    let span = tracing::info_span!("invocation", request_id = %invocation.id);
    let call = async {
        let result = function.call(event.payload, &invocation).await;
        match &result {
            Ok(reply) => tracing::info!(%reply, "done"),
            Err(error) => tracing::error!(%error, kind = error.kind(), "failed"),
        }
        result
    };
    call.instrument(span).await
}
