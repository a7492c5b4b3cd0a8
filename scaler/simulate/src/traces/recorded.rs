//! Traces from files.

use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::Trace;
use crate::Micros;

/// Later times would overflow the simulation's clock.
const LATEST: f64 = 100.0 * 86_400.0;
/// Rates over periods of this many seconds are compared to count the load steps of a recorded trace.
const PERIOD: f64 = 60.0;

impl Trace {
    /// Reads one arrival a line, in seconds, in any order. The first arrival is the beginning. The first line may be a header;
    /// further columns are ignored.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is not a time; the message names the line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the trace {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        parse(&name, &text).with_context(|| format!("in the trace {}", path.display()))
    }
}

pub fn parse(name: &str, text: &str) -> anyhow::Result<Trace> {
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
