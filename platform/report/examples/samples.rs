//! Writes one chart of each kind, to be looked at: `cargo run --release -p report --example samples -- FOLDER`.

use std::path::PathBuf;

use report::chart::{Axis, Chart, Color, Reference, Scale, Series, Shape, Side, columns};
use report::html::Page;

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()));
    let charts = [
        fleet(),
        percentiles(),
        histogram(),
        scatter(),
        empty(),
        long(),
    ];
    let names = [
        "fleet",
        "percentiles",
        "histogram",
        "scatter",
        "empty",
        "long",
    ];
    let mut page = Page::new("Samples of charts & tables");
    page.paragraph("Each kind of chart, with data that was made up.");
    for (name, chart) in names.iter().zip(&charts) {
        std::fs::write(folder.join(format!("{name}.svg")), chart.svg())?;
        page.heading(name).chart(chart);
    }
    let text = "A demand of 21 requests a second on average, and what it makes of the fleet.";
    let few = [fleet(), fleet(), fleet()];
    let sheet = columns("Three times the same fleet", text, &few, 2);
    std::fs::write(folder.join("columns.svg"), sheet)?;
    page.heading("in columns").charts(&few);
    let rows = [("latency", "0.9 s", "12"), ("keep <all>", "1.2 s", "7")];
    let rows =
        rows.map(|(name, time, count)| vec![name.to_owned(), time.to_owned(), count.to_owned()]);
    page.heading("table").table(
        "Figures of two policies",
        &["policy", "p95", "starts"],
        &rows,
    );
    page.preformatted("first answer   0.35 s\nlast answer  12.9 s");
    std::fs::write(folder.join("page.html"), page.finish())
}

fn axis(name: &str, unit: &'static str, scale: Scale) -> Axis {
    Axis {
        name: name.to_owned(),
        unit,
        scale,
        limits: None,
    }
}

fn series(name: &str, shape: Shape, color: Color, value: impl Fn(f64) -> f64) -> Series {
    Series {
        name: name.to_owned(),
        points: (0..20_000)
            .map(|at| f64::from(at) / 11.0)
            .map(|at| (at, value(at)))
            .collect(),
        shape,
        color,
        side: Side::Left,
    }
}

fn noise(at: f64) -> f64 {
    (at / 13.0).sin() * (at / 7.0).cos() * (at / 3.1).sin()
}

fn fleet() -> Chart {
    let demand = |at: f64| 5.0 + 5.0 * (at / 230.0).sin() + 1.5 * noise(at).abs();
    let latency = Series {
        side: Side::Right,
        ..series(
            "95th percentile of latency",
            Shape::Line,
            Color::Red,
            |at| {
                if (700.0..800.0).contains(&at) {
                    f64::NAN
                } else {
                    0.4 + (demand(at - 40.0) / 9.0).powi(3) + 0.2 * noise(at)
                }
            },
        )
    };
    Chart {
        title: "Workers follow the demand".to_owned(),
        caption: "The policy keeps a worker for five minutes after its last request: cost 2.1 times the optimum, p95 0.9 s. \
                  It starts workers one boot time before they are needed."
            .to_owned(),
        x: axis("Time since the start", "s", Scale::Linear),
        left: axis("Workers", "", Scale::Linear),
        right: Some(axis("Latency", "s", Scale::Logarithmic)),
        series: vec![
            series("demand", Shape::Area, Color::Gray, demand),
            series("running", Shape::Steps, Color::Blue, |at| (demand(at + 20.0) + 1.0).ceil()),
            latency,
        ],
        lines: vec![Reference { name: "target 2 s".to_owned(), value: 2.0, side: Side::Right }],
    }
}

fn percentiles() -> Chart {
    let curve = |name: &str, color, slope: f64| Series {
        name: name.to_owned(),
        points: (0..=500)
            .map(|at| 5.0 * f64::from(at) / 500.0)
            .map(|nines| (100.0 - 10_f64.powf(2.0 - nines), 0.02 * slope.powf(nines)))
            .collect(),
        color,
        ..Series::default()
    };
    Chart {
        title: "Latency by percentile".to_owned(),
        caption: "One request in a thousand waits longer than 0.5 s.".to_owned(),
        x: axis("Percentile", "%", Scale::Nines),
        left: axis("Latency", "s", Scale::Linear),
        series: vec![
            curve("HTTP", Color::Blue, 3.1),
            curve("gRPC", Color::Green, 2.9),
            curve("before", Color::Orange, 2.5),
        ],
        lines: vec![
            Reference {
                name: "limit 5 s".to_owned(),
                value: 5.0,
                side: Side::Left,
            },
            Reference {
                name: "target 2 s".to_owned(),
                value: 2.0,
                side: Side::Left,
            },
            Reference {
                name: "S0: 0.96 s".to_owned(),
                value: 0.96,
                side: Side::Left,
            },
            Reference {
                name: "also: 0.9 s".to_owned(),
                value: 0.9,
                side: Side::Left,
            },
        ],
        ..Chart::default()
    }
}

fn histogram() -> Chart {
    let bars = |name: &str, color, middle: f64| Series {
        name: name.to_owned(),
        points: (0..14)
            .map(|at| {
                (
                    f64::from(at) * 0.05,
                    (22_500.0 * (-(f64::from(at) - middle).powi(2) / 9.0).exp()).round(),
                )
            })
            .collect(),
        shape: Shape::Bars,
        color,
        side: Side::Left,
    };
    Chart {
        title: "How long requests took".to_owned(),
        caption: String::new(),
        x: axis("Latency", "s", Scale::Linear),
        left: axis("Requests", "", Scale::Linear),
        series: vec![
            bars("warm", Color::Sky, 4.0),
            bars("cold", Color::Purple, 7.0),
        ],
        ..Chart::default()
    }
}

fn scatter() -> Chart {
    let dots = |name: &str, color, cost: f64| Series {
        name: name.to_owned(),
        points: (1..25)
            .map(|at| {
                (
                    f64::from(at) * 3.0 + 20.0 * noise(cost + f64::from(at)),
                    cost * 10_f64.powf(noise(f64::from(at) * cost)),
                )
            })
            .collect(),
        shape: Shape::Dots,
        color,
        side: Side::Left,
    };
    Chart {
        title: "Cost and size of photos".to_owned(),
        caption: "Dots differ in form as well.".to_owned(),
        x: axis("Size", "kB", Scale::Linear),
        left: axis("Cost", "$", Scale::Logarithmic),
        series: vec![
            dots("small", Color::Blue, 0.01),
            dots("medium", Color::Red, 0.1),
            dots("large", Color::Green, 0.3),
            dots("huge", Color::Purple, 1.0),
        ],
        ..Chart::default()
    }
}

fn empty() -> Chart {
    Chart {
        title: "Nothing was measured".to_owned(),
        x: axis("Time", "s", Scale::Linear),
        left: axis("Workers", "", Scale::Linear),
        series: vec![Series {
            name: "running".to_owned(),
            ..Series::default()
        }],
        ..Chart::default()
    }
}

fn long() -> Chart {
    let word = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenverleihungsurkundenausstellungsbehörde";
    let mut chart = fleet();
    chart.title = format!(
        "A title that is far too long for one line and goes on & on with <tags> and a word like {word}"
    );
    chart.caption = chart.caption.repeat(4);
    chart.left.name = format!("Workers that run, boot, stop or wait for an order, of {word}");
    chart.lines[0].name = format!("a target that somebody described at length: {word}");
    chart.series[0].name = format!("demand of all clients in workers, as {word} counts it");
    chart
}
