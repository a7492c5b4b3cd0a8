//! S3, SQS, EC2 and Lambda over the AWS wire protocols, on one local port. An EC2 instance is an OS process, and so is a
//! function.
//!
//! The binary is a thin shell around [`run`], which tests embed with a listener on port 0. A request passes these modules:
//!
//! | module | does |
//! |---|---|
//! | `server` | accepts connections, and refuses requests of foreign web pages (`browser`) |
//! | `route` | finds the service and action of a request; pure |
//! | `dispatch` | calls the service through layers that count (`metrics`), authenticate (`auth`), authorize (`iam`) and inject faults (`fault_injection`) |
//! | `iam` | the roles of instances: their credentials, and whether their policies allow a call |
//! | `s3` | S3 by the `s3s` crate, over a store of files |
//! | `sqs` | SQS in both protocols: a pure state behind a lock, and its store |
//! | `lambda` | Lambda: functions are processes behind the Runtime API; uses `sqs` for event sources and dead letters |
//! | `account_calls` | IAM's users, roles and policies, STS's caller identity and CloudWatch's alarms |
//! | `cloudwatch`, `logs` | CloudWatch's metrics, and CloudWatch Logs, in bounded memory |
//! | `ec2` | EC2's query protocol: a pure state behind a lock, and a task with a process for each instance |
//! | `admin` | the endpoint that replaces the faults and interrupts spot instances |
//!
//! The rest serves these: `config` and `faults` are what a user sets, read by `toml_file`. `links` has the interfaces by which
//! S3 sends its events, and by which others read its objects. Several services share `accept`, `account`, `clock`,
//! `ec2_actions`, `percent_encoding`, `process`, `protocol`, `timestamp`, `token_bucket`, `watchdog` and `wildcard`.
//! `common_error`, `response` and `xml` write replies. `table` reads the tables of tests.

mod accept;
mod account;
mod account_calls;
mod admin;
mod auth;
mod browser;
mod clock;
mod cloudwatch;
mod common_error;
mod config;
mod dispatch;
mod ec2;
mod ec2_actions;
mod fault_injection;
mod faults;
mod iam;
mod lambda;
mod links;
mod logs;
mod metrics;
mod percent_encoding;
mod process;
mod protocol;
mod response;
mod route;
mod s3;
mod server;
mod sqs;
#[cfg(test)]
mod table;
mod timestamp;
mod token_bucket;
mod toml_file;
mod watchdog;
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

pub use account::DEFAULT_REGION;
pub use config::{
    Authentication, BootInstance, Config, ConfigError, Credentials, Image, LambdaConfig,
    RoleConfig, SyncPolicy, UserConfig,
};
pub use ec2::Ec2Error;
pub use faults::{
    Capacity, Ec2Faults, Faults, FaultsError, LambdaFaults, RateLimits, RateLimitsPreset, SqsFaults,
};
pub use protocol::AwsService;
pub use sqs::StoreError;
pub use token_bucket::RateLimit;
pub use toml_file::FileError;

/// SQS's queues as a pure state, of which chaos simulates the queue.
#[doc(hidden)]
pub mod sqs_state {
    pub use crate::clock::Millis;
    pub use crate::sqs::state::*;
}

/// The private parts that `fuzz/` tests.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::account_calls::{AccountCalls, AccountDependencies, document, request_of_form};
    pub use crate::auth::signed_service;
    pub use crate::clock::Clock;
    pub use crate::cloudwatch::Metrics;
    pub use crate::common_error::error_document;
    pub use crate::ec2::{Ec2, Ec2Config, Params, read_user_data};
    pub use crate::iam::{Access, Caller, CreatedRole, Iam};
    pub use crate::lambda::{Lambda, LambdaCall, LambdaDependencies, unpack_code};
    pub use crate::logs::Logs;
    pub use crate::protocol::Protocol;
    pub use crate::s3::{S3, Target};
    pub use crate::sqs::Sqs;
    pub use crate::xml::Xml;

    /// Returns the error document of SQS's query protocol.
    pub fn query_error(fault: &str, code: &str, message: &str, request_id: &str) -> String {
        error_document(Protocol::SqsQuery, fault, code, message, request_id)
    }
}

use account_calls::{AccountCalls, AccountDependencies};
use clock::Clock;
use cloudwatch::Metrics;
use dispatch::{Dispatcher, Services};
use ec2::{Ec2, Ec2Config};
use fault_injection::FaultInjection;
use iam::Iam;
use lambda::{Lambda, LambdaDependencies};
use logs::Logs;
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
    /// Serves all services.
    pub all: TcpListener,
    /// Serve one service each, for clients whose requests do not tell their service.
    pub only: Vec<(AwsService, TcpListener)>,
}

/// Serves all services on one socket, as [`run_on`] does.
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

/// Serves until `shutdown` completes, then stops every instance and returns.
///
/// While the instances stop, their calls are still served; only launches are refused. If the returned future is dropped
/// instead, connections close and a watchdog kills the instances at once.
///
/// # Errors
/// When the configuration or the data folder cannot be used. Does not fail once it serves.
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
    prepare(data)?;
    let clock = Clock::start();
    // Opening the queues locks the folder: another localcloud may use the rest of it.
    let sqs = Arc::new(match &config.data {
        Some(data) => Sqs::open(clock, &config.region, &data.join("sqs"), config.sync)?,
        None => Sqs::new(clock, &config.region),
    });
    let buckets = prepare(&data.join("s3-store"))?;
    let instances_folder = prepare(&data.join("instances"))?;
    // Functions do not outlive localcloud, and neither does their code.
    let _ = std::fs::remove_dir_all(data.join("functions"));
    let functions_folder = prepare(&data.join("functions"))?;

    let iam = Arc::new(iam(clock, &config)?);
    let ec2 = Ec2::new(
        clock,
        Arc::clone(&iam),
        Ec2Config {
            region: &config.region,
            images: config.images,
            instances_folder: &instances_folder,
            stop_grace: config.stop_grace,
            max_instances: config.max_instances,
            start_interval: config.start_interval,
            faults: config.faults.ec2.clone(),
            seed: config.faults.seed,
        },
    )?;
    let metrics = Arc::new(Metrics::new(clock));
    let logs = Arc::new(Logs::new(clock, &config.region));
    let dependencies = LambdaDependencies {
        clock,
        region: config.region.clone(),
        address,
        iam: Arc::clone(&iam),
        sqs: Arc::clone(&sqs),
        logs: Arc::clone(&logs),
        metrics: Arc::clone(&metrics),
    };
    let lambda = Lambda::new(dependencies, &functions_folder, config.lambda)?;
    let s3 = S3::new(
        &buckets,
        Arc::clone(&iam),
        &config.region,
        clock,
        sqs.clone(),
        Some(lambda.clone()),
    )?;
    lambda.set_objects(s3.objects());
    let faults = Arc::new(FaultInjection::new(
        clock,
        Arc::clone(&sqs),
        Arc::clone(&ec2),
        Arc::clone(&lambda),
        config.ec2_limits,
        config.faults,
    ));
    let dependencies = AccountDependencies {
        iam: Arc::clone(&iam),
        metrics,
        logs,
    };
    let account = AccountCalls::new(
        clock,
        &config.region,
        dependencies,
        &config.users,
        &config.alarms,
    )
    .map_err(|error| ConfigError::Account(error.message))?;
    let services = Services {
        s3,
        account: Arc::new(account),
        sqs: Arc::clone(&sqs),
        ec2: Arc::clone(&ec2),
        lambda: Arc::clone(&lambda),
    };
    let dispatcher = Dispatcher::new(services, Arc::clone(&iam), faults, clock);
    info!(%address, data = %data.display(), "localcloud serves S3, SQS, EC2 and Lambda");

    let mut serving = pin!(serve_all(listeners, Arc::new(dispatcher)));
    let booted = ec2.boot_configured(&config.instances);
    if booted.is_ok() {
        tokio::select! {
            () = &mut serving => {}
            () = shutdown => info!("shutting down: stopping all instances"),
        }
    }
    tokio::select! {
        () = &mut serving => {}
        _ = async { tokio::join!(ec2.close(), lambda.close()) } => info!("all instances are stopped"),
    }
    // Connections may briefly outlive this function, and the next localcloud needs the store at once.
    sqs.close();
    iam.close();
    Ok(booted?)
}

fn iam(clock: Clock, config: &Config) -> Result<Iam, ConfigError> {
    let mut iam = Iam::new(
        clock,
        &config.region,
        config.authentication.clone(),
        &config.roles,
        config.role_session,
    )
    .map_err(|error| ConfigError::Role(error.to_string()))?;
    if let Some(file) = &config.record_calls {
        iam.record_to(file).map_err(|error| ConfigError::Record {
            file: file.clone(),
            error,
        })?;
    }
    Ok(iam)
}

async fn serve_all(listeners: Listeners, dispatcher: Arc<Dispatcher>) {
    let mut serving = JoinSet::new();
    for (service, listener) in listeners.only {
        serving.spawn(server::serve(
            listener,
            Arc::clone(&dispatcher),
            Some(service),
        ));
    }
    server::serve(listeners.all, dispatcher, None).await;
}

/// Creates a folder and returns its absolute path: instances have other working directories.
fn prepare(folder: &Path) -> Result<PathBuf, RunError> {
    let at_fault = |error| RunError::Data {
        path: folder.to_owned(),
        error,
    };
    std::fs::create_dir_all(folder).map_err(at_fault)?;
    folder.canonicalize().map_err(at_fault)
}
