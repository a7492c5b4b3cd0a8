//! `make bench`: measures localcloud with the AWS SDK over loopback, and a Python emulator in the same run.
//!
//! Client and server share the machine, as they do in use. Rates on a shared machine drift, so the servers take turns, and
//! the median counts.

mod descriptions;
mod memory;
mod rates;
mod servers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use serde_json::{Map, Value, json};

use rates::{median, rounded};
use servers::Server;

/// Measures localcloud; run by `make bench`.
#[derive(Debug, Parser)]
struct Args {
    /// Measurements of each rate, whose median is reported
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one measurement
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Concurrent clients
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Messages through one queue for the measurement of memory
    #[arg(long, default_value_t = 1_000_000)]
    messages: usize,
    /// The program `moto_server`, to compare with
    #[arg(long, value_name = "PROGRAM")]
    moto_server: Option<PathBuf>,
    /// Set by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// The targets of the project: name, bound, and whether more is better.
const TARGETS: [(&str, f64, bool); 3] = [
    ("sqs_cycles_per_s", 3000.0, true),
    ("s3_put_get_per_s", 2000.0, true),
    ("describe_1000_ms", 20.0, false),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let mut report = Map::from_iter([
        (
            "cores".to_owned(),
            json!(std::thread::available_parallelism()?.get()),
        ),
        ("clients".to_owned(), json!(args.clients)),
    ]);
    measure_rates(&args, &mut report).await?;
    note("DescribeInstances of 1,000 instances");
    let cloud = Server::localcloud(descriptions::FAULTS, false)?;
    report.extend(descriptions::measure(&cloud).await?);
    drop(cloud);
    for with_data in [false, true] {
        let kept = if with_data {
            "in a data folder"
        } else {
            "in memory"
        };
        note(&format!(
            "{} messages through a queue, {kept}",
            args.messages
        ));
        let cloud = Server::localcloud("", with_data)?;
        report.extend(memory::measure(&cloud, args.messages, args.clients).await?);
    }
    let file = folder.join("localcloud.json");
    std::fs::write(&file, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    print(&report);
    println!("\nwritten to {}", file.display());
    Ok(())
}

/// Measures all rates, with the servers in turns.
async fn measure_rates(args: &Args, report: &mut Map<String, Value>) -> anyhow::Result<()> {
    let cloud = Server::localcloud("", false)?;
    let cloud_with_data = Server::localcloud("", true)?;
    let emulator = match &args.moto_server {
        Some(program) => Some(Server::moto(program).await?),
        None => None,
    };
    let duration = Duration::from_secs(args.seconds);
    let mut rates: Vec<(&str, Vec<f64>)> = Vec::new();
    for round in 1..=args.rounds {
        note(&format!("rates, round {round} of {}", args.rounds));
        let mut servers = vec![
            (&cloud, "sqs_cycles_per_s", "s3_put_get_per_s"),
            (&cloud_with_data, "sqs_cycles_with_data_per_s", ""),
        ];
        if let Some(emulator) = &emulator {
            let names = (
                "python_emulator_sqs_cycles_per_s",
                "python_emulator_s3_put_get_per_s",
            );
            servers.push((emulator, names.0, names.1));
        }
        for (server, cycles_name, pairs_name) in servers {
            let cycles = rates::sqs_cycles(server, args.clients, duration, round).await?;
            add(&mut rates, cycles_name, cycles);
            if !pairs_name.is_empty() {
                let pairs = rates::s3_pairs(server, args.clients, duration, round).await?;
                add(&mut rates, pairs_name, pairs);
            }
        }
    }
    let medians = rates
        .into_iter()
        .map(|(name, values)| (name.to_owned(), rounded(median(values))));
    report.extend(medians);
    Ok(())
}

fn add(rates: &mut Vec<(&'static str, Vec<f64>)>, name: &'static str, value: f64) {
    match rates.iter_mut().find(|(known, _)| *known == name) {
        Some((_, values)) => values.push(value),
        None => rates.push((name, vec![value])),
    }
}

fn print(report: &Map<String, Value>) {
    println!();
    for (name, value) in report {
        let target = TARGETS.iter().find(|(target, ..)| target == name);
        let verdict = match (target, value.as_f64()) {
            (Some((_, bound, more)), Some(value)) => {
                let reached = if *more {
                    value >= *bound
                } else {
                    value <= *bound
                };
                let sign = if *more { "at least" } else { "at most" };
                let verdict = if reached { "reached" } else { "NOT reached" };
                format!("   (target: {sign} {bound}, {verdict})")
            }
            _ => String::new(),
        };
        println!("{name:40} {value:>12}{verdict}");
    }
}

fn note(what: &str) {
    println!("bench: {what} ...");
}
