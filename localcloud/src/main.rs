//! The `localcloud` binary: reads its arguments, binds its port and runs.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::exit;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use localcloud::{
    Authentication, Config, Credentials, Faults, Limits, LimitsPreset, Listeners, Service,
    SyncPolicy,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// S3, SQS and EC2 on one local port, without an account.
///
/// Point any AWS client at it: AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=test
/// AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1, with path-style S3 addresses. Where others than this machine can
/// reach it, it makes and prints credentials of its own. Buckets,
/// queues and the logs of instances outlive the process with --data, and nothing does without.
///
/// An EC2 instance is an OS process of its image's command, in its own process group, with EC2_INSTANCE_ID and
/// EC2_USER_DATA_FILE (a file that holds the decoded user data) in its environment, and the endpoint of a metadata service
/// of its own (IMDSv2) in AWS_EC2_METADATA_SERVICE_ENDPOINT. Its output goes to
/// DATA/instances/ID/console.log. Stopping it sends SIGTERM and later SIGKILL to the whole group, and no instance
/// outlives localcloud, however that ends.
///
/// GET /healthz answers "ok"; GET /metrics counts the calls by service, action and status; GET, PUT and DELETE
/// /_localcloud/faults show, change and end the faults; POST /_localcloud/ec2/interruptions takes a spot instance back.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Address to listen on.
    #[arg(
        long,
        env = "LOCALCLOUD_LISTEN",
        default_value = "127.0.0.1:4566",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,

    /// Further address that serves S3 alone, whatever its requests look like.
    #[arg(long, env = "LOCALCLOUD_S3_LISTEN", value_name = "ADDRESS")]
    s3_listen: Option<SocketAddr>,

    /// Further address that serves SQS alone.
    #[arg(long, env = "LOCALCLOUD_SQS_LISTEN", value_name = "ADDRESS")]
    sqs_listen: Option<SocketAddr>,

    /// Further address that serves EC2 alone.
    #[arg(long, env = "LOCALCLOUD_EC2_LISTEN", value_name = "ADDRESS")]
    ec2_listen: Option<SocketAddr>,

    /// Folder for buckets, queues with their messages, instance logs and user data [default: a temporary folder, removed at the end]
    #[arg(long, env = "LOCALCLOUD_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,

    /// When what SQS keeps in the data folder is forced to the disk: never (whenever the system likes), second (once a
    /// second) or always (before each answer). The end of localcloud, however sudden, loses nothing in any case; this is
    /// about the machine.
    #[arg(
        long,
        env = "LOCALCLOUD_SYNC",
        default_value = "second",
        value_name = "WHEN"
    )]
    sync: SyncPolicy,

    /// TOML file with [[image]] (id, name, command = [...], env = {...}, user_data_env = [...]) and [[instance]] (image, tags = {...},
    /// user_data) tables; its instances are launched at the start.
    #[arg(long, env = "LOCALCLOUD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// TOML file of faults, by which the services are as unkind as AWS can be: seed, [[call]] (service, action,
    /// probability, latency_ms, limit, error, reset, when), [sqs] (counter_lag_ms, duplicate, deliver_after_delete,
    /// empty_receive) and [ec2] (describe_lag_ms, boot_delay_ms, boot_delay_spread_ms, stop_delay_ms,
    /// stop_delay_spread_ms, status_check_ms, spot_interruption, spot_interruption_after_ms, spot_notice_ms,
    /// fail_boot_every, limits, capacity).
    #[arg(long, env = "LOCALCLOUD_FAULTS", value_name = "FILE")]
    faults: Option<PathBuf>,

    /// What requests must be signed with [default: test:test where all addresses are of the loopback network, otherwise made
    /// at random and printed]. Other users of this machine see the command line, and not the environment
    #[arg(
        long,
        env = "LOCALCLOUD_CREDENTIALS",
        hide_env_values = true,
        value_name = "KEY:SECRET"
    )]
    credentials: Option<Credentials>,

    /// Answer everybody: accept any access key and signature, and none at all.
    #[arg(
        long,
        env = "LOCALCLOUD_ANY_CREDENTIALS",
        conflicts_with = "credentials"
    )]
    any_credentials: bool,

    /// Region in ARNs and availability zones; requests for any region are answered.
    #[arg(long, env = "LOCALCLOUD_REGION", default_value = "us-east-1")]
    region: String,

    /// Seconds that an instance's process has from SIGTERM to SIGKILL.
    #[arg(
        long,
        env = "LOCALCLOUD_STOP_GRACE",
        default_value_t = 10.0,
        value_name = "SECONDS"
    )]
    stop_grace: f64,

    /// Instances that may run at once.
    #[arg(
        long,
        env = "LOCALCLOUD_MAX_INSTANCES",
        default_value_t = 100,
        value_name = "COUNT"
    )]
    max_instances: usize,

    /// Seconds from the start of one instance's process to that of the next: instances that boot one after another on
    /// few cores are ready earlier, on the average, than all at once.
    #[arg(
        long,
        env = "LOCALCLOUD_START_INTERVAL",
        default_value_t = 0.0,
        value_name = "SECONDS"
    )]
    start_interval: f64,

    /// How often EC2's actions may be called before EC2 answers RequestLimitExceeded; limits of the faults are added to
    /// these, also when the faults change.
    #[arg(
        long,
        env = "LOCALCLOUD_EC2_LIMITS",
        value_enum,
        default_value_t = LimitsPreset::None
    )]
    ec2_limits: LimitsPreset,
}

#[tokio::main]
async fn main() {
    let default_filter = "info,s3s=off,fjall=warn,lsm_tree=warn";
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default_filter)),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    if let Err(error) = start(Arguments::parse()).await {
        eprintln!("localcloud: {error:#}");
        exit(1);
    }
}

async fn start(arguments: Arguments) -> anyhow::Result<()> {
    let faults = match &arguments.faults {
        Some(file) => Faults::read(file)?,
        None => Faults::default(),
    };
    let only = [
        (Service::S3, arguments.s3_listen),
        (Service::Sqs, arguments.sqs_listen),
        (Service::Ec2, arguments.ec2_listen),
    ];
    let others = only.iter().filter_map(|(_, address)| *address);
    let listening = std::iter::once(arguments.listen).chain(others);
    let is_open = listening.clone().any(|address| !address.ip().is_loopback());
    if is_open && arguments.any_credentials {
        warn!("everybody who can reach this machine may run commands on it");
    }
    let is_told = arguments.credentials.is_some() || arguments.any_credentials;
    let credentials = arguments
        .credentials
        .unwrap_or_else(|| Credentials::usual(listening));
    if is_open && !is_told {
        println!("AWS_ACCESS_KEY_ID={}", credentials.access_key);
        println!("AWS_SECRET_ACCESS_KEY={}", credentials.secret_key);
    }
    let mut config = Config {
        data: arguments.data,
        sync: arguments.sync,
        authentication: if arguments.any_credentials {
            Authentication::Any
        } else {
            Authentication::Keys(credentials)
        },
        region: arguments.region,
        stop_grace: Duration::try_from_secs_f64(arguments.stop_grace).context("--stop-grace")?,
        max_instances: arguments.max_instances,
        start_interval: Duration::try_from_secs_f64(arguments.start_interval)
            .context("--start-interval")?,
        ec2_limits: Limits::from(arguments.ec2_limits),
        faults,
        ..Config::default()
    };
    if let Some(file) = arguments.config {
        config.add_file(&file)?;
    }
    let mut listeners = Listeners {
        all: bind(arguments.listen).await?,
        only: Vec::new(),
    };
    for (service, address) in only {
        if let Some(address) = address {
            listeners.only.push((service, bind(address).await?));
        }
    }
    localcloud::run_on(config, listeners, asked_to_end()?).await?;
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} (is another localcloud running?)"))
}

/// Completes at the first SIGINT or SIGTERM; a second one ends the process at once, and its watchdog the instances.
fn asked_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => info!("interrupted"),
            _ = terminate.recv() => info!("asked to end"),
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            warn!("asked again: ending at once");
            exit(130);
        });
    })
}
