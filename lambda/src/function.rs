//! The three functions.

use std::sync::Arc;

use anyhow::{Context, bail};
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use clap::Parser;
use platform::aws::{Aws, AwsArgs};
use serde_json::Value;
use worker::service::LinkedEngines;

use crate::detection::{Detection, FaceFinder};
use crate::event::Invocation;
use crate::failure::Failure;
use crate::objects::Objects;
use crate::recognition::Recognition;
use crate::settings::FunctionSettings;
use crate::splitting::Splitting;

/// Lambda sets it to the function's handler, and in an image to its command. Elsewhere the command is the first argument.
const HANDLER: &str = "_HANDLER";

/// Attempts of a call that is throttled. The pauses between them double, up to 20 s in the SDK.
const ATTEMPTS: u32 = 8;

#[derive(Debug)]
pub enum Function {
    Splitting(Splitting),
    Recognition(Recognition),
    Detection(Detection),
}

/// AWS's settings, from the environment.
#[derive(Debug, Parser)]
struct AwsSettings {
    #[command(flatten)]
    aws: AwsArgs,
}

impl Function {
    /// Makes the function that `_HANDLER` names.
    ///
    /// # Errors
    /// When there is none of that name, a setting cannot be used, or the model cannot be loaded.
    pub async fn start(linked: LinkedEngines) -> anyhow::Result<Self> {
        let name = std::env::var(HANDLER)
            .ok()
            .or_else(|| std::env::args().nth(1));
        let name = name.with_context(|| format!("{HANDLER} is not set"))?;
        let settings = FunctionSettings::from_environment()?;
        Self::load(&name, settings, linked, connect()).await
    }

    /// Makes a function by its name. The model is loaded while the clients are made.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn load(
        name: &str,
        settings: FunctionSettings,
        linked: LinkedEngines,
        connect: impl Future<Output = SdkConfig>,
    ) -> anyhow::Result<Self> {
        Ok(match name {
            "video-splitting" => {
                let config = connect.await;
                Self::Splitting(Splitting {
                    objects: objects(&config),
                    lambda: lambda(&config),
                    settings,
                })
            }
            "face-recognition" => {
                let model = settings.model(linked);
                let loading = tokio::task::spawn_blocking(move || {
                    let recognizer = model.load(linked)?;
                    recognizer.warm_up();
                    anyhow::Ok(Arc::new(recognizer))
                });
                let config = connect.await;
                Self::Recognition(Recognition {
                    objects: objects(&config),
                    sqs: aws_sdk_sqs::Client::new(&config),
                    recognizer: loading.await??,
                    settings,
                })
            }
            "face-detection" => {
                let own = settings.clone();
                let loading = tokio::task::spawn_blocking(move || {
                    let finder = FaceFinder::load(&own)?;
                    finder.warm_up();
                    anyhow::Ok(Arc::new(finder))
                });
                let config = connect.await;
                Self::Detection(Detection {
                    sqs: aws_sdk_sqs::Client::new(&config),
                    finder: loading.await??,
                    settings,
                })
            }
            other => bail!(
                "there is no function {other:?}: set the handler to video-splitting, face-recognition or face-detection"
            ),
        })
    }

    /// Handles an event.
    ///
    /// # Errors
    /// When Lambda shall retry the event, or move it to the dead-letter queue.
    pub async fn call(&self, event: Value, invocation: &Invocation) -> Result<Value, Failure> {
        match self {
            Self::Splitting(function) => function.call(&event, invocation).await,
            Self::Recognition(function) => function.call(&event, invocation).await,
            Self::Detection(function) => function.call(&event).await,
        }
    }
}

async fn connect() -> SdkConfig {
    // It only fails for a variable that is no text.
    let args = AwsSettings::parse_from(["bootstrap"]);
    Aws::connect(&args.aws).await.config().clone()
}

fn objects(config: &SdkConfig) -> Objects {
    // A local endpoint has no host name for each bucket.
    let config = aws_sdk_s3::config::Builder::from(config)
        .force_path_style(config.endpoint_url().is_some())
        .build();
    Objects::new(aws_sdk_s3::Client::from_conf(config))
}

fn lambda(config: &SdkConfig) -> aws_sdk_lambda::Client {
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
    let config = aws_sdk_lambda::config::Builder::from(config)
        .retry_config(retries)
        .build();
    aws_sdk_lambda::Client::from_conf(config)
}
