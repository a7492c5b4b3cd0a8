//! One run: a stack, the load, the faults, and the account.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures::StreamExt;
use platform::aws::Aws;
use platform::process::print;
use platform::queue::{BATCH_LIMIT, Queue};
use proto::v1::RecognitionJob;
use serde::Serialize;
use tokio::sync::RwLock;
use tokio::time::Instant;

use crate::account::{Account, CloudContents, account};
use crate::inject::{InjectionLog, Injector};
use crate::load::{Answer, Outcome, Photos, Sent, arrivals, number_of, send};
use crate::logs::{self, InstanceLogs};
use crate::processes;
use crate::schedule::{Planned, Rules, Service, names, schedule};
use crate::stack::{Stack, StackOptions, WorkerProgram, http_client};

mod choices;
mod figures;

pub use choices::{Choices, Engine};
use figures::{MOST_PRINTED, late};
pub use figures::{Quantiles, RunReport};

/// How long jobs may take to end after the last fault: five receives, and then some.
const SETTLE_WITHIN: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(200);
/// Calls at once while the cloud's contents are read.
const READS: usize = 32;

/// A run's choices, and what they need on this machine.
#[derive(Debug, Clone)]
pub struct RunOptions {
    pub stack: StackOptions,
    pub photos: Photos,
    pub choices: Choices,
    /// Folder for `report.json`, and for `history.json` with all faults and requests. The history of a run that fails is in
    /// `history-SEED.json`, too, which the next run leaves alone.
    pub output: PathBuf,
}

/// What a run is understood by.
#[derive(Debug, Serialize)]
struct History<'a> {
    /// At the top level, where [`Choices::of_history`] looks for them.
    #[serde(flatten)]
    choices: &'a Choices,
    schedule: &'a [Planned],
    done: &'a InjectionLog,
    sent: &'a [Sent],
    findings: &'a [String],
}

/// Runs it, and writes the report.
///
/// # Errors
/// When the fault to inject cannot happen, the stack cannot be started, or its state cannot be read at the end.
pub async fn run(options: &RunOptions) -> anyhow::Result<RunReport> {
    let started = Instant::now();
    let choices = &options.choices;
    let times = arrivals(choices.seed, choices.requests, choices.rate);
    let length = Duration::from_millis(times.last().copied().unwrap_or_default());
    let spot = options.stack.spot;
    let gallery = matches!(options.stack.worker, WorkerProgram::Real { .. });
    if let Some(only) = &choices.only {
        ensure!(
            names(spot, gallery).contains(only),
            "{only} would do nothing: interrupt needs spot instances, which odd seeds have, and reload_gallery needs an engine"
        );
    }
    let rules = Rules {
        length,
        every: choices.every,
        only: choices.only.clone(),
        spot,
        gallery,
    };
    let planned = schedule(choices.seed, &rules);
    print(format_args!(
        "chaos: seed {}, {} requests in {:.0} s, {} faults, policy {}, {}",
        choices.seed,
        times.len(),
        length.as_secs_f64(),
        planned.len(),
        options.stack.policy,
        if spot {
            "spot instances"
        } else {
            "on-demand instances"
        },
    ))?;
    let stack = Stack::start(options.stack.clone()).await?;
    let (url, key) = (stack.url(), stack.key.clone());
    let stack = Arc::new(RwLock::new(stack));
    let begun = Instant::now();
    let injector = Injector::new(Arc::clone(&stack), begun);
    let injecting = tokio::spawn(injector.run(planned.clone()));
    let sent = send(&url, &key, &options.photos, &times, begun).await?;
    let done = injecting.await??;
    let stack = stack.read().await;
    let left = settle(&stack).await?;
    let logs = logs::read(&stack.folder().join("cloud"))?;
    let contents = read_contents(&stack, &sent, &logs).await?;
    let account = account(
        &sent,
        |number| options.photos.of(number).1,
        &contents,
        &done.downtimes,
    );
    let report = report(options, &sent, account, &done, &logs, left, started);
    write(options, &report, &planned, &done, &sent)?;
    Ok(report)
}

fn report(
    options: &RunOptions,
    sent: &[Sent],
    account: Account,
    done: &InjectionLog,
    logs: &InstanceLogs,
    left_on_the_queue: u64,
    started: Instant,
) -> RunReport {
    let by_scaler = logs.busy_at_the_end.iter();
    let by_scaler =
        by_scaler.filter(|it| !logs.given_up.contains(*it) && !done.ended_by_us.contains(*it));
    let busy_workers_stopped = by_scaler.count() as u64;
    let returns = logs.returns(&done.worker_kills).into_iter();
    let return_s = Quantiles::of(returns.map(|ms| u64::try_from(ms).unwrap_or_default()));
    let right = sent.iter().filter(|sent| sent.outcome == Outcome::Right);
    let is_whole = left_on_the_queue == 0 && busy_workers_stopped == 0;
    let passed = account.is_clean() && is_whole;
    let choices = &options.choices;
    let mut report = RunReport {
        engine: choices.engine.name().to_owned(),
        seed: choices.seed,
        wall_s: started.elapsed().as_secs_f64(),
        policy: options.stack.policy.clone(),
        spot: options.stack.spot,
        rate: choices.rate,
        passed,
        account,
        busy_workers_stopped,
        left_on_the_queue,
        faults: done.faults.clone(),
        faults_in_vain: done.in_vain,
        return_s,
        termination_s: Quantiles::of(done.terminations_ms.iter().copied()),
        restart_s: Quantiles::of(done.restarts_ms.iter().copied()),
        latency_s: Quantiles::of(right.map(|sent| sent.took_ms)),
        logged_errors: logs.errors.clone(),
    };
    let late = late(choices.only.as_deref(), &report);
    report.passed &= late.is_none();
    report.account.findings.extend(late);
    report
}

/// Ends all faults, and waits until the request queue is empty. Returns how many messages it still has.
async fn settle(stack: &Stack) -> anyhow::Result<u64> {
    for service in [
        Service::Worker,
        Service::Front,
        Service::Gateway,
        Service::Scaler,
        Service::Localcloud,
    ] {
        for process in stack.processes(service) {
            process.signal(processes::CONTINUE);
        }
    }
    let client = http_client();
    client
        .delete(format!("{}/_localcloud/faults", stack.cloud_url()))
        .send()
        .await?;
    stack.until_ready().await?;
    let queue = stack
        .aws()
        .await
        .queue(&stack.names().request_queue())
        .await?;
    let give_up_at = Instant::now() + SETTLE_WITHIN;
    loop {
        let counters = queue.counters().await?;
        let left = counters.visible + counters.in_flight;
        if left == 0 || Instant::now() >= give_up_at {
            return Ok(left);
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn read_contents(
    stack: &Stack,
    sent: &[Sent],
    logs: &InstanceLogs,
) -> anyhow::Result<CloudContents> {
    let (aws, names) = (stack.aws().await, stack.names());
    let photos = aws.objects(names.in_bucket()).keys().await?;
    let photos = photos
        .iter()
        .filter_map(|key| number_of(key.split('.').next()?))
        .collect();
    let dead_letters = aws.queue(&names.dead_letter_queue()).await?;
    Ok(CloudContents {
        photos,
        results: read_results(&aws, &names.out_bucket()).await?,
        dead_letters: read_dead_letters(&dead_letters).await?,
        begun: logs.begun(),
        recovered: recover(stack, sent).await?,
    })
}

async fn read_results(aws: &Aws, bucket: &str) -> anyhow::Result<HashMap<u64, Vec<String>>> {
    let results = aws.objects(bucket);
    let keys = results.keys().await?;
    // A key derived from the name has a digest behind the stem.
    let ours = keys.into_iter().filter(|key| !key.contains('/'));
    let read = futures::stream::iter(ours.map(|key| {
        let results = &results;
        async move {
            let body = results.get(&key).await?;
            anyhow::Ok((key, String::from_utf8_lossy(&body).into_owned()))
        }
    }));
    let mut read = read.buffer_unordered(READS);
    let mut found: HashMap<u64, Vec<String>> = HashMap::new();
    while let Some(result) = read.next().await {
        let (key, text) = result?;
        let (stem, name) = text
            .split_once(':')
            .with_context(|| format!("{key} has {text:?}"))?;
        let number = number_of(stem).with_context(|| format!("{key} has {text:?}"))?;
        found.entry(number).or_default().push(name.to_owned());
    }
    Ok(found)
}

async fn read_dead_letters(queue: &Queue) -> anyhow::Result<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    loop {
        // A receive may return fewer than there are; the counters tell.
        let hidden_for = Some(Duration::from_secs(600));
        let letters = queue
            .receive_hiding(BATCH_LIMIT, Duration::ZERO, hidden_for)
            .await?;
        if letters.is_empty() && queue.counters().await?.visible == 0 {
            return Ok(numbers);
        }
        for letter in letters {
            let job: RecognitionJob = proto::decode(&letter.body)?;
            numbers.extend(job.object_key.split('.').next().and_then(number_of));
        }
    }
}

/// Asks for the results of the requests that ended with an error, as a client would.
async fn recover(stack: &Stack, sent: &[Sent]) -> anyhow::Result<HashMap<u64, String>> {
    let client = http_client();
    let mut recovered = HashMap::new();
    for request in sent {
        let Outcome::Error { id, .. } = &request.outcome else {
            continue;
        };
        let url = format!("{}/v1/results/{id}", stack.direct_url());
        let response = client
            .get(url)
            .header("accept", "application/json")
            .bearer_auth(&stack.key)
            .send();
        let response = response.await?;
        if response.status().is_success() {
            let answer: Answer = serde_json::from_slice(&response.bytes().await?)?;
            ensure!(
                number_of(&answer.stem) == Some(request.number),
                "{id} has the result of {}",
                answer.stem
            );
            recovered.insert(request.number, answer.name);
        }
    }
    Ok(recovered)
}

fn write(
    options: &RunOptions,
    report: &RunReport,
    schedule: &[Planned],
    done: &InjectionLog,
    sent: &[Sent],
) -> anyhow::Result<()> {
    std::fs::create_dir_all(&options.output)?;
    let mut shown = report.clone();
    shown.account.findings.truncate(MOST_PRINTED);
    std::fs::write(
        options.output.join("report.json"),
        serde_json::to_string_pretty(&shown)? + "\n",
    )?;
    let findings = &report.account.findings;
    let history = History {
        choices: &options.choices,
        schedule,
        done,
        sent,
        findings,
    };
    let history = serde_json::to_string(&history)?;
    if !report.passed {
        let kept = format!("history-{}.json", options.choices.seed);
        std::fs::write(options.output.join(kept), &history)?;
    }
    std::fs::write(options.output.join("history.json"), history)?;
    Ok(())
}

/// Returns photos with the names that the worker gives them offline.
///
/// # Errors
/// When the program fails, or names too few.
pub fn real_photos(bin: &Path, folder: &Path, worker: &WorkerProgram) -> anyhow::Result<Photos> {
    let WorkerProgram::Real {
        engine,
        models,
        gallery,
    } = worker
    else {
        anyhow::bail!("the light recognizer has its own photos");
    };
    let files = worker::enrol::photos_below(folder)?;
    let mut command = std::process::Command::new(bin.join("worker"));
    command
        .arg("recognize")
        .args(["--engine", engine])
        .arg("--models")
        .arg(models);
    let output = command
        .arg("--gallery")
        .arg(gallery)
        .args(&files)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.split_once(':'));
    let names: HashMap<_, _> = names.collect();
    let mut photos = Vec::new();
    for file in files {
        let stem = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if let Some(&name) = names.get(stem.as_str()) {
            photos.push((Bytes::from(std::fs::read(&file)?), name.to_owned()));
        }
    }
    ensure!(
        photos.len() >= 10,
        "the worker named {} photos of {}",
        photos.len(),
        folder.display()
    );
    Ok(Photos::Real(photos.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_faults_in_vain_and_fails_for_a_late_end() {
        let choices = Choices {
            only: Some("terminate".to_owned()),
            ..Choices::example()
        };
        let options = RunOptions {
            stack: StackOptions {
                bin: PathBuf::new(),
                root: PathBuf::new(),
                folder: PathBuf::new(),
                worker: WorkerProgram::Light(choices.light_time),
                max_workers: choices.max_workers,
                policy: "step".to_owned(),
                keep_idle: "0s",
                spot: false,
            },
            photos: Photos::Light { seed: choices.seed },
            choices,
            output: PathBuf::new(),
        };
        let of = |terminations_ms: &[u64]| {
            let done = InjectionLog {
                faults: [("terminate".to_owned(), 3)].into(),
                in_vain: 2,
                terminations_ms: terminations_ms.to_vec(),
                ..InjectionLog::default()
            };
            let logs = InstanceLogs::default();
            report(
                &options,
                &[],
                Account::default(),
                &done,
                &logs,
                0,
                Instant::now(),
            )
        };
        let in_time = of(&[800]);
        assert!(in_time.passed && in_time.account.findings.is_empty());
        assert_eq!(
            (in_time.faults["terminate"], in_time.faults_in_vain),
            (3, 2)
        );
        let late = of(&[800, 5_100]);
        assert!(!late.passed && late.account.findings.len() == 1);
    }
}
