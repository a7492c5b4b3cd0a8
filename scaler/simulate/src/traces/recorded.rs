//! Traces that were recorded.

use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::Trace;
use crate::Micros;

/// Later times would overflow the simulation's clock.
const LATEST: f64 = 100.0 * 86_400.0;
/// A front reports arrivals within this many seconds.
const REPORTED_WITHIN: f64 = 0.05;
/// A scaler decides at least once a second. After a longer gap readings are missing, and the arrivals are spread over it.
const LONGEST_SILENCE: f64 = 1.5;
/// Rates over periods of this many seconds are compared to count the load steps of a recorded trace.
const PERIOD: f64 = 60.0;

impl Trace {
    /// Reads a file as [`Trace::parse`] does a text.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is not a time; the message names the file and the line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the trace {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text).with_context(|| format!("in the trace {}", path.display()))
    }

    /// Reads a text with one arrival a line, in seconds, in any order. The first arrival is the beginning. The first line may
    /// be a header; further columns are ignored.
    ///
    /// # Errors
    /// When a line is not a time; the message names the line.
    pub fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let mut times = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let field = line.split(',').next().unwrap_or_default().trim();
            if field.is_empty() {
                continue;
            }
            match field.parse::<f64>() {
                Ok(time) if time.is_finite() => times.push(time),
                Ok(_) => bail!("line {}: {field} is not a time in seconds", index + 1),
                // A header can only come first.
                Err(_) if index == 0 => {}
                Err(_) => bail!("line {}: {field:?} is not a time in seconds", index + 1),
            }
        }
        of_times(name, times)
    }

    /// Returns the trace of a counter of accepted requests: readings of seconds and total, in order. A total that falls is
    /// that of a counter that began again.
    ///
    /// # Errors
    /// When the counter never rose.
    pub fn counted(name: &str, readings: &[(f64, u64)]) -> anyhow::Result<Self> {
        let mut times = Vec::new();
        for pair in readings.windows(2) {
            let ((before_at, before), (at, total)) = (pair[0], pair[1]);
            let arrived = total.checked_sub(before).unwrap_or(total);
            let gap = (at - before_at).max(0.0);
            let within = if gap > LONGEST_SILENCE {
                gap
            } else {
                gap.min(REPORTED_WITHIN)
            };
            times.extend((0..arrived).map(|index| at - within * index as f64 / arrived as f64));
        }
        of_times(name, times)
    }

    /// Returns the part before this share of the length, and the rest.
    #[must_use]
    pub fn split(&self, seed: u64, share: f64) -> [Self; 2] {
        let at = self.length * share;
        let from = (at * 1e6) as Micros;
        let (before, after): (Vec<_>, Vec<_>) = self.arrivals(seed).partition(|it| *it < from);
        let after = after.into_iter().map(|it| it - from).collect();
        let part = |arrivals: Vec<Micros>, length| {
            let load_steps = load_steps(&arrivals, length);
            Self::given(&self.name, arrivals, length, load_steps)
        };
        [part(before, at), part(after, self.length - at)]
    }
}

/// Returns a trace of arrivals in any order, in seconds. The first one is the beginning.
fn of_times(name: &str, mut times: Vec<f64>) -> anyhow::Result<Trace> {
    times.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        bail!("it holds no arrivals");
    };
    let (first, length) = (*first, last - first);
    ensure!(
        length <= LATEST,
        "it is longer than {} days",
        LATEST / 86_400.0
    );
    let arrivals: Vec<_> = times
        .iter()
        .map(|time| ((time - first) * 1e6) as Micros)
        .collect();
    let load_steps = load_steps(&arrivals, length);
    Ok(Trace::given(name, arrivals, length + 1.0, load_steps))
}

/// Counts how often the rate of a minute differs from that of the minute before by more than half of the larger one.
fn load_steps(arrivals: &[Micros], length: f64) -> u64 {
    let mut counts = vec![0_u64; (length / PERIOD) as usize + 1];
    for arrival in arrivals {
        counts[(*arrival as f64 / 1e6 / PERIOD) as usize] += 1;
    }
    let differs = |pair: &&[u64]| 2 * pair[0].abs_diff(pair[1]) > pair[0].max(pair[1]);
    counts.windows(2).filter(differs).count() as u64
}
