//! Demand, workers and latency over time: a chart for each policy on a trace, as SVG and as an HTML page.

use report::chart::{Axis, Chart, Color, Reference, Scale, Series, Shape, Side, columns};
use report::html::Page;

use crate::report::{COLUMNS, row};
use crate::words;
use crate::{Comparison, Run, Sample};

/// Into how many parts of the time demand and latency are merged: a chart in two columns is 300 pixels wide.
const PARTS: usize = 120;
/// How much is shown after the end of a trace at most: as long as `keda` keeps its last workers, and a little more.
const AFTERWARDS: f64 = 330.0;

/// Returns an SVG document with a chart for each policy, in two columns.
#[must_use]
pub fn svg(comparisons: &[Comparison]) -> String {
    if let [compared] = comparisons {
        let title = format!("Trace {}", compared.trace.name);
        let text = format!("{} {}", words::trace(compared), words::HOW_TO_READ);
        return columns(&title, &text, &charts(compared), 2);
    }
    let mut all = Vec::new();
    for compared in comparisons {
        all.extend(charts(compared).into_iter().map(|chart| Chart {
            title: format!("{}: {}", compared.trace.name, chart.title),
            ..chart
        }));
    }
    columns("Policies compared", words::HOW_TO_READ, &all, 2)
}

/// Returns an HTML page with the charts and the figures of each trace.
#[must_use]
pub fn page(comparisons: &[Comparison]) -> String {
    let mut page = Page::new("Scaling policies compared");
    page.paragraph(words::HOW_TO_READ);
    for compared in comparisons {
        let rows: Vec<_> = compared.runs.iter().map(|run| row(compared, run)).collect();
        page.heading(&format!("Trace {}", compared.trace.name))
            .paragraph(&words::trace(compared))
            .charts(&charts(compared))
            .table(&words::figures(compared), &COLUMNS, &rows);
    }
    page.finish()
}

/// Returns a chart for each policy, all with the same axes.
fn charts(compared: &Comparison) -> Vec<Chart> {
    let samples = || compared.runs.iter().flat_map(|run| &run.outcome.samples);
    let end = samples().map(|it| it.at).fold(1.0, f64::max);
    let end = end.min(compared.trace.length + AFTERWARDS);
    let runs = compared.runs.iter();
    let all: Vec<_> = runs.map(|run| series(compared, run, end)).collect();
    let on_the_left = all.iter().flatten().filter(|it| it.side == Side::Left);
    let workers = on_the_left.flat_map(|it| it.points.iter().map(|point| point.1));
    let workers = workers.fold(1.0, f64::max);
    let slowest = samples().filter_map(|it| it.latency).fold(1.0, f64::max);
    let axis = |name: &str, unit, limits| Axis {
        name: name.to_owned(),
        unit,
        limits: Some(limits),
        ..Axis::default()
    };
    let x = axis("Time", "s", (0.0, end));
    let left = axis("Workers", "", (0.0, (workers / 5.0).ceil() * 5.0));
    let right = Axis {
        scale: Scale::Logarithmic,
        ..axis(
            "Latency",
            "s",
            (0.1, 10_f64.powf(slowest.log10().ceil().max(1.0))),
        )
    };
    let chart = |(run, series): (&Run, Vec<Series>)| Chart {
        title: run.policy.name().to_owned(),
        caption: words::run(compared, run),
        x: x.clone(),
        left: left.clone(),
        right: Some(right.clone()),
        series,
        lines: vec![target(compared)],
    };
    compared.runs.iter().zip(all).map(chart).collect()
}

fn series(compared: &Comparison, run: &Run, end: f64) -> Vec<Series> {
    let samples: Vec<_> = run
        .outcome
        .samples
        .iter()
        .filter(|it| it.at <= end)
        .collect();
    // Parts begin at the same times under every policy.
    let part_of = |it: &&Sample| (it.at / end * PARTS as f64) as usize;
    let (mut demanded, mut latencies) = (Vec::new(), Vec::new());
    for part in samples.chunk_by(|before, after| part_of(before) == part_of(after)) {
        let at = part.iter().map(|it| it.at).sum::<f64>() / part.len() as f64;
        let sum: f64 = part.iter().map(|it| demand(compared, it)).sum();
        demanded.push((at, sum / part.len() as f64));
        let replies = part.iter().filter_map(|it| it.latency);
        latencies.push((at, replies.fold(f64::NAN, f64::max)));
    }
    let up = samples.iter().map(|it| (it.at, f64::from(it.up)));
    let mut up: Vec<_> = up.collect();
    if let Some(gone) = words::gone_at(run).filter(|at| *at < end) {
        up.extend([(gone, 0.0), (end, 0.0)]);
    }
    let of = |name: &str, points, shape, color, side| Series {
        name: name.to_owned(),
        points,
        shape,
        color,
        side,
    };
    vec![
        of(
            "demand: workers that it keeps busy",
            demanded,
            Shape::Area,
            Color::Gray,
            Side::Left,
        ),
        of(
            "workers that are up",
            up,
            Shape::Steps,
            Color::Blue,
            Side::Left,
        ),
        of(
            "95th percentile of latency",
            latencies,
            Shape::Line,
            Color::Red,
            Side::Right,
        ),
    ]
}

fn demand(compared: &Comparison, sample: &Sample) -> f64 {
    sample.arrivals * compared.scenario.service.0
}

fn target(compared: &Comparison) -> Reference {
    let value = compared.scenario.policy.targets.latency.as_secs_f64();
    Reference {
        name: format!("target {value} s"),
        value,
        side: Side::Right,
    }
}
