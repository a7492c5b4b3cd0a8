//! S3, SQS and EC2 over the AWS wire protocols, on one local port. An EC2 instance is an OS process.
//!
//! The binary is a thin shell around [`run`], which tests embed with a listener on port 0.

mod admin;
mod auth;
mod browser;
mod calls;
mod clock;
mod config;
mod ec2;
mod faults;
mod hex;
mod refusal;
mod respond;
mod router;
mod s3;
mod server;
mod sqs;
mod token_bucket;
mod wildcard;
mod xml;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::info;

pub use config::{Authentication, BootInstance, Config, ConfigError, Credentials, Image};
pub use ec2::Ec2Error;
pub use faults::{
    Bucket, CallFault, Capacity, Ec2Settings, Faults, FaultsError, Latency, Limits, LimitsPreset,
    Service, SqsFaults,
};
pub use sqs::{StoreError, SyncPolicy};

/// What `fuzz/` tries of the parts that are private.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::auth::signed_service;
    pub use crate::clock::Clock;
    pub use crate::ec2::{Ec2, Ec2Config, Params, read_user_data};
    pub use crate::s3::{S3, Target};
    pub use crate::sqs::{Sqs, query_error};
    pub use crate::xml::Xml;
}

use admin::FaultBoard;
use calls::Calls;
use clock::Clock;
use ec2::{Ec2, Ec2Config};
use router::Router;
use s3::S3;
use sqs::Sqs;

/// Why localcloud cannot run.
#[derive(Debug, Error)]
pub enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot use the data folder {path}: {error}")]
    Data { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    #[error("cannot launch the configured instances: {0}")]
    Boot(#[from] Ec2Error),
}

/// The sockets that localcloud serves on.
#[derive(Debug)]
pub struct Listeners {
    /// All services.
    pub all: TcpListener,
    /// One service each, for clients that cannot be told apart by their requests.
    pub only: Vec<(Service, TcpListener)>,
}

/// As [`run_on`], with all services on one socket.
///
/// # Errors
/// As [`run_on`].
pub fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, Result<(), RunError>> {
    let listeners = Listeners {
        all: listener,
        only: Vec::new(),
    };
    run_on(config, listeners, shutdown)
}

/// Serves until `shutdown` completes, then ends every instance and returns.
///
/// While the instances end, calls are still answered, so that they can finish what they do; only launches are refused.
/// If the returned future is dropped instead, connections close and a watchdog kills the instances at once.
///
/// # Errors
/// When the configuration or the data folder cannot be used. Once it serves, it does not fail.
pub fn run_on(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, Result<(), RunError>> {
    boxed(config, listeners, Box::pin(shutdown))
}

/// Compiles the services here once, and not in each binary and test: see "Builds" in docs/development.md.
#[inline(never)]
fn boxed(
    config: Config,
    listeners: Listeners,
    shutdown: BoxFuture<'static, ()>,
) -> BoxFuture<'static, Result<(), RunError>> {
    Box::pin(serve(config, listeners, shutdown))
}

async fn serve(
    config: Config,
    listeners: Listeners,
    shutdown: BoxFuture<'static, ()>,
) -> Result<(), RunError> {
    config.check()?;
    let address = listeners.all.local_addr()?;
    let temporary = match &config.data {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("localcloud-").tempdir()?),
    };
    let data = match (&config.data, &temporary) {
        (Some(data), _) => data.as_path(),
        (None, Some(temporary)) => temporary.path(),
        (None, None) => unreachable!("without a configured folder there is a temporary one"),
    };
    let buckets = prepare(&data.join("s3-store"))?;
    let instances_folder = prepare(&data.join("instances"))?;

    let clock = Clock::start();
    let ec2 = Ec2::new(
        clock,
        Ec2Config {
            region: &config.region,
            images: config.images,
            instances_folder: &instances_folder,
            stop_grace: config.stop_grace,
            max_instances: config.max_instances,
            start_interval: config.start_interval,
            settings: config.faults.ec2.clone(),
            seed: config.faults.seed,
        },
    )?;
    let sqs = Arc::new(match &config.data {
        Some(data) => Sqs::open(clock, &config.region, &data.join("sqs"), config.sync)?,
        None => Sqs::new(clock, &config.region),
    });
    let s3 = S3::new(
        &buckets,
        &config.authentication,
        &config.region,
        clock,
        Arc::clone(&sqs),
    )?;
    let router = Arc::new(Router {
        calls: Calls::default(),
        clock,
        s3,
        authentication: config.authentication,
        faults: FaultBoard::new(config.ec2_limits, clock.now()),
        sqs,
        ec2: Arc::clone(&ec2),
    });
    router.set_faults(config.faults);
    info!(%address, data = %data.display(), "localcloud serves S3, SQS and EC2");

    let mut serving = pin!(serve_all(listeners, Arc::clone(&router)));
    let booted = ec2.boot_configured(&config.instances);
    if booted.is_ok() {
        tokio::select! {
            () = &mut serving => {}
            () = shutdown => info!("shutting down: ending all instances"),
        }
    }
    tokio::select! {
        () = &mut serving => {}
        () = ec2.close() => info!("all instances are gone"),
    }
    // Connections may outlive this function by a moment, and the next localcloud wants the store at once.
    router.sqs.close();
    Ok(booted?)
}

async fn serve_all(listeners: Listeners, router: Arc<Router>) {
    let mut serving = JoinSet::new();
    for (service, listener) in listeners.only {
        serving.spawn(server::serve(listener, Arc::clone(&router), Some(service)));
    }
    server::serve(listeners.all, router, None).await;
}

/// Creates a folder and answers its absolute path: instances run elsewhere.
fn prepare(folder: &Path) -> Result<PathBuf, RunError> {
    let at_fault = |error| RunError::Data {
        path: folder.to_owned(),
        error,
    };
    std::fs::create_dir_all(folder).map_err(at_fault)?;
    folder.canonicalize().map_err(at_fault)
}
