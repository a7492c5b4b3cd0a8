//! `loadgen run`: sends photos in a closed or an open loop, and says how fast and how right the answers were.

mod args;
pub mod fleet;
mod html;
pub mod open;
pub mod recorder;
pub mod summary;
mod view;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

pub use args::{ArrivalsArg, OpenArgs, OutputArgs, RunArgs};

use crate::arrivals::Load;
use crate::cli::TargetArgs;
use crate::client::Client;
use crate::drive::Driver;
use crate::photos;
use crate::progress::Progress;
use crate::report::Summary;
use fleet::FleetWatch;
use open::{OpenLoop, locked};
use recorder::{Ended, Recorder};
use summary::{LoadReport, LoopKind, accuracy_table};
use view::View;

/// In flight at once in an open loop, if the limit on open files allows it.
const MAX_IN_FLIGHT: usize = 10_000;
/// Open files besides connections.
const OTHER_FILES: u64 = 100;

/// Sends the requests. Returns true when every response has the right name, and every request was sent.
///
/// # Errors
/// When there is nothing to send, a name is not known, nothing listens at the address, or a report cannot be written.
pub async fn run(args: &RunArgs) -> anyhow::Result<bool> {
    anyhow::ensure!(
        args.num_request != Some(0),
        "there is nothing to send; give --num-request 1 or more"
    );
    for file in [&args.output.json, &args.output.html].into_iter().flatten() {
        // A report that cannot be written is known before the run.
        write(file, "")?;
    }
    if args.open.is_open() {
        open_loop(args).await
    } else {
        closed_loop(args).await
    }
}

/// Makes the driver of a closed loop. With `check_file` a response must also have the photo's file name.
///
/// # Errors
/// When the client cannot be made.
pub fn driver(target: &TargetArgs, check_file: bool) -> anyhow::Result<Driver> {
    Ok(Driver {
        client: Client::new(target)?,
        concurrency: target.concurrency,
        retries: target.retries,
        check_file,
    })
}

async fn closed_loop(args: &RunArgs) -> anyhow::Result<bool> {
    let count = args.num_request.unwrap_or_default();
    let requests = photos::requests(&args.image_folder, &args.prediction_file, count)?;
    let driver = driver(&args.target, false)?;
    driver.client.check_reachable().await?;
    let mut recorder = Recorder::new(Duration::ZERO, None);
    let mut progress = (!args.output.quiet).then(|| Progress::new(requests.len()));
    let start = Instant::now();
    let fleet = watch_fleet(args, start, None).await?;
    let records = driver
        .run_classified(&requests, start.into(), |record, request, class| {
            recorder.due(request, record.sent_at, true);
            recorder.ended(&Ended {
                request,
                due: record.sent_at,
                sent: record.sent_at,
                ended: record.ended_at,
                outcome: &record.outcome,
                class,
            });
            if let Some(progress) = &mut progress {
                progress.record(record);
            }
        })
        .await;
    drop(progress);
    let summary = Summary::of(&records);
    println!("{summary}");
    let load = format!("{count} requests, {} at once", args.target.concurrency);
    let mut report = LoadReport::new(
        args.target.url.to_string(),
        LoopKind::Closed,
        load,
        &recorder,
    );
    if let Some(fleet) = fleet {
        let fleet = fleet
            .end(recorder.last_answer, args.output.idle_within)
            .await;
        println!("{fleet}");
        report.fleet = Some(fleet);
    }
    print!("{}", accuracy_table(&report.by_variant));
    write_reports(&args.output, &report)?;
    Ok(summary.is_perfect())
}

async fn open_loop(args: &RunArgs) -> anyhow::Result<bool> {
    let (folder, csv) = (&args.image_folder, &args.prediction_file);
    let most = args.num_request.unwrap_or(usize::MAX);
    let requests = photos::distinct(folder, csv, most)?;
    let client = Client::new(&args.target)?;
    client.check_reachable().await?;
    let max_in_flight = max_in_flight(args.open.max_in_flight)?;
    let (arrivals, expected) = arrivals(args)?;
    let recorder = Arc::new(Mutex::new(Recorder::new(args.open.warm_up, expected)));
    let stop = Arc::new(AtomicBool::new(false));
    let open_loop = OpenLoop {
        client,
        requests,
        max_in_flight,
        recorder: Arc::clone(&recorder),
        stop: Arc::clone(&stop),
    };
    let start = Instant::now();
    let fleet = watch_fleet(args, start, expected).await?;
    let view = (!args.output.quiet).then(|| View::start(&recorder, start));
    // Ctrl-C ends the sending; what is in flight is waited for, and the figures are printed.
    let interrupted = tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.store(true, Ordering::Relaxed);
        eprintln!("waiting for what is in flight");
        // The second one ends the program as usual.
        let _ = tokio::signal::ctrl_c().await;
        std::process::exit(130);
    });
    open_loop.run(arrivals, start).await;
    interrupted.abort();
    if let Some(view) = view {
        view.end().await;
    }
    let last_answer = locked(&recorder).last_answer;
    let fleet = match fleet {
        Some(fleet) => Some(fleet.end(last_answer, args.output.idle_within).await),
        None => None,
    };
    let mut report = LoadReport::new(
        args.target.url.to_string(),
        LoopKind::Open,
        args.open.describe(),
        &locked(&recorder),
    );
    report.fleet = fleet;
    println!("{report}");
    write_reports(&args.output, &report)?;
    Ok(report.is_success())
}

/// Returns when requests are due, and how long the run is expected to take.
#[allow(clippy::type_complexity)]
fn arrivals(
    args: &RunArgs,
) -> anyhow::Result<(Box<dyn Iterator<Item = Duration> + Send>, Option<Duration>)> {
    let open = &args.open;
    let most = args.num_request.unwrap_or(usize::MAX);
    let end = open.duration.unwrap_or(Duration::MAX);
    let (all, length): (Box<dyn Iterator<Item = Duration> + Send>, _) = match &open.trace {
        Some(file) => {
            let trace = scaler_simulate::Trace::read(file)?;
            let times: Vec<_> = trace.arrivals(0).map(Duration::from_micros).collect();
            let length = Some(Duration::from_secs_f64(trace.length));
            (Box::new(times.into_iter()), length)
        }
        None => {
            let load = Load {
                rate: open.rate.unwrap_or(1.0),
                ramp: open.ramp,
                process: open.process(),
                seed: open.seed,
            };
            let length = args
                .num_request
                .map(|count| open.ramp + Duration::from_secs_f64(count as f64 / load.rate));
            (Box::new(load.arrivals()), length)
        }
    };
    let expected = [open.duration, length].into_iter().flatten().min();
    if let Some(expected) = expected {
        anyhow::ensure!(
            open.warm_up < expected,
            "--warm-up is as long as the run: nothing would be measured; make it shorter"
        );
    }
    let due = all.take_while(move |due| *due < end).take(most);
    Ok((Box::new(due), expected))
}

/// Raises the limit on open files, as each request in flight may need a connection.
fn max_in_flight(wanted: Option<usize>) -> anyhow::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the limits")?;
    let needed = wanted.unwrap_or(MAX_IN_FLIGHT) as u64 + OTHER_FILES;
    let raised = soft.max(needed.min(hard));
    if raised > soft {
        setrlimit(Resource::RLIMIT_NOFILE, raised, hard)
            .context("cannot raise the limit on open files")?;
    }
    let possible = raised.saturating_sub(OTHER_FILES).max(1) as usize;
    match wanted {
        Some(wanted) => {
            anyhow::ensure!(
                wanted <= possible,
                "--max-in-flight {wanted} needs more open files than the limit of {hard}; raise it (ulimit -Hn)"
            );
            Ok(wanted)
        }
        None => Ok(possible.min(MAX_IN_FLIGHT)),
    }
}

async fn watch_fleet(
    args: &RunArgs,
    start: Instant,
    expected: Option<Duration>,
) -> anyhow::Result<Option<FleetWatch>> {
    match &args.output.scaler {
        Some(url) => {
            let watch = FleetWatch::start(url, &args.target, start, expected).await?;
            Ok(Some(watch))
        }
        None => Ok(None),
    }
}

fn write_reports(output: &OutputArgs, report: &LoadReport) -> anyhow::Result<()> {
    if let Some(file) = &output.json {
        write(file, &(serde_json::to_string_pretty(report)? + "\n"))?;
        println!("figures   {}", file.display());
    }
    if let Some(file) = &output.html {
        write(file, &html::page(report))?;
        println!("report    {}", file.display());
    }
    Ok(())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
