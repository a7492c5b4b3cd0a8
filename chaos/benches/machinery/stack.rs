//! The programs to measure, each on a free port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use platform::aws::Aws;
use tempfile::TempDir;
use testkit::{Program, cpu_seconds, free_addresses};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::Args;

pub const PREFIX: &str = "bench";

/// Everything but scaler and load generator. The workers are there from the start.
#[derive(Debug)]
pub struct Stack {
    pub gateway_address: SocketAddr,
    pub front_url: String,
    pub cloud: Program,
    pub gateway: Program,
    pub front: Program,
    workers: Vec<Program>,
    cloud_url: String,
    http: reqwest::Client,
    /// Has localcloud's files.
    _folder: TempDir,
}

/// AWS calls that succeeded, by action.
pub type Calls = BTreeMap<String, u64>;

impl Stack {
    /// Starts the programs, `workers` workers of `jobs` jobs at once.
    pub async fn start(args: &Args) -> anyhow::Result<Self> {
        let command = |name| command(args.programs.as_deref(), name);
        // In memory, where that is possible: what a file costs depends on the disk and on what was deleted there before.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
        let mut cloud = command("localcloud");
        let (cloud, cloud_url) = start_cloud(cloud.env("TMPDIR", folder.path())).await?;
        let aws = ["--aws-endpoint-url", &cloud_url, "--prefix", PREFIX];
        let [front_address, gateway_address] = free_addresses();
        let front_url = format!("http://{front_address}");
        let front = Program::start(
            command("front")
                .args(["--listen", &front_address.to_string(), "--log", "warn"])
                .args(aws),
        );
        let gateway = Program::start(
            command("gateway")
                .args(["--listen", &gateway_address.to_string()])
                .args(["--front", &front_url, "--log", "warn"]),
        );
        testkit::until_ready(&format!("http://{gateway_address}")).await;
        // Now the request queue exists.
        let light_time = format!("{}us", args.light_time.as_micros());
        let workers = (0..args.workers).map(|number| {
            Program::start(
                command("worker-light")
                    .args(["--instance-id", &format!("i-{number:017}"), "--log", "warn"])
                    .args([
                        "--jobs",
                        &args.jobs.to_string(),
                        "--light-time",
                        &light_time,
                    ])
                    .args(["--inference-threads", "1"])
                    .args(aws),
            )
        });
        Ok(Self {
            workers: workers.collect(),
            gateway_address,
            front_url,
            cloud,
            gateway,
            front,
            cloud_url,
            http: testkit::http_client(),
            _folder: folder,
        })
    }

    /// Clients with the settings of the services.
    pub async fn aws(&self) -> Aws {
        testkit::aws(&self.cloud_url, PREFIX).await
    }

    /// Returns how many calls localcloud has counted.
    pub async fn calls(&self) -> anyhow::Result<Calls> {
        let page = self.http.get(format!("{}/metrics", self.cloud_url)).send();
        let page = page.await?.error_for_status()?.text().await?;
        let mut calls = Calls::new();
        for line in page.lines() {
            let Some(labels) = line.strip_prefix("localcloud_calls_total{") else {
                continue;
            };
            let (labels, count) = labels.split_once("} ").context("a count has no value")?;
            let action = labels.split('"').nth(3).context("a count has no action")?;
            *calls.entry(action.to_owned()).or_default() += count.parse::<u64>()?;
        }
        Ok(calls)
    }

    /// Returns the processor time that each part has used, in seconds.
    pub fn cpu(&self) -> BTreeMap<&'static str, f64> {
        let workers: f64 = self.workers.iter().map(Program::cpu_seconds).sum();
        BTreeMap::from([
            ("load generator", cpu_seconds(std::process::id())),
            ("gateway", self.gateway.cpu_seconds()),
            ("front", self.front.cpu_seconds()),
            ("workers", workers),
            ("localcloud", self.cloud.cpu_seconds()),
        ])
    }
}

/// Starts localcloud, and returns its URL.
async fn start_cloud(command: &mut Command) -> anyhow::Result<(Program, String)> {
    let mut cloud = Program::start(
        command
            .args(["--listen", "127.0.0.1:0"])
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped()),
    );
    let log = cloud.process.stderr.take();
    let log = log.context("localcloud has no log")?;
    let mut lines = BufReader::new(log).lines();
    let address = loop {
        let line = lines.next_line().await?;
        let line = line.context("localcloud ended before it served")?;
        if let Some((_, rest)) = line.split_once("address=") {
            break rest.split(' ').next().unwrap_or_default().to_owned();
        }
    };
    // The process would block if the pipe were full.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((cloud, format!("http://{address}")))
}

fn command(programs: Option<&Path>, name: &str) -> Command {
    Command::new(match programs {
        Some(folder) => folder.join(name),
        None => testkit::program(name),
    })
}
