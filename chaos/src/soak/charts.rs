//! What the samples show, as SVG.

use std::path::Path;

use report::chart::{Axis, Chart, Color, Series, Shape};

use super::{MEBIBYTE, Sample, Samples};

/// Writes a chart for each of memory, descriptors, threads, queues and disk.
pub(super) fn draw(samples: &Samples, folder: &Path) -> std::io::Result<()> {
    let of_services = |value: fn(&Sample) -> f64| {
        let lines = samples.services.iter().map(|(name, of)| {
            (
                (*name).to_owned(),
                of.iter().map(|sample| (sample.at, value(sample))).collect(),
            )
        });
        lines.collect::<Vec<_>>()
    };
    let chart = |title: &str,
                 caption: &str,
                 axis: (&str, &'static str),
                 lines: Vec<(String, Vec<(f64, f64)>)>| {
        let colors = [
            Color::Blue,
            Color::Red,
            Color::Green,
            Color::Purple,
            Color::Orange,
            Color::Sky,
        ];
        let series = lines
            .into_iter()
            .zip(colors)
            .map(|((name, points), color)| Series {
                name,
                points,
                shape: Shape::Line,
                color,
                ..Series::default()
            });
        let named = |name: &str, unit| Axis {
            name: name.to_owned(),
            unit,
            ..Axis::default()
        };
        Chart {
            title: title.to_owned(),
            caption: caption.to_owned(),
            x: named("Time", "s"),
            left: named(axis.0, axis.1),
            series: series.collect(),
            ..Chart::default()
        }
    };
    let each = "Of several workers, the mean.";
    let charts = [
        (
            "memory",
            chart(
                "Resident memory",
                each,
                ("Memory", "MiB"),
                of_services(|it| it.usage.resident_bytes as f64 / MEBIBYTE),
            ),
        ),
        (
            "descriptors",
            chart(
                "Open file descriptors",
                each,
                ("Descriptors", ""),
                of_services(|it| it.usage.descriptors as f64),
            ),
        ),
        (
            "threads",
            chart(
                "Threads",
                each,
                ("Threads", ""),
                of_services(|it| it.usage.threads as f64),
            ),
        ),
        (
            "queues",
            chart(
                "Messages on the queues",
                "Waiting and in work.",
                ("Messages", ""),
                samples.queues.clone().into_iter().collect(),
            ),
        ),
        (
            "disk",
            chart(
                "Disk",
                "Photos, results and logs of the local cloud stay.",
                ("Bytes", ""),
                vec![("all files".to_owned(), samples.disk.clone())],
            ),
        ),
    ];
    for (name, chart) in charts {
        std::fs::write(folder.join(format!("{name}.svg")), chart.svg())?;
    }
    Ok(())
}
