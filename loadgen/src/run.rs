//! `loadgen run`: sends photos in a closed or an open loop, and says how fast and how right the answers were.

mod args;
pub mod fleet;
mod html;
pub mod open;
pub mod recorder;
pub mod summary;
mod view;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use platform::process::print;
use platform::shutdown::{CancellationToken, on_signal};

pub use args::{ArrivalsArg, OpenArgs, OutputArgs, RunArgs};

use crate::arrivals::Load;
use crate::client::Client;
use crate::drive::Driver;
use crate::output;
use crate::photos;
use crate::progress::Progress;
use crate::target::TargetArgs;
use fleet::{Connected, FleetWatch};
use open::{OpenLoop, locked};
use recorder::{Ended, Recorder};
use summary::{LoadReport, LoopKind};
use view::View;

/// In flight at once in an open loop, if the limit on open files allows it.
const MAX_IN_FLIGHT: usize = 10_000;
/// Open files besides connections.
const OTHER_FILES: u64 = 100;

/// A signal ended the run early. Its reports are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted; the figures are those of the requests that were sent")]
pub struct Interrupted;

impl Interrupted {
    /// The exit status that shells have for Ctrl-C.
    pub const STATUS: u8 = 130;
}

/// Sends the requests. Returns true when every response has the right name, and every request was sent.
///
/// # Errors
/// When there is nothing to send, a name is not known, nothing listens at the address, or a report cannot be written.
/// [`Interrupted`] when a signal ended the run early.
pub async fn run(args: &RunArgs) -> anyhow::Result<bool> {
    anyhow::ensure!(
        args.num_request != Some(0),
        "there is nothing to send; give --num-request 1 or more"
    );
    let outputs = [args.output.json.as_deref(), args.output.html.as_deref()];
    let outputs: Vec<&Path> = outputs.into_iter().flatten().collect();
    let mut inputs = vec![args.prediction_file.as_path()];
    inputs.extend(args.open.trace.as_deref());
    inputs.extend(args.target.key.api_key_file.as_deref());
    output::ensure_distinct(&outputs, &inputs)?;
    for file in outputs {
        // A report that cannot be written is known before the run.
        output::check(file)?;
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
    let requests = photos::distinct(&args.image_folder, &args.prediction_file, count)?;
    let driver = driver(&args.target, false)?;
    driver.client.check_reachable().await?;
    let mut recorder = Recorder::new(Duration::ZERO, None);
    let mut progress = (!args.output.quiet).then(|| Progress::new(count));
    let mut retries = 0;
    let scaler = connect_scaler(args, None).await?;
    let stop = stop_by_signal()?;
    let start = Instant::now();
    let fleet = scaler.map(|scaler| FleetWatch::start(scaler, start));
    driver
        .run_classified(
            &requests,
            count,
            &stop,
            start.into(),
            |record, request, class| {
                retries += u64::from(record.retries);
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
                    progress.record(&record);
                }
            },
        )
        .await;
    drop(progress);
    let mut load = format!("{count} requests, {} at once", args.target.concurrency);
    if retries > 0 {
        load += &format!(", {retries} retries of failed connections");
    }
    let report = LoadReport::new(
        args.target.url.to_string(),
        LoopKind::Closed,
        load,
        &recorder,
    );
    finish(args, report, recorder.last_answer, fleet, &stop).await
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
    // Connecting and encoding take time, which would count as latency after the start.
    let scaler = connect_scaler(args, expected).await?;
    let stop = stop_by_signal()?;
    let open_loop = OpenLoop {
        client,
        requests,
        max_in_flight,
        recorder: Arc::clone(&recorder),
        stop: stop.clone(),
    }
    .encoded();
    let start = Instant::now();
    let fleet = scaler.map(|scaler| FleetWatch::start(scaler, start));
    let view = (!args.output.quiet).then(|| View::start(&recorder, start));
    open_loop.run(arrivals, start).await;
    if let Some(view) = view {
        view.end().await;
    }
    let report = LoadReport::new(
        args.target.url.to_string(),
        LoopKind::Open,
        args.open.describe(),
        &locked(&recorder),
    );
    let last_answer = locked(&recorder).last_answer;
    finish(args, report, last_answer, fleet, &stop).await
}

/// Waits for the last worker, writes the reports and prints the figures. Returns whether all was right.
async fn finish(
    args: &RunArgs,
    mut report: LoadReport,
    last_answer: Option<Duration>,
    fleet: Option<FleetWatch>,
    stop: &CancellationToken,
) -> anyhow::Result<bool> {
    if let Some(fleet) = fleet {
        let limit = args.output.idle_within;
        report.fleet = Some(fleet.end(last_answer, limit, stop).await);
    }
    let is_interrupted = stop.is_cancelled();
    if is_interrupted {
        report.problems.push("the run was interrupted".to_owned());
    }
    let OutputArgs { json, html, .. } = &args.output;
    // Before anything is printed: standard output may be closed or full.
    if let Some(file) = json {
        output::write(file, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    if let Some(file) = html {
        output::write(file, &html::page(&report))?;
    }
    print(&report)?;
    if let Some(file) = json {
        print(format_args!("figures   {}", file.display()))?;
    }
    if let Some(file) = html {
        print(format_args!("report    {}", file.display()))?;
    }
    if is_interrupted {
        return Err(Interrupted.into());
    }
    Ok(report.is_success())
}

/// Returns a token that Ctrl-C and SIGTERM cancel. The second signal ends the program.
fn stop_by_signal() -> anyhow::Result<CancellationToken> {
    let stop = on_signal().context("cannot listen for signals")?;
    let cancelled = stop.clone().cancelled_owned();
    tokio::spawn(async move {
        cancelled.await;
        eprintln!("waiting for what is in flight");
    });
    Ok(stop)
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
            let length = Duration::try_from_secs_f64(trace.length).ok();
            (Box::new(times.into_iter()), length)
        }
        None => {
            let load = Load {
                rate: open.rate.unwrap_or(1.0),
                ramp: open.ramp,
                process: open.process(),
                seed: open.seed,
            };
            let length = args.num_request.and_then(|count| {
                let seconds = open.ramp.as_secs_f64() + count as f64 / load.rate;
                Duration::try_from_secs_f64(seconds).ok()
            });
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

async fn connect_scaler(
    args: &RunArgs,
    expected: Option<Duration>,
) -> anyhow::Result<Option<Connected>> {
    match &args.output.scaler {
        Some(url) => Ok(Some(Connected::open(url, &args.target, expected).await?)),
        None => Ok(None),
    }
}
