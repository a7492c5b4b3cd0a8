//! The graded run: sends the requests and samples the system in the rhythm of the course's grader.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use platform::aws::brief;
use platform::process::print;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::course;
use super::submission::Student;
use crate::drive::{Driver, Request};
use crate::grade::cloud::{Cloud, Contents};
use crate::grade::table::{HEADER, Row};
use crate::report::graded::Graded;
use crate::report::points::{Points, Run, Sample, Start};
use crate::report::rubric::Rubric;
use crate::report::{Outcome, Record, Summary};
use crate::run::driver;
use crate::target::TargetArgs;

/// Time between our own samples, for the charts.
const DENSE: Duration = Duration::from_millis(400);
/// Time between the checks of scale-in.
const POLL: Duration = Duration::from_millis(50);

/// What a run showed.
#[derive(Debug)]
pub struct Observed {
    start: Start,
    run: Run,
    records: Vec<Record>,
    dense: Vec<Sample>,
}

impl Observed {
    /// Returns the grade by the rubric.
    pub fn graded(self, rubric: &Rubric, student: Student) -> Graded {
        let points = Points::of(rubric, &self.start, &self.run);
        Graded {
            id: student.id,
            first_name: student.first_name,
            last_name: student.last_name,
            points,
            summary: Summary::of(&self.records),
            records: self.records,
            samples: self.run.samples,
            dense: self.dense,
        }
    }
}

/// Checks the start, sends the requests, and watches until the rubric's times are over.
///
/// # Errors
/// When the web tier cannot be reached.
pub async fn observe(
    rubric: &Rubric,
    cloud: Cloud,
    target: &TargetArgs,
    requests: &[Request],
) -> anyhow::Result<Observed> {
    let workload = &rubric.workload;
    let limit = Duration::from_secs_f64(workload.limit);
    // A retry or a shorter limit would judge another workload.
    let driver = Driver {
        concurrency: workload.clients,
        retries: 0,
        ..driver(
            &TargetArgs {
                timeout: limit,
                ..target.clone()
            },
            false,
        )?
    };
    driver.client.check_reachable().await?;
    let cloud = Arc::new(cloud);
    let start = course::start(&cloud).await;
    print(format_args!(
        "{} requests to {}, {} at once",
        requests.len(),
        driver.client.url(),
        driver.concurrency
    ))?;
    let answered = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut sampler = Sampler::start(
        &cloud,
        began,
        Duration::from_secs_f64(workload.sample_every),
        Some(&answered),
    );
    // The course's grader takes its first sample while its generator starts.
    sampler.first().await;
    let dense = Sampler::start(&cloud, began, DENSE, None);

    let mut records = Vec::new();
    let sent_at = began.elapsed();
    let run = driver.run(requests, began, |record| {
        answered.fetch_add(u64::from(record.is_answered()), Ordering::Relaxed);
        records.push(record.clone());
    });
    let in_time = timeout(limit, run).await.is_ok();
    let ended_at = began.elapsed();
    let wall = ended_at - sent_at;
    let unended = unended(requests, &records, sent_at, ended_at);
    records.extend(unended);

    sleep(Duration::from_secs_f64(workload.wait)).await;
    let scale_in = scale_in(&cloud, Duration::from_secs_f64(rubric.longest_scale_in())).await;
    drained(&cloud, Duration::from_secs_f64(workload.drain)).await;
    let (samples, dense) = (sampler.stop().await, dense.stop().await);

    let stored = cloud.stored().await.ok();
    let summary = Summary::of(&records);
    Ok(Observed {
        start,
        run: Run {
            requests: requests.len(),
            answered: summary.succeeded,
            right: summary.correct,
            wall,
            in_time,
            scale_in,
            samples,
            stored,
        },
        records,
        dense,
    })
}

/// Returns the records of the requests that the limit has ended.
fn unended(
    requests: &[Request],
    ended: &[Record],
    sent_at: Duration,
    ended_at: Duration,
) -> Vec<Record> {
    let ended: HashSet<_> = ended.iter().map(|it| it.file_name.as_str()).collect();
    let unended = requests
        .iter()
        .filter(|request| !ended.contains(request.file_name.as_str()));
    let record = |request: &Request| Record {
        file_name: request.file_name.clone(),
        sent_at,
        ended_at,
        retries: 0,
        outcome: Outcome::Failed("not ended within the limit".to_owned()),
    };
    unended.map(record).collect()
}

/// Returns how many workers run when none does, or when the time is over, and the time since the first check.
async fn scale_in(cloud: &Cloud, longest: Duration) -> (Option<usize>, Duration) {
    let began = Instant::now();
    loop {
        let running = cloud.workers().await.map(|it| it.running);
        let elapsed = began.elapsed();
        match running {
            Ok(0) => return (Some(0), elapsed),
            Ok(running) if elapsed >= longest => return (Some(running), elapsed),
            Err(_) if elapsed >= longest => return (None, elapsed),
            _ => sleep(POLL).await,
        }
    }
}

async fn drained(cloud: &Cloud, longest: Duration) {
    let deadline = Instant::now() + longest;
    while Instant::now() < deadline {
        let counters = cloud.counters().await;
        if counters.is_ok_and(|(requests, replies)| requests.visible + replies.visible == 0) {
            return;
        }
        sleep(POLL).await;
    }
}

/// A task that samples the system.
struct Sampler {
    stop: CancellationToken,
    /// Attempts so far.
    attempts: watch::Receiver<usize>,
    task: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    /// Begins at once, and prints a row for each sample if there is a count of responses to show.
    fn start(
        cloud: &Arc<Cloud>,
        began: Instant,
        every: Duration,
        answered: Option<&Arc<AtomicU64>>,
    ) -> Self {
        let stop = CancellationToken::new();
        let (publish, attempts) = watch::channel(0);
        let (cloud, stopped, answered) = (Arc::clone(cloud), stop.clone(), answered.cloned());
        // A standard output that cannot be written fails the command at its end.
        let task = tokio::spawn(async move {
            let mut samples = Vec::new();
            if answered.is_some() {
                let _ = print(format_args!("\n{HEADER}"));
            }
            loop {
                let at = began.elapsed();
                match course::sample(&cloud, at).await {
                    Ok(sample) => {
                        if let Some(answered) = &answered {
                            let _ = print(row(&sample, answered.load(Ordering::Relaxed)));
                        }
                        samples.push(sample);
                    }
                    // A sample that fails is left out.
                    Err(error) if answered.is_some() => {
                        let why = brief(&format!("{error:#}"));
                        let _ = print(format_args!("{:>6.1} {why}", at.as_secs_f64()));
                    }
                    Err(_) => {}
                }
                publish.send_modify(|attempts| *attempts += 1);
                if stopped.run_until_cancelled(sleep(every)).await.is_none() {
                    return samples;
                }
            }
        });
        Self {
            stop,
            attempts,
            task,
        }
    }

    async fn first(&mut self) {
        let _ = self.attempts.wait_for(|attempts| *attempts > 0).await;
    }

    async fn stop(self) -> Vec<Sample> {
        self.stop.cancel();
        self.task.await.expect("sampling does not panic")
    }
}

fn row(sample: &Sample, answered: u64) -> Row {
    Row {
        time: Duration::from_secs_f64(sample.t_s),
        contents: Some(Contents {
            requests: sample.requests,
            replies: sample.replies,
            in_flight: 0,
            photos: sample.photos,
            results: sample.results,
        }),
        workers_running: sample.running,
        answered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unended_requests_are_in_the_summary() {
        let request = |number: u32| Request {
            file_name: format!("test_{number:02}.jpg"),
            ..Request::default()
        };
        let requests: Vec<_> = (0..5).map(request).collect();
        let (sent_at, ended_at) = (Duration::from_secs(1), Duration::from_secs(9));
        let mut records = vec![Record {
            file_name: "test_03.jpg".to_owned(),
            sent_at,
            ended_at: Duration::from_secs(2),
            retries: 0,
            outcome: Outcome::Correct,
        }];
        let unended = unended(&requests, &records, sent_at, ended_at);
        records.extend(unended);
        let summary = Summary::of(&records);
        assert_eq!(
            (summary.requests, summary.succeeded, summary.failed),
            (5, 1, 4)
        );
        assert_eq!(summary.failures["not ended within the limit"], 4);
        assert_eq!(summary.wall_s, 8.0);
    }
}
