//! `loadgen grade`: sends requests to a whole system, watches its queues, buckets and workers, and grades it: by a verdict
//! on Muster (here), or by points for any system (module `points`).

pub mod args;
mod cloud;
mod metrics;
mod points;
mod scaler;
mod table;
mod watch;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use platform::process::print;
use tokio::time::{Instant, sleep};

use crate::client::http_client;
use crate::drive::{Driver, Request};
use crate::photos;
use crate::report::verdict::{self, Measurements, Stored};
use crate::report::{GradeReport, Record, Summary};
use crate::run::driver;
use crate::target::TargetArgs;
pub use args::GradeArgs;
use cloud::{Cloud, Contents};
use metrics::Metrics;
use scaler::Scaler;
use watch::Watch;

/// Interval of the checks for a condition.
const POLL: Duration = Duration::from_millis(100);
/// Longest time until the counters show empty queues.
const QUEUES_SETTLE: Duration = Duration::from_secs(5);

/// Grades the system and writes the report. Returns true for a pass, or for enough points.
///
/// # Errors
/// When there is nothing to send, the service does not become ready, a part of the system cannot be reached, or the report
/// cannot be written.
pub async fn grade(args: &GradeArgs) -> anyhow::Result<bool> {
    if args.points.are_wanted() {
        return points::points(args).await;
    }
    anyhow::ensure!(
        args.requests > 0,
        "there is nothing to send; give --requests 1 or more"
    );
    anyhow::ensure!(
        !args.target.is_grpc(),
        "the grade is that of the HTTP service; give its address with --url http://HOST:PORT/"
    );
    let requests = prepare(args)?;
    let driver = driver(&args.target, true)?;
    wait_until_ready(&args.target, args.ready_within).await?;
    let system = System {
        cloud: Arc::new(Cloud::open(&args.aws).await?),
        scaler: Scaler::new(&args.scaler, &args.target)?,
        metrics: Metrics::new(
            args.front_metrics.as_deref(),
            args.aws.endpoint_url.as_deref(),
        )?,
    };
    let before = system.cloud.contents().await?;
    let unmet = system
        .cloud
        .unmet_preconditions(args.criteria.web_instances)
        .await?;
    if !unmet.is_empty() {
        return finish(
            args,
            &GradeReport::failed(&Summary::of(&[]), &Measurements::default(), unmet),
        );
    }
    print(format_args!(
        "{} requests to {}, {} at once",
        requests.len(),
        driver.client.url(),
        driver.concurrency
    ))?;
    if before != Contents::default() {
        print(format_args!(
            "note: queues and buckets are not empty at the start ({before})"
        ))?;
    }
    let (records, measured) = system.observe(args, &driver, &requests).await?;
    let summary = Summary::of(&records);
    // If it cannot be written, the command fails after the report is.
    let _ = print(format_args!("\n{summary}"));
    let report = match system.settled().await {
        Ok(after) => {
            let stored = Stored {
                photos_before: before.photos,
                results_before: before.results,
                photos: after.photos,
                results: after.results,
                messages: after.messages(),
            };
            let checks = verdict::checks(&summary, &measured, &stored, &args.criteria);
            GradeReport::new(&summary, &measured, checks)
        }
        Err(error) => GradeReport::failed(&summary, &measured, vec![format!("{error:#}")]),
    };
    finish(args, &report)
}

/// The parts of the system besides the service itself.
#[derive(Debug)]
struct System {
    cloud: Arc<Cloud>,
    scaler: Scaler,
    metrics: Metrics,
}

impl System {
    /// Sends the requests, and watches until no worker runs.
    async fn observe(
        &self,
        args: &GradeArgs,
        driver: &Driver,
        requests: &[Request],
    ) -> anyhow::Result<(Vec<Record>, Measurements)> {
        let totals_before = self.scaler.totals().await?;
        let late_before = self.metrics.late_replies().await?;
        // The grader's own calls are subtracted, so that none may be in flight while calls are counted.
        let own_before = self.cloud.own_calls();
        let calls_before = self.metrics.aws_calls().await;

        let start = Instant::now();
        let answered = Arc::new(AtomicU64::new(0));
        let watch = Watch::start(&self.cloud, &answered, start);
        let count = |record: &Record| {
            answered.fetch_add(u64::from(record.is_answered()), Ordering::Relaxed);
        };
        let records = driver.run(requests, start, count).await;
        let idle_at = watch.wait_until_idle(args.idle_within).await;
        let workers = watch.stop().await;

        let calls = increase(calls_before, self.metrics.aws_calls().await);
        let own_calls = self.cloud.own_calls() - own_before;
        let late = self.metrics.late_replies().await.ok().flatten();
        let totals = self.scaler.totals().await.ok();
        let answers = records
            .iter()
            .filter(|record| record.is_answered())
            .map(|record| record.ended_at);
        let last_answer = answers.max();
        let measured = Measurements {
            duplicate_replies: increase(late_before, late),
            busy_workers_stopped: increase(
                Some(totals_before.busy_workers_stopped),
                totals.as_ref().map(|totals| totals.busy_workers_stopped),
            ),
            workers_ordered: increase(
                Some(scaler::ordered(&totals_before)),
                totals.as_ref().map(scaler::ordered),
            ),
            scale_in_s: idle_at.map(|idle| {
                idle.saturating_sub(last_answer.unwrap_or(idle))
                    .as_secs_f64()
            }),
            aws_calls: calls.map(|calls| calls.saturating_sub(own_calls)),
            workers,
        };
        Ok((records, measured))
    }

    /// Reads the contents of buckets and queues once the queues are empty, or after a limit.
    async fn settled(&self) -> anyhow::Result<Contents> {
        let deadline = Instant::now() + QUEUES_SETTLE;
        loop {
            let contents = self.cloud.contents().await?;
            if contents.messages() == 0 || Instant::now() >= deadline {
                return Ok(contents);
            }
            sleep(POLL).await;
        }
    }
}

/// Reads the photos to send, and makes room for the report.
fn prepare(args: &GradeArgs) -> anyhow::Result<Vec<Request>> {
    let requests = photos::labeled_requests(&args.photos, args.requests)?;
    if let Some(folder) = args.report.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    // An earlier report must not look like this run's.
    if args.report.exists() {
        fs::remove_file(&args.report)
            .with_context(|| format!("cannot remove {}", args.report.display()))?;
    }
    Ok(requests)
}

async fn wait_until_ready(service: &TargetArgs, limit: Duration) -> anyhow::Result<()> {
    let url = service.url.join("/readyz")?;
    let authorities = service.tls.peer_ca.as_deref();
    let http = http_client(&url, Duration::from_secs(2), authorities)?;
    let deadline = Instant::now() + limit;
    loop {
        let seen = match http.get(url.clone()).send().await {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) => format!("status {}", response.status().as_u16()),
            Err(error) if error.is_timeout() => "no answer".to_owned(),
            Err(_) => "no connection".to_owned(),
        };
        if Instant::now() >= deadline {
            let seconds = limit.as_secs_f64();
            bail!(
                "{url} was not ready within {seconds} s ({seen}); start the service, or give its address with --url"
            );
        }
        sleep(POLL).await;
    }
}

fn finish(args: &GradeArgs, report: &GradeReport) -> anyhow::Result<bool> {
    let json = serde_json::to_string_pretty(report)?;
    fs::write(&args.report, json + "\n")
        .with_context(|| format!("cannot write {}", args.report.display()))?;
    print(format_args!("report    {}", args.report.display()))?;
    print(format_args!("{report}"))?;
    Ok(report.reasons.is_empty())
}

/// Returns the increase of a counter, if both values are known.
fn increase(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    after
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn a_grade_leaves_foreign_photos_alone() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str| root.path().join(name);
        for folder in ["val/ben", "photos"] {
            fs::create_dir_all(file(folder)).unwrap();
        }
        fs::write(file("val/ben/a.jpg"), "sent").unwrap();
        let foreign = ["photos/test_00.jpg", "photos/test_1.png", "truth.csv"];
        for name in foreign {
            fs::write(file(name), "foreign").unwrap();
        }
        fs::write(file("report.json"), "old").unwrap();
        let arguments = ["loadgen", "grade", "--requests", "3"].map(OsString::from);
        let files = [
            "--photos".into(),
            file("val").into_os_string(),
            "--report".into(),
            file("report.json").into_os_string(),
        ];
        let cli = Cli::parse_from([&arguments[..], &files].concat());
        let Command::Grade(args) = cli.command else {
            panic!("not the command grade")
        };
        assert_eq!(prepare(&args).unwrap().len(), 3);
        for name in foreign {
            assert_eq!(fs::read_to_string(file(name)).unwrap(), "foreign", "{name}");
        }
        assert!(!file("report.json").exists());
    }
}
