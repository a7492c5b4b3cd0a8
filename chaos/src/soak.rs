//! `make soak`: steady mixed load for half an hour, and what each process holds meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::stream::{self, TryStreamExt};
use platform::process::print;
use reqwest::multipart::{Form, Part};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::load::{Outcome, Photos, Sent, send};
use crate::processes::Usage;
use crate::run::Quantiles;
use crate::schedule::Service;
use crate::stack::{Stack, StackOptions, http_client};

mod charts;
mod trend;

use trend::Sample;
pub use trend::Trend;

const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const BAD_INPUT_EVERY: Duration = Duration::from_millis(500);
/// How old an object gets, at least. The local cloud has an index of all objects in memory.
const EXPIRY: Duration = Duration::from_secs(60);
/// How many are deleted at once.
const DELETES: usize = 16;
const CLIP_EVERY: Duration = Duration::from_secs(30);
const CLIP_SECONDS: &str = "4";
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// A soak's choices.
#[derive(Debug, Clone)]
pub struct SoakOptions {
    pub stack: StackOptions,
    pub engine: String,
    pub photos: Photos,
    /// Requests a second.
    pub rate: f64,
    pub length: Duration,
    /// Folder for `report.json` and the charts.
    pub output: PathBuf,
}

/// What `report.json` has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SoakReport {
    pub engine: String,
    pub wall_s: f64,
    pub rate: f64,
    pub requests: u64,
    pub right: u64,
    pub failed: u64,
    pub bad_inputs_refused: u64,
    pub clips_done: u64,
    pub latency_s: Quantiles,
    pub processes: BTreeMap<String, Trend>,
    /// Most messages on each queue at once.
    pub deepest_queues: BTreeMap<String, u64>,
    pub disk_bytes_at_the_end: u64,
    /// Services that were missing or grew, in words.
    pub findings: Vec<String>,
    pub passed: bool,
}

#[derive(Debug, Default)]
struct Samples {
    services: BTreeMap<&'static str, Vec<Sample>>,
    queues: BTreeMap<String, Vec<(f64, f64)>>,
    disk: Vec<(f64, f64)>,
}

const SERVICES: [(&str, Service); 6] = [
    ("front", Service::Front),
    ("gateway", Service::Gateway),
    ("localcloud", Service::Localcloud),
    ("redis", Service::Redis),
    ("scaler", Service::Scaler),
    ("worker", Service::Worker),
];

/// Runs it, and writes report and charts.
///
/// # Errors
/// When the stack cannot be started, or a file cannot be written.
pub async fn soak(options: &SoakOptions) -> anyhow::Result<SoakReport> {
    std::fs::create_dir_all(&options.output)?;
    let stack = Arc::new(Stack::start(options.stack.clone()).await?);
    let interval_ms = 1e3 / options.rate;
    let requests = (options.length.as_secs_f64() * options.rate) as u64;
    let times: Vec<_> = (0..requests)
        .map(|number| (number as f64 * interval_ms) as u64)
        .collect();
    print(format_args!(
        "soak: {requests} requests in {:.0} s",
        options.length.as_secs_f64()
    ))?;
    let begun = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let sampling = tokio::spawn(sample(Arc::clone(&stack), begun, Arc::clone(&over)));
    let refused = tokio::spawn(send_bad_inputs(Arc::clone(&stack), Arc::clone(&over)));
    let clip = make_clip(options)?;
    let clips = tokio::spawn(send_clips(Arc::clone(&stack), clip, Arc::clone(&over)));
    let expiring = tokio::spawn(expire_objects(Arc::clone(&stack)));
    let sent = send(&stack.url(), &stack.key, &options.photos, &times, begun).await?;
    over.store(true, Ordering::Relaxed);
    expiring.abort();
    if let Ok(expired) = expiring.await {
        expired.context("old objects could not be deleted")?;
    }
    let (samples, refused, clips) = (sampling.await??, refused.await?, clips.await?);
    let report = report(options, &sent, &samples, (refused, clips), begun.elapsed());
    let text = serde_json::to_string_pretty(&report)? + "\n";
    std::fs::write(options.output.join("report.json"), text)?;
    charts::draw(&samples, &options.output)?;
    Ok(report)
}

async fn sample(
    stack: Arc<Stack>,
    begun: Instant,
    over: Arc<AtomicBool>,
) -> anyhow::Result<Samples> {
    let (aws, names) = (stack.aws().await, stack.names());
    let mut samples = Samples::default();
    let queue_names = [
        names.request_queue(),
        names.reply_queue(),
        names.dead_letter_queue(),
    ];
    let mut queues = Vec::new();
    for name in queue_names {
        queues.push(aws.queue(&name).await?);
    }
    let mut ticks = tokio::time::interval(SAMPLE_EVERY);
    while !over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let at = begun.elapsed().as_secs_f64();
        for (name, service) in SERVICES {
            let usages: Vec<_> = stack
                .processes(service)
                .iter()
                .filter_map(|it| it.usage())
                .collect();
            if let Some(sample) = mean(at, &usages) {
                samples.services.entry(name).or_default().push(sample);
            }
        }
        for queue in &queues {
            let counters = queue.counters().await?;
            let depth = (counters.visible + counters.in_flight) as f64;
            samples
                .queues
                .entry(queue.name().to_owned())
                .or_default()
                .push((at, depth));
        }
        samples.disk.push((at, bytes_in(stack.folder()) as f64));
    }
    Ok(samples)
}

/// Deletes old photos and results, as a lifecycle rule of the buckets would. Ends at an error only.
async fn expire_objects(stack: Arc<Stack>) -> anyhow::Result<()> {
    let (aws, names) = (stack.aws().await, stack.names());
    let mut buckets = [names.in_bucket(), names.out_bucket()]
        .map(|bucket| (aws.objects(bucket), Vec::<String>::new()));
    let mut ticks = tokio::time::interval(EXPIRY);
    loop {
        ticks.tick().await;
        for (bucket, old) in &mut buckets {
            let deletes = std::mem::take(old).into_iter().map(Ok);
            stream::iter(deletes)
                .try_for_each_concurrent(DELETES, async |key: String| bucket.delete(&key).await)
                .await?;
            *old = bucket.keys().await?;
        }
    }
}

fn mean(at: f64, usages: &[Usage]) -> Option<Sample> {
    let processes = usages.len() as u64;
    let mean = |of: fn(&Usage) -> u64| usages.iter().map(of).sum::<u64>().checked_div(processes);
    Some(Sample {
        at,
        processes,
        usage: Usage {
            resident_bytes: mean(|it| it.resident_bytes)?,
            threads: mean(|it| it.threads)?,
            descriptors: mean(|it| it.descriptors)?,
        },
    })
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(of) if of.is_dir() => bytes_in(&entry.path()),
        Ok(of) => of.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// Posts what is no photo. Returns how many were refused as such.
async fn send_bad_inputs(stack: Arc<Stack>, over: Arc<AtomicBool>) -> u64 {
    let (client, refused) = (http_client(), AtomicU64::new(0));
    let mut ticks = tokio::time::interval(BAD_INPUT_EVERY);
    while !over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let part = Part::bytes(b"this is text".as_slice()).file_name("text.png");
        let form = Form::new().part("inputFile", part);
        let request = client
            .post(stack.direct_url())
            .bearer_auth(&stack.key)
            .multipart(form);
        let status = request
            .send()
            .await
            .map(|response| response.status().as_u16());
        if status.is_ok_and(|status| status == 415) {
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }
    refused.into_inner()
}

/// Makes a clip of one of the photos. The light recognizer takes none.
fn make_clip(options: &SoakOptions) -> anyhow::Result<Option<PathBuf>> {
    let Photos::Real(photos) = &options.photos else {
        return Ok(None);
    };
    let (photo, clip) = (
        options.output.join("still.jpg"),
        options.output.join("clip.mp4"),
    );
    std::fs::write(&photo, &photos[0].0)?;
    let mut command = Command::new("ffmpeg");
    command
        .args(["-y", "-loglevel", "error", "-loop", "1", "-i"])
        .arg(&photo);
    command
        .args([
            "-t",
            CLIP_SECONDS,
            "-vf",
            "scale=320:-2",
            "-r",
            "10",
            "-pix_fmt",
            "yuv420p",
        ])
        .arg(&clip);
    let status = command.status().context("cannot start ffmpeg")?;
    ensure!(status.success(), "ffmpeg could not make a clip");
    Ok(Some(clip))
}

/// Posts a clip now and then, and returns how many were done.
async fn send_clips(stack: Arc<Stack>, clip: Option<PathBuf>, over: Arc<AtomicBool>) -> u64 {
    let Some(clip) = clip.and_then(|file| std::fs::read(file).ok()) else {
        return 0;
    };
    let (client, mut done) = (http_client(), 0);
    let mut ticks = tokio::time::interval(CLIP_EVERY);
    while !over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let part = Part::bytes(clip.clone()).file_name("clip.mp4");
        let form = Form::new().part("inputFile", part);
        let url = format!("{}/v1/videos", stack.direct_url());
        let posted = client
            .post(&url)
            .bearer_auth(&stack.key)
            .multipart(form)
            .send()
            .await;
        let Some(id) = field(posted, "id").await else {
            continue;
        };
        while !over.load(Ordering::Relaxed) {
            tokio::time::sleep(SAMPLE_EVERY).await;
            let found = client
                .get(format!("{url}/{id}"))
                .bearer_auth(&stack.key)
                .send()
                .await;
            let state = field(found, "state").await.unwrap_or_default();
            if state != "splitting" && state != "recognizing" {
                done += u64::from(state == "done");
                break;
            }
        }
    }
    done
}

async fn field(response: reqwest::Result<reqwest::Response>, name: &str) -> Option<String> {
    let body = response.ok()?.bytes().await.ok()?;
    let body: serde_json::Value = serde_json::from_slice(&body).ok()?;
    body[name].as_str().map(str::to_owned)
}

fn report(
    options: &SoakOptions,
    sent: &[Sent],
    samples: &Samples,
    (bad_inputs_refused, clips_done): (u64, u64),
    wall: Duration,
) -> SoakReport {
    let right: Vec<_> = sent
        .iter()
        .filter(|it| it.outcome == Outcome::Right)
        .collect();
    let (processes, findings) = judge(samples);
    let deepest = samples.queues.iter().map(|(name, of)| {
        let depth = of.iter().map(|point| point.1).fold(0.0, f64::max);
        (name.clone(), depth as u64)
    });
    let failed = (sent.len() - right.len()) as u64;
    SoakReport {
        engine: options.engine.clone(),
        wall_s: wall.as_secs_f64(),
        rate: options.rate,
        requests: sent.len() as u64,
        right: right.len() as u64,
        failed,
        bad_inputs_refused,
        clips_done,
        latency_s: Quantiles::of(right.iter().map(|sent| sent.took_ms)),
        deepest_queues: deepest.collect(),
        disk_bytes_at_the_end: samples.disk.last().map_or(0, |point| point.1 as u64),
        passed: failed == 0 && findings.is_empty(),
        processes,
        findings,
    }
}

/// Returns each service's trend, and what is wrong with them. All services should run all the time.
fn judge(samples: &Samples) -> (BTreeMap<String, Trend>, Vec<String>) {
    let trends = SERVICES.map(|(name, _)| {
        let of = samples.services.get(name).map(Vec::as_slice);
        // The disk has a sample of each tick.
        (
            name.to_owned(),
            Trend::of(of.unwrap_or_default(), samples.disk.len()),
        )
    });
    let findings = trends.iter().flat_map(|(name, of)| of.findings(name));
    let findings: Vec<_> = findings.collect();
    (trends.into(), findings)
}

impl SoakReport {
    /// Prints what people look for first.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn print(&self, output: &Path) -> anyhow::Result<()> {
        print(format_args!(
            "requests {}: right {}, failed {}; bad inputs refused {}, clips done {}; p50 {:.3} s, p99 {:.3} s",
            self.requests,
            self.right,
            self.failed,
            self.bad_inputs_refused,
            self.clips_done,
            self.latency_s.p50,
            self.latency_s.p99
        ))?;
        for (name, of) in &self.processes {
            print(format_args!(
                "{name:10} {:6.1} MiB at the end, {:+.2} MiB in the last two thirds (noise {:.2}); descriptors {} to {}, threads at most {}",
                of.resident_mib_last,
                of.growth_mib,
                of.noise_mib,
                of.descriptors_first,
                of.descriptors_last,
                of.threads_most
            ))?;
        }
        for finding in &self.findings {
            print(finding)?;
        }
        let verdict = if self.passed { "PASS" } else { "FAIL" };
        print(format_args!(
            "{verdict}; report and charts are in {}",
            output.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_samples_for_a_tenth_of_the_run_fails_it_by_name() {
        let samples = |workers: usize| {
            let all: Vec<_> = (0..100_u32)
                .map(|at| Sample {
                    at: f64::from(at),
                    ..Sample::default()
                })
                .collect();
            let services = SERVICES.map(|(name, _)| {
                let count = if name == "worker" { workers } else { all.len() };
                (name, all[..count].to_vec())
            });
            Samples {
                services: services.into(),
                disk: vec![(0.0, 0.0); all.len()],
                ..Samples::default()
            }
        };
        assert!(judge(&samples(90)).1.is_empty());
        for sampled in [0, 89] {
            let (trends, findings) = judge(&samples(sampled));
            assert_eq!(trends["worker"].sampled, sampled as f64 / 100.0);
            assert!(findings.len() == 1 && findings[0].starts_with("worker: samples for 0."));
        }
    }
}
