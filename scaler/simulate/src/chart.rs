//! Demand, machines and latency over time, as SVG: a row for each trace, a panel for each policy.

use std::fmt::Write;

use crate::{Comparison, Run, Sample};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 250.0;
/// Around what is drawn in a panel.
const LEFT: f64 = 44.0;
const RIGHT: f64 = 44.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 28.0;

const STYLE: &str = "text{font:11px sans-serif;fill:#333}.title{font-weight:bold}.right{text-anchor:end}\
.frame{fill:none;stroke:#bbb}.demand{fill:#dbe7f5;stroke:none}.busy{fill:none;stroke:#8fb3de}\
.up{fill:none;stroke:#1f4e8c;stroke-width:1.5}.latency{fill:none;stroke:#c8501e}.target{stroke:#c8501e;stroke-dasharray:3 3}";

/// Returns an SVG document.
#[must_use]
pub fn svg(comparisons: &[Comparison]) -> String {
    let columns = comparisons
        .iter()
        .map(|compared| compared.runs.len())
        .max()
        .unwrap_or(0);
    let (width, height) = (
        WIDTH * columns as f64,
        HEIGHT * comparisons.len() as f64 + 24.0,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\
         <style>{STYLE}</style><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"16\">left: arrivals in workers (area), instances up (dark) and busy (light); \
         right, logarithmic: 95th percentile of latency, and its target (dashed)</text>\n"
    );
    for (row, compared) in comparisons.iter().enumerate() {
        for (column, run) in compared.runs.iter().enumerate() {
            let (x, y) = (WIDTH * column as f64, HEIGHT * row as f64 + 24.0);
            let _ = write!(svg, "<g transform=\"translate({x} {y})\">");
            panel(&mut svg, compared, run);
            svg += "</g>\n";
        }
    }
    svg += "</svg>\n";
    svg
}

/// From values to coordinates within a panel.
struct Scale {
    seconds: f64,
    workers: f64,
    /// Least and most, in seconds.
    latency: (f64, f64),
}

fn panel(svg: &mut String, compared: &Comparison, run: &Run) {
    let samples = &run.outcome.samples;
    let service = compared.scenario.service.0;
    let demand = |sample: &Sample| sample.arrivals * service;
    let scale = Scale::of(samples, demand);
    let target = compared.scenario.policy.goal.latency.as_secs_f64();
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let _ = write!(
        svg,
        "<text class=\"title\" x=\"{LEFT}\" y=\"20\">{}: {}</text>",
        escaped(&compared.trace.name),
        run.policy.name()
    );
    let area = line(
        samples
            .iter()
            .map(|it| (scale.x(it.at), scale.y(demand(it)))),
    );
    let _ = write!(
        svg,
        "<path class=\"demand\" d=\"M{LEFT} {bottom}L{area}L{} {bottom}Z\"/>",
        scale.x(scale.seconds)
    );
    for (class, count) in [
        ("busy", (|it| it.busy) as fn(&Sample) -> u32),
        ("up", |it| it.up),
    ] {
        let points = samples
            .iter()
            .map(|it| (scale.x(it.at), scale.y(f64::from(count(it)))));
        let _ = write!(svg, "<path class=\"{class}\" d=\"M{}\"/>", line(points));
    }
    let answered = samples.iter().filter_map(|it| Some((it.at, it.latency?)));
    let points: Vec<_> = answered
        .map(|(at, latency)| (scale.x(at), scale.latency(latency)))
        .collect();
    if !points.is_empty() {
        let _ = write!(
            svg,
            "<path class=\"latency\" d=\"M{}\"/>",
            line(points.into_iter())
        );
    }
    let y = scale.latency(target);
    let _ = write!(
        svg,
        "<line class=\"target\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
    );
    axes(svg, &scale, right, bottom);
}

fn axes(svg: &mut String, scale: &Scale, right: f64, bottom: f64) {
    let (width, height) = (right - LEFT, bottom - TOP);
    let _ = write!(
        svg,
        "<rect class=\"frame\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{width}\" height=\"{height}\"/>"
    );
    for part in 0..=2 {
        let workers = scale.workers * f64::from(part) / 2.0;
        let y = scale.y(workers) + 4.0;
        let _ = write!(
            svg,
            "<text class=\"right\" x=\"{}\" y=\"{y:.1}\">{workers:.0}</text>",
            LEFT - 5.0
        );
        let seconds = scale.seconds * f64::from(part) / 2.0;
        let anchor = ["start", "middle", "end"][part as usize];
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" style=\"text-anchor:{anchor}\">{seconds:.0} s</text>",
            scale.x(seconds),
            bottom + 16.0
        );
    }
    let mut latency = scale.latency.0;
    while latency <= scale.latency.1 * 1.001 {
        let y = scale.latency(latency) + 4.0;
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{y:.1}\">{latency} s</text>",
            right + 5.0
        );
        latency *= 10.0;
    }
}

impl Scale {
    fn of(samples: &[Sample], demand: impl Fn(&Sample) -> f64) -> Self {
        let workers = samples
            .iter()
            .map(|it| f64::from(it.up).max(demand(it)))
            .fold(1.0, f64::max);
        let latencies = samples.iter().filter_map(|it| it.latency);
        let most = latencies.fold(1.0, f64::max);
        Self {
            seconds: samples.last().map_or(1.0, |last| last.at.max(1.0)),
            workers: (workers / 2.0).ceil() * 2.0,
            latency: (0.1, 10_f64.powf(most.log10().ceil())),
        }
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * seconds / self.seconds
    }

    fn y(&self, workers: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * workers / self.workers
    }

    fn latency(&self, seconds: f64) -> f64 {
        let (least, most) = self.latency;
        let share = (seconds / least).ln() / (most / least).ln();
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share.clamp(0.0, 1.0)
    }
}

/// Returns points as the rest of a path that begins with a move or a line.
fn line(points: impl Iterator<Item = (f64, f64)>) -> String {
    let points: Vec<_> = points.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
    points.join("L")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
