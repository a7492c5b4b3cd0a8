//! The HTML report of a graded run.

use report::chart::{Axis, Chart, Color, Reference, Series, Shape, Side};
use report::html::Page;

use super::graded::{Graded, mark, number, score};
use super::points::Sample;
use super::rubric::{CaseCheck, Rubric};

/// Returns the page: the points, three charts, and the samples that the points are by.
#[must_use]
pub fn page(rubric: &Rubric, graded: &Graded) -> String {
    let points = &graded.points;
    let mut page = Page::new(&format!(
        "{} of {} points",
        number(points.total),
        number(points.of)
    ));
    let name = format!("{} {}", graded.first_name, graded.last_name);
    page.paragraph(format!("{} (prefix {})", name.trim(), graded.id).trim());
    page.paragraph(&rubric.title);
    if let Some(why) = &points.not_graded {
        page.paragraph(&format!("Not graded: {why}"));
        return page.finish();
    }
    let rows: Vec<Vec<String>> = points
        .deductions
        .iter()
        .chain(&points.cases)
        .map(|line| {
            let mark = mark(line).to_owned();
            vec![line.check.clone(), score(line), mark, line.comment.clone()]
        })
        .collect();
    page.heading("Points");
    page.table(
        "Deductions before the run, then what the run earned",
        &["check", "points", "", "what was seen"],
        &rows,
    );
    page.heading("The run");
    page.preformatted(&graded.summary.to_string());
    page.chart(&workers(rubric, graded));
    page.chart(&queues(graded));
    page.chart(&latency(graded));
    page.heading("Samples");
    page.paragraph(
        "The points for scaling and queues are by these samples alone. The charts have more.",
    );
    let rows: Vec<_> = graded.samples.iter().map(cells).collect();
    let head = [
        "time s",
        "requests queued",
        "replies queued",
        "workers running",
        "photos in-bucket",
        "results out-bucket",
    ];
    page.table("In the rhythm of the rubric", &head, &rows);
    page.finish()
}

fn cells(sample: &Sample) -> Vec<String> {
    let Sample {
        t_s,
        requests,
        replies,
        running,
        photos,
        results,
    } = sample;
    let counts = [*requests, *replies, *running as u64, *photos, *results];
    std::iter::once(format!("{t_s:.1}"))
        .chain(counts.map(|count| count.to_string()))
        .collect()
}

/// The axis of all charts, so that they can be compared.
fn time(graded: &Graded) -> Axis {
    Axis {
        name: "time".to_owned(),
        unit: "s",
        limits: graded.dense.last().map(|sample| (0.0, sample.t_s)),
        ..Axis::default()
    }
}

fn axis(name: &str) -> Axis {
    Axis {
        name: name.to_owned(),
        ..Axis::default()
    }
}

fn over_time(samples: &[Sample], pick: fn(&Sample) -> u64) -> Vec<(f64, f64)> {
    samples
        .iter()
        .map(|sample| (sample.t_s, pick(sample) as f64))
        .collect()
}

fn workers(rubric: &Rubric, graded: &Graded) -> Chart {
    let wanted = rubric
        .case(CaseCheck::ScaleOut)
        .and_then(|case| case.workers);
    let lines = wanted.map(|workers| Reference {
        name: format!("{workers} workers"),
        value: workers as f64,
        side: Side::Left,
    });
    Chart {
        title: "Workers and demand".to_owned(),
        caption: "Requests wait for an answer until workers have started. Then all workers run, and stop when no request is left.".to_owned(),
        x: time(graded),
        left: axis("workers"),
        right: Some(axis("requests")),
        series: vec![
            Series {
                name: "unanswered requests".to_owned(),
                points: unanswered(graded),
                shape: Shape::Area,
                side: Side::Right,
                color: Color::Sky,
            },
            Series {
                name: "workers running".to_owned(),
                points: over_time(&graded.dense, |sample| sample.running as u64),
                shape: Shape::Steps,
                side: Side::Left,
                color: Color::Blue,
            },
            Series {
                name: "samples that count".to_owned(),
                points: over_time(&graded.samples, |sample| sample.running as u64),
                shape: Shape::Dots,
                side: Side::Left,
                color: Color::Red,
            },
        ],
        lines: lines.into_iter().collect(),
    }
}

/// The number of requests that were sent and not yet answered, at each change.
fn unanswered(graded: &Graded) -> Vec<(f64, f64)> {
    let mut changes: Vec<(f64, f64)> = Vec::new();
    for record in &graded.records {
        changes.push((record.sent_at.as_secs_f64(), 1.0));
        changes.push((record.ended_at.as_secs_f64(), -1.0));
    }
    changes.sort_by(|one, other| one.0.total_cmp(&other.0));
    let end = graded.dense.last().map(|sample| sample.t_s);
    let mut count = 0.0;
    let mut points = vec![(0.0, 0.0)];
    for (time, change) in changes {
        // A step: the number holds until the change.
        points.push((time, count));
        count += change;
        points.push((time, count));
    }
    points.extend(end.map(|end| (end, count)));
    points
}

fn queues(graded: &Graded) -> Chart {
    Chart {
        title: "Messages that wait".to_owned(),
        caption: "Messages that a worker has received do not wait, so the request queue shows the requests that no worker has taken yet.".to_owned(),
        x: time(graded),
        left: axis("messages"),
        right: None,
        series: vec![
            Series {
                name: "request queue".to_owned(),
                points: over_time(&graded.dense, |sample| sample.requests),
                shape: Shape::Steps,
                side: Side::Left,
                color: Color::Blue,
            },
            Series {
                name: "reply queue".to_owned(),
                points: over_time(&graded.dense, |sample| sample.replies),
                shape: Shape::Steps,
                side: Side::Left,
                color: Color::Orange,
            },
        ],
        lines: Vec::new(),
    }
}

fn latency(graded: &Graded) -> Chart {
    let answered = graded.records.iter().filter(|record| record.is_answered());
    let points = answered.map(|record| {
        let took = record.ended_at.saturating_sub(record.sent_at);
        (record.ended_at.as_secs_f64(), took.as_secs_f64())
    });
    let mut points: Vec<_> = points.collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    Chart {
        title: "Latency of each request".to_owned(),
        caption: "One dot for each answer, at the time when it came. Requests that are sent together wait for each other, so later answers took longer.".to_owned(),
        x: time(graded),
        left: Axis { name: "latency".to_owned(), unit: "s", ..Axis::default() },
        right: None,
        series: vec![Series {
            name: "answers".to_owned(),
            points,
            shape: Shape::Dots,
            side: Side::Left,
            color: Color::Blue,
        }],
        lines: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::points::Points;
    use super::super::rubric::DEFAULT;
    use super::super::{Outcome, Record, Summary};
    use super::*;

    #[test]
    fn the_page_shows_points_charts_and_samples_and_no_markup_of_others() {
        let rubric = Rubric::parse(DEFAULT).unwrap();
        let record = |sent: u64, ended: u64| Record {
            file_name: "a.jpg".into(),
            sent_at: Duration::from_millis(sent),
            ended_at: Duration::from_millis(ended),
            retries: 0,
            outcome: Outcome::Wrong("got <script>alert(1)</script>".into()),
        };
        let student = ("17".to_owned(), "<b>".to_owned(), "Doe".to_owned());
        let mut graded = Graded::without_run(student, Points::none(&rubric, "<i>why</i>"));
        let without_run = page(&rubric, &graded);
        assert!(without_run.contains("Not graded: &lt;i&gt;why") && !without_run.contains("<svg"));
        graded.points.not_graded = None;
        graded.records = vec![record(100, 900), record(200, 400)];
        graded.summary = Summary::of(&graded.records);
        let sample = |t_s, running| Sample {
            t_s,
            requests: 7,
            replies: 0,
            running,
            photos: 0,
            results: 0,
        };
        graded.samples = vec![sample(0.0, 0), sample(2.0, 15)];
        graded.dense = graded.samples.clone();
        let html = page(&rubric, &graded);
        assert_eq!(html.matches("<figure>").count(), 3);
        assert!(html.contains("0 of 100 points") && html.contains("17"));
        for markup in ["<script", "<b>", "<i>"] {
            assert!(!html.contains(markup), "{markup}");
        }
        assert_eq!(
            unanswered(&graded),
            [
                (0.0, 0.0),
                (0.1, 0.0),
                (0.1, 1.0),
                (0.2, 1.0),
                (0.2, 2.0),
                (0.4, 2.0),
                (0.4, 1.0),
                (0.9, 1.0),
                (0.9, 0.0),
                (2.0, 0.0)
            ]
        );
    }
}
