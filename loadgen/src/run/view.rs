//! What is shown on standard error while an open loop runs: a panel on a terminal, elsewhere a line every few seconds.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::open::locked;
use super::recorder::Recorder;

const ON_A_TERMINAL: Duration = Duration::from_millis(250);
const AS_LINES: Duration = Duration::from_secs(5);
/// Rows of the histogram, and the width of its longest bar.
const ROWS: usize = 8;
const WIDTH: usize = 40;

/// Shows the run until it is ended.
#[derive(Debug)]
pub struct View {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl View {
    #[must_use]
    pub fn start(recorder: &Arc<Mutex<Recorder>>, start: Instant) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(show(Arc::clone(recorder), start, stop.clone()));
        Self { stop, task }
    }

    pub async fn end(self) {
        self.stop.cancel();
        // A view that failed must not fail the run.
        let _ = self.task.await;
    }
}

async fn show(recorder: Arc<Mutex<Recorder>>, start: Instant, stop: CancellationToken) {
    let panel = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("{msg}").expect("the template is valid");
        ProgressBar::new_spinner().with_style(style)
    });
    let mut ticks = interval(if panel.is_some() {
        ON_A_TERMINAL
    } else {
        AS_LINES
    });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    let mut meter = Meter::default();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = start.elapsed();
        let recorder = locked(&recorder);
        let line = meter.line(&recorder, now);
        match &panel {
            // Two lines, each narrower than a usual terminal.
            Some(panel) => {
                let lines = line.replacen("  all ", "\n          all ", 1);
                panel.set_message(lines + "\n" + &bars(&recorder.latency));
            }
            None => eprintln!("{line}"),
        }
    }
    if let Some(panel) = panel {
        panel.finish_and_clear();
    }
}

/// Measures rates between two looks.
#[derive(Debug, Default)]
struct Meter {
    at: Duration,
    due: u64,
    answered: u64,
}

impl Meter {
    fn line(&mut self, recorder: &Recorder, now: Duration) -> String {
        let (warm, counts) = (&recorder.warm_up_counts, &recorder.counts);
        let before = std::mem::replace(
            self,
            Self {
                at: now,
                due: warm.due + counts.due,
                answered: warm.answered() + counts.answered(),
            },
        );
        let seconds = (now - before.at).as_secs_f64().max(1e-3);
        let rate = |now: u64, before: u64| (now - before) as f64 / seconds;
        let mut line = format!(
            "{:>6.1} s  due {:.1}/s  answered {:.1}/s  in flight {}  ",
            now.as_secs_f64(),
            rate(self.due, before.due),
            rate(self.answered, before.answered),
            warm.in_flight() + counts.in_flight(),
        );
        let _ = write!(
            line,
            "all {} answered, {} failed, {} shed",
            self.answered,
            warm.failed + counts.failed,
            warm.shed + counts.shed
        );
        if counts.wrong + counts.unknown + counts.refused > 0 {
            let _ = write!(
                line,
                ", {} without the right name",
                counts.wrong + counts.unknown + counts.refused
            );
        }
        if !recorder.latency.is_empty() {
            let of = |quantile| milliseconds(recorder.latency.value_at_quantile(quantile));
            let _ = write!(line, "  p50 {}  p99 {}", of(0.5), of(0.99));
        }
        line
    }
}

/// Draws a histogram with equal ratios between the rows.
fn bars(latency: &Histogram<u64>) -> String {
    if latency.is_empty() {
        return String::new();
    }
    let (least, most) = (latency.min().max(1) as f64, latency.max().max(2) as f64);
    let ratio = (most / least).max(1.01).powf(1.0 / ROWS as f64);
    let edge = |row: usize| least * ratio.powi(row as i32);
    let counts: Vec<u64> = (0..ROWS)
        .map(|row| match row {
            0 => latency.count_between(0, edge(1) as u64),
            row => latency.count_between(edge(row) as u64 + 1, edge(row + 1) as u64),
        })
        .collect();
    let highest = counts.iter().copied().max().unwrap_or(0).max(1);
    let rows = counts.iter().enumerate().map(|(row, count)| {
        let width = (*count as usize * WIDTH).div_ceil(highest as usize);
        format!(
            "  to {:>9} {:<WIDTH$} {count}",
            milliseconds(edge(row + 1) as u64),
            "█".repeat(width)
        )
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn milliseconds(microseconds: u64) -> String {
    match microseconds {
        0..10_000 => format!("{:.1} ms", microseconds as f64 / 1e3),
        10_000..10_000_000 => format!("{} ms", microseconds / 1_000),
        _ => format!("{:.1} s", microseconds as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::Request;

    #[test]
    fn rates_are_those_since_the_last_look() {
        let mut recorder = Recorder::new(Duration::ZERO, None);
        let mut meter = Meter::default();
        for due in 0..20 {
            recorder.due(
                &Request::default(),
                Duration::from_millis(100 * due),
                due != 3,
            );
        }
        let first = meter.line(&recorder, Duration::from_secs(2));
        assert!(
            first.contains("due 10.0/s") && first.contains("in flight 19"),
            "{first}"
        );
        assert!(first.contains("1 shed"), "{first}");
        let second = meter.line(&recorder, Duration::from_secs(4));
        assert!(second.contains("due 0.0/s"), "{second}");
    }

    #[test]
    fn every_latency_is_in_one_row_of_the_histogram() {
        let mut latency = Histogram::new(3).unwrap();
        for value in 1..=2_000_u64 {
            latency.record(value * 37).unwrap();
        }
        let text = bars(&latency);
        let counts = text.lines().map(|line| {
            let count = line.split_whitespace().last().unwrap();
            count.parse::<u64>().unwrap()
        });
        assert_eq!(text.lines().count(), ROWS);
        // Edges are rounded to the histogram's own buckets.
        let sum: u64 = counts.sum();
        assert!((1_980..=2_020).contains(&sum), "{text}");
        assert_eq!(bars(&Histogram::new(3).unwrap()), "");
    }
}
