//! The HTML report: one file with tables and charts.

use report::chart::{Axis, Chart, Color, Scale, Series, Shape, Side};
use report::html::Page;

use super::fleet::FleetReport;
use super::summary::{IntervalReport, LoadReport, LoopKind, Percentiles};

/// Returns the page.
#[must_use]
pub fn page(report: &LoadReport) -> String {
    let mut page = Page::new("Load report");
    page.paragraph(&format!("{}, to {}.", report.load, report.target));
    page.paragraph(match report.kind {
        LoopKind::Open => {
            "Latency counts from when a request was due, whether or not the service kept up. The warm-up is left out of all \
             but the charts over time."
        }
        LoopKind::Closed => {
            "Each client sent its next request when its last one had ended. A slow service was asked less, so its users would \
             have found higher latencies."
        }
    });
    verdict(&mut page, report);
    page.heading("Figures");
    page.table(
        "Requests",
        &["requests", "count", "share"],
        &requests(report),
    );
    if let Some(latency) = &report.latency_ms {
        let mut rows = vec![percentiles("latency", latency)];
        if let Some(lag) = &report.generator_lag_ms {
            rows.push(percentiles("of it, sent late by the generator", lag));
        }
        let head = [
            "in ms", "mean", "p50", "p90", "p95", "p99", "p99.9", "p99.99", "max",
        ];
        page.table(
            "Percentiles; one without ten samples beyond it is not claimed",
            &head,
            &rows,
        );
    }
    page.heading("Over time");
    page.charts(&[
        latency_over_time(&report.intervals),
        answers(&report.intervals),
    ]);
    if report.curve.len() > 1 {
        page.heading("Latency by percentile");
        page.chart(&percentile_curve(&report.curve));
    }
    if let Some(fleet) = &report.fleet {
        page.heading("Workers");
        page.paragraph(&format!("{fleet}.").replacen("workers   ", "Workers: ", 1));
        page.charts(&[workers(fleet), cost(fleet)]);
    }
    if !report.by_variant.is_empty() {
        page.heading("Accuracy by kind of photo");
        let head = [
            "kind", "sent", "right", "wrong", "unknown", "refused", "failed", "accuracy",
        ];
        page.table("Right names of the answers", &head, &variants(report));
    }
    if !report.failures.is_empty() {
        page.heading("Failures");
        let rows = report.failures.iter();
        let rows: Vec<_> = rows
            .map(|(reason, count)| vec![reason.clone(), count.to_string()])
            .collect();
        page.table(
            "Requests without a name, by reason",
            &["reason", "count"],
            &rows,
        );
    }
    page.finish()
}

fn verdict(page: &mut Page, report: &LoadReport) {
    if report.is_success() {
        page.paragraph("All requests were sent, and all names were right.");
    } else {
        page.paragraph(&format!("Not all right: {}.", report.problems.join("; ")));
    }
}

fn requests(report: &LoadReport) -> Vec<Vec<String>> {
    let (requests, names) = (&report.requests, &report.names);
    let share = |count: u64| {
        let share = count as f64 * 100.0 / requests.due.max(1) as f64;
        format!("{share:.2} %")
    };
    let row = |name: &str, count: u64| vec![name.to_owned(), count.to_string(), share(count)];
    let rate = |name: &str, rate: Option<f64>| {
        let rate = rate.map_or("-".to_owned(), |rate| format!("{rate:.1} a second"));
        vec![name.to_owned(), rate, String::new()]
    };
    vec![
        row("due", requests.due),
        row("shed by the generator", requests.shed),
        row("answered", requests.answered),
        row("failed", requests.failed),
        row("right names", names.right),
        row("wrong names", names.wrong),
        row("Unknown", names.unknown),
        row("photos refused", names.refused),
        rate("due", report.due_per_s),
        rate("answered", report.answered_per_s),
    ]
}

fn percentiles(name: &str, of: &Percentiles) -> Vec<String> {
    let shown = |value: f64| format!("{value:.2}");
    let claimed = [of.p50, of.p90, of.p95, of.p99, of.p99_9, of.p99_99];
    let claimed = claimed.map(|value| value.map_or("-".to_owned(), shown));
    let mut row = vec![name.to_owned(), shown(of.mean)];
    row.extend(claimed);
    row.push(shown(of.max));
    row
}

fn variants(report: &LoadReport) -> Vec<Vec<String>> {
    let rows = report.by_variant.iter();
    rows.map(|row| {
        let names = &row.names;
        let counts = [
            row.sent,
            names.right,
            names.wrong,
            names.unknown,
            names.refused,
            row.failed,
        ];
        let accuracy = row
            .accuracy
            .map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0));
        let counts = counts.iter().map(u64::to_string);
        std::iter::once(row.variant.clone())
            .chain(counts)
            .chain([accuracy])
            .collect()
    })
    .collect()
}

fn axis(name: &str, unit: &'static str, scale: Scale) -> Axis {
    Axis {
        name: name.to_owned(),
        unit,
        scale,
        limits: None,
    }
}

fn line(name: &str, color: Color, points: Vec<(f64, f64)>) -> Series {
    Series {
        name: name.to_owned(),
        points,
        shape: Shape::Line,
        side: Side::Left,
        color,
    }
}

fn latency_over_time(intervals: &[IntervalReport]) -> Chart {
    let points = |value: fn(&IntervalReport) -> Option<f64>| {
        let seconds = |it: &IntervalReport| value(it).map_or(f64::NAN, |value| value / 1e3);
        intervals.iter().map(|it| (it.at_s, seconds(it))).collect()
    };
    Chart {
        title: "Latency over time".to_owned(),
        caption: "By when requests were due: a pause of the service shows as a slope that ends when it resumes.".to_owned(),
        x: axis("time since the first request", "s", Scale::Linear),
        left: axis("latency", "s", Scale::Logarithmic),
        series: vec![
            line("longest", Color::Gray, points(|it| it.max_ms)),
            line("99th percentile", Color::Red, points(|it| it.p99_ms)),
            line("median", Color::Blue, points(|it| it.p50_ms)),
        ],
        ..Chart::default()
    }
}

fn answers(intervals: &[IntervalReport]) -> Chart {
    let points = |value: fn(&IntervalReport) -> u64| {
        let rate = |it: &IntervalReport| value(it) as f64 / it.length_s;
        intervals.iter().map(|it| (it.at_s, rate(it))).collect()
    };
    let steps = |name: &str, color, points| Series {
        shape: Shape::Steps,
        ..line(name, color, points)
    };
    let mut series = vec![
        steps("due", Color::Gray, points(|it| it.due)),
        steps("answered", Color::Blue, points(|it| it.answered)),
        steps("failed", Color::Red, points(|it| it.failed)),
    ];
    if intervals.iter().any(|it| it.shed > 0) {
        series.push(steps(
            "shed by the generator",
            Color::Orange,
            points(|it| it.shed),
        ));
    }
    Chart {
        title: "Requests, answers and errors".to_owned(),
        caption: "Answers and errors by when they came. Where fewer are answered than due, requests wait.".to_owned(),
        x: axis("time since the first request", "s", Scale::Linear),
        left: axis("requests a second", "1/s", Scale::Linear),
        series,
        ..Chart::default()
    }
}

fn percentile_curve(curve: &[(f64, f64)]) -> Chart {
    let points = curve.iter().map(|(percentile, ms)| (*percentile, ms / 1e3));
    Chart {
        title: "Latency by percentile".to_owned(),
        caption: "So many of the answers took at most so long. It ends where less than ten answers are beyond.".to_owned(),
        x: axis("percentile", "%", Scale::Nines),
        left: axis("latency", "s", Scale::Linear),
        series: vec![line("latency", Color::Blue, points.collect())],
        ..Chart::default()
    }
}

fn workers(fleet: &FleetReport) -> Chart {
    let points = |value: fn(&super::fleet::FleetPoint) -> f64| {
        fleet.points.iter().map(|it| (it.at_s, value(it))).collect()
    };
    let steps = |name: &str, color, points| Series {
        shape: Shape::Steps,
        ..line(name, color, points)
    };
    let demand = points(|it| it.unanswered.map_or(f64::NAN, |count| count as f64));
    Chart {
        title: "Workers beside demand".to_owned(),
        caption:
            "Requests without an answer, and the workers that the scaler wanted and had for them."
                .to_owned(),
        x: axis("time since the first request", "s", Scale::Linear),
        left: axis("workers", "", Scale::Linear),
        right: Some(axis("unanswered requests", "", Scale::Linear)),
        series: vec![
            Series {
                shape: Shape::Area,
                side: Side::Right,
                ..line("unanswered requests", Color::Sky, demand)
            },
            steps("wanted", Color::Orange, points(|it| f64::from(it.wanted))),
            steps("ready", Color::Blue, points(|it| it.running as f64)),
            steps("booting", Color::Gray, points(|it| it.booting as f64)),
        ],
        ..Chart::default()
    }
}

fn cost(fleet: &FleetReport) -> Chart {
    let before = fleet.points.first().map_or(0.0, |it| it.spent);
    let points = fleet.points.iter().map(|it| (it.at_s, it.spent - before));
    Chart {
        title: "Cost".to_owned(),
        caption: "What the workers have cost since the first request, by the scaler's count and its price of an hour.".to_owned(),
        x: axis("time since the first request", "s", Scale::Linear),
        left: axis("cost", "$", Scale::Linear),
        series: vec![Series {
            shape: Shape::Steps,
            ..line("spent", Color::Purple, points.collect())
        }],
        ..Chart::default()
    }
}
