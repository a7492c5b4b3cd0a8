//! Starts of the worker: time, processor time and memory, alone and fifteen at once.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};

use crate::rounds::SubjectName;
use crate::samples::Samples;

const AT_ONCE: usize = 15;

/// Measures starts. The first one, which may read from the disk, does not count.
pub fn measure(
    starts: usize,
    worker: &Path,
    name: SubjectName,
    bundle: &Path,
    gallery: &Path,
    photo: &Path,
) -> anyhow::Result<Map<String, Value>> {
    let start = || Starting::start(worker, name, [bundle, gallery, photo]);
    start()?.ready()?.end()?;
    let mut single = Vec::new();
    for _ in 0..starts {
        let worker = start()?.ready()?;
        single.push(worker.figures.clone());
        worker.end()?;
    }
    let samples = |value: &dyn Fn(&Map<String, Value>) -> Option<f64>| -> Samples {
        single.iter().filter_map(value).collect()
    };
    let field = |name: &str| samples(&|figures| figures[name].as_f64()).median();
    let ready = samples(&|figures| figures["ready_ms"].as_f64());
    let first_answer_ratio = samples(&|figures| {
        Some(figures["first_answer_ms"].as_f64()? / figures["steady_median_ms"].as_f64()?)
    })
    .median();
    Ok(Map::from_iter([
        ("ready_ms".to_owned(), json!(ready.median())),
        ("ready_p10_ms".to_owned(), json!(ready.quantile(0.1))),
        ("ready_cpu_ms".to_owned(), json!(field("cpu_ms"))),
        (
            "first_answer_ms".to_owned(),
            json!(field("first_answer_ms")),
        ),
        (
            "steady_answer_ms".to_owned(),
            json!(field("steady_median_ms")),
        ),
        ("first_answer_ratio".to_owned(), json!(first_answer_ratio)),
        ("rss_mb".to_owned(), json!(field("rss_mb"))),
        (
            format!("pss_mb_per_worker_at_{AT_ONCE}"),
            json!(pss_of_many(start)?),
        ),
    ]))
}

/// Returns the mean memory of workers that run at the same time and are ready.
fn pss_of_many(worker: impl Fn() -> anyhow::Result<Starting>) -> anyhow::Result<f64> {
    let starting = (0..AT_ONCE)
        .map(|_| worker())
        .collect::<anyhow::Result<Vec<_>>>()?;
    let ready = starting
        .into_iter()
        .map(Starting::ready)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let pss = ready
        .iter()
        .map(Ready::pss_mb)
        .sum::<anyhow::Result<f64>>()?;
    for worker in ready {
        worker.end()?;
    }
    Ok(pss / AT_ONCE as f64)
}

/// `worker ready --hold` before its output.
struct Starting {
    process: Child,
    output: BufReader<ChildStdout>,
    since: Instant,
}

/// A worker that is ready, and runs until its input ends.
struct Ready {
    process: Child,
    /// Its output, lines of JSON.
    figures: Map<String, Value>,
}

impl Starting {
    fn start(
        worker: &Path,
        name: SubjectName,
        [bundle, gallery, photo]: [&Path; 3],
    ) -> anyhow::Result<Self> {
        let since = Instant::now();
        let mut command = Command::new(worker);
        name.limit(&mut command);
        let mut process = command
            .args(["ready", "--hold", "--engine", &name.engine.to_string()])
            .arg(photo)
            .arg("--models")
            .arg(bundle)
            .arg("--gallery")
            .arg(gallery)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start worker")?;
        let output = process.stdout.take().context("its output is a pipe")?;
        Ok(Self {
            process,
            output: BufReader::new(output),
            since,
        })
    }

    /// Waits for the output. The start is measured here, since it includes the creation of the process.
    fn ready(mut self) -> anyhow::Result<Ready> {
        let mut figures = self.line()?;
        let ready_ms = self.since.elapsed().as_secs_f64() * 1000.0;
        figures.extend(self.line()?);
        figures.insert("ready_ms".to_owned(), json!(ready_ms));
        Ok(Ready {
            process: self.process,
            figures,
        })
    }

    fn line(&mut self) -> anyhow::Result<Map<String, Value>> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).context("the worker ended; see its error above")
    }
}

impl Ready {
    fn pss_mb(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/smaps_rollup", self.process.id());
        let rollup = std::fs::read_to_string(path)?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kilobytes = line.and_then(|value| value.trim().strip_suffix(" kB"));
        Ok(kilobytes
            .context("no Pss in smaps_rollup")?
            .parse::<f64>()?
            / 1024.0)
    }

    fn end(mut self) -> anyhow::Result<()> {
        drop(self.process.stdin.take());
        let status = self.process.wait()?;
        ensure!(status.success(), "a worker ended with {status}");
        Ok(())
    }
}
