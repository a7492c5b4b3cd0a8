use quick_xml::events::Event;
use quick_xml::{Reader, XmlVersion};

use super::axis::Ruler;
use super::text::{SIZE, width};
use super::*;

fn axis(unit: &'static str, scale: Scale) -> Axis {
    Axis {
        name: "Axis".to_owned(),
        unit,
        scale,
        limits: None,
    }
}

fn ticks(axis: &Axis, values: &[f64], most: usize) -> Vec<String> {
    let ruler = Ruler::new(axis, values.iter().copied(), true, most);
    ruler.ticks.into_iter().map(|tick| tick.text).collect()
}

fn line(points: Vec<(f64, f64)>) -> Chart {
    Chart {
        title: "Title".to_owned(),
        x: axis("s", Scale::Linear),
        left: axis("", Scale::Linear),
        series: vec![Series {
            name: "values".to_owned(),
            points,
            ..Series::default()
        }],
        ..Chart::default()
    }
}

/// A text element: class, place and content.
struct Text {
    class: String,
    x: f64,
    y: f64,
    content: String,
}

/// Reads a document with an XML reader; returns its texts and all path data.
fn read(svg: &str) -> (Vec<Text>, Vec<String>) {
    let mut reader = Reader::from_str(svg);
    reader.config_mut().expand_empty_elements = true;
    let (mut texts, mut paths, mut is_in_text) = (Vec::new(), Vec::new(), false);
    loop {
        let event = reader.read_event().expect("well-formed");
        match event {
            Event::Start(element) => {
                is_in_text = element.name().as_ref() == b"text";
                let mut text = Text {
                    class: String::new(),
                    x: 0.0,
                    y: 0.0,
                    content: String::new(),
                };
                for attribute in element.attributes() {
                    let attribute = attribute.expect("an attribute");
                    let value = attribute.normalized_value(XmlVersion::Implicit1_0).unwrap();
                    match attribute.key.as_ref() {
                        b"class" => text.class = value.into_owned(),
                        b"x" if is_in_text => text.x = value.parse().unwrap(),
                        b"y" if is_in_text => text.y = value.parse().unwrap(),
                        b"d" => paths.push(value.into_owned()),
                        _ => {}
                    }
                }
                if is_in_text {
                    texts.push(text);
                }
            }
            Event::Text(content) if is_in_text => {
                texts.last_mut().unwrap().content += &content.decode().unwrap();
            }
            Event::GeneralRef(name) if is_in_text => {
                let name = name.decode().unwrap();
                let text = quick_xml::escape::unescape(&format!("&{name};"))
                    .unwrap()
                    .into_owned();
                texts.last_mut().unwrap().content += &text;
            }
            Event::End(_) => is_in_text = false,
            Event::Eof => return (texts, paths),
            _ => {}
        }
    }
}

#[test]
fn ticks_are_round() {
    let count = axis("", Scale::Linear);
    for (values, expected) in [
        (&[0.0, 14.0][..], &["0", "5", "10", "15"][..]),
        (&[1.0], &["0", "1"]),
        (&[0.37], &["0.0", "0.1", "0.2", "0.3", "0.4"]),
        (
            &[-3.0, 6.0],
            &["\u{2212}4", "\u{2212}2", "0", "2", "4", "6"],
        ),
        (&[43_000.0], &["0", "10k", "20k", "30k", "40k", "50k"]),
        (&[3_600_000.0], &["0", "1M", "2M", "3M", "4M"]),
        (&[], &["0", "1"]),
    ] {
        let found = ticks(&count, values, 6);
        let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
        let same = |text: &String| text.parse::<f64>().map_err(|_| text.clone());
        assert_eq!(
            found.iter().map(same).collect::<Vec<_>>(),
            expected.iter().map(same).collect::<Vec<_>>(),
            "{values:?}"
        );
    }
}

#[test]
fn times_have_the_unit_that_fits() {
    for (seconds, title, expected) in [
        (0.000_04, "Axis (µs)", &["0", "10", "20", "30", "40"][..]),
        (0.25, "Axis (ms)", &["0", "50", "100", "150", "200", "250"]),
        (4.0, "Axis (s)", &["0", "1", "2", "3", "4"]),
        (100.0, "Axis (s)", &["0", "20", "40", "60", "80", "100"]),
        (1_500.0, "Axis (min)", &["0", "5", "10", "15", "20", "25"]),
        (
            86_400.0,
            "Axis (h)",
            &["0", "4", "8", "12", "16", "20", "24"],
        ),
    ] {
        let seconds_axis = axis("s", Scale::Linear);
        let ruler = Ruler::new(&seconds_axis, [0.0, seconds].into_iter(), false, 6);
        let found: Vec<_> = ruler.ticks.into_iter().map(|tick| tick.text).collect();
        assert_eq!(
            (ruler.title.as_str(), &found[..]),
            (
                title,
                &expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
            )
        );
    }
}

#[test]
fn logarithmic_ticks_bear_their_unit() {
    let time = axis("s", Scale::Logarithmic);
    assert_eq!(
        ticks(&time, &[0.012, 8.0, 0.0, -1.0], 6),
        ["10 ms", "100 ms", "1 s", "10 s"]
    );
    assert_eq!(
        ticks(&time, &[0.25, 3.0], 6),
        ["200 ms", "500 ms", "1 s", "2 s", "5 s"]
    );
    let count = axis("", Scale::Logarithmic);
    assert_eq!(
        ticks(&count, &[1.0, 1e9], 5),
        ["1", "100", "10k", "1M", "100M"]
    );
    assert_eq!(ticks(&count, &[7.0], 5), ["5", "10"]);
}

#[test]
fn percentiles_are_spread_by_nines() {
    let nines = axis("%", Scale::Nines);
    let values = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0];
    let ruler = Ruler::new(&nines, values.into_iter(), false, 9);
    let texts: Vec<_> = ruler.ticks.iter().map(|tick| tick.text.as_str()).collect();
    assert_eq!(texts, ["0", "50", "90", "99", "99.9", "99.99"]);
    let share = |value| ruler.share(value).unwrap();
    assert!((share(99.0) - share(90.0) - (share(99.9) - share(99.0))).abs() < 1e-6);
    assert_eq!((share(0.0), share(100.0)), (0.0, 1.0));
    assert_eq!(ruler.share(f64::NAN), None);
}

#[test]
fn a_long_series_is_thinned_and_keeps_its_extremes() {
    let mut points: Vec<_> = (0..200_000)
        .map(|at| (f64::from(at), f64::from(at % 7)))
        .collect();
    points[77_777].1 = 100.0;
    points[133_333].1 = -50.0;
    let svg = line(points).svg();
    let (_, paths) = read(&svg);
    // Zero is at two thirds of the height of 260 between 100 at its top and -50 at its bottom.
    let data = paths.iter().max_by_key(|it| it.len()).unwrap();
    let reached = |y: &str| {
        data.split(['M', 'L', 'V'])
            .any(|it| it.ends_with(&format!(" {y}")) || it == y)
    };
    assert!(reached("0") && reached("260"), "{data}");
    assert!(svg.len() < 60_000, "{} bytes", svg.len());
}

#[test]
fn a_value_that_is_no_number_interrupts_a_line() {
    let (_, paths) = read(&line(vec![(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 2.0)]).svg());
    let data = paths.last().unwrap();
    assert_eq!(data.matches('M').count(), 2, "{data}");
    assert!(
        data.ends_with("h0"),
        "a point alone is drawn as well: {data}"
    );
}

#[test]
fn odd_data_gives_a_drawing_as_well() {
    let odd = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        1e300,
        -1e300,
        1e-300,
        5.0,
    ];
    for scale in [Scale::Linear, Scale::Logarithmic, Scale::Nines] {
        for shape in [
            Shape::Area,
            Shape::Bars,
            Shape::Steps,
            Shape::Line,
            Shape::Dots,
        ] {
            for limits in [
                None,
                Some((1.0, 0.0)),
                Some((f64::NAN, 1.0)),
                Some((2.0, 3.0)),
            ] {
                for count in 0..=odd.len() {
                    let mut chart = line(odd[..count].iter().map(|it| (*it, *it)).collect());
                    (chart.x.scale, chart.left.scale) = (scale, scale);
                    (chart.x.limits, chart.left.limits) = (limits, limits);
                    chart.series[0].shape = shape;
                    let svg = chart.svg();
                    read(&svg);
                    let what = format!("{scale:?} {shape:?} {limits:?} {count}");
                    assert!(
                        !svg.contains("NaN") && !svg.contains("inf"),
                        "{what}: {svg}"
                    );
                }
            }
        }
    }
    let (texts, _) = read(&line(vec![]).svg());
    assert!(texts.iter().any(|it| it.content == "no data"));
    read(&columns("", "", &[], 2));
}

#[test]
fn words_are_escaped() {
    let words = "a<b & \"c\" 'd' ]]> \u{0}";
    let mut chart = line(vec![(0.0, 1.0), (1.0, 3.0)]);
    for word in [
        &mut chart.title,
        &mut chart.caption,
        &mut chart.x.name,
        &mut chart.left.name,
        &mut chart.series[0].name,
    ] {
        *word = words.to_owned();
    }
    chart.lines = vec![Reference {
        name: words.to_owned(),
        value: 2.0,
        side: Side::Left,
    }];
    for svg in [
        chart.svg(),
        columns(words, words, &[chart.clone(), chart], 2),
    ] {
        let (texts, _) = read(&svg);
        let shown = texts
            .iter()
            .filter(|it| it.content.starts_with("a<b & \"c\" 'd' ]]> \u{fffd}"))
            .count();
        assert!(shown >= 6, "{shown} in {svg}");
    }
}

#[test]
fn no_text_leaves_the_picture() {
    let word = "Verylongword".repeat(12);
    let long = format!("Several words and {word} and more of them, all of 12 s");
    let mut chart = line(
        (0..100)
            .map(|at| (f64::from(at) * 37.0, f64::from(at) * 1_000.0))
            .collect(),
    );
    for text in [
        &mut chart.title,
        &mut chart.caption,
        &mut chart.x.name,
        &mut chart.left.name,
        &mut chart.series[0].name,
    ] {
        text.clone_from(&long);
    }
    chart.right = Some(Axis {
        name: long.clone(),
        ..axis("s", Scale::Logarithmic)
    });
    chart.lines = vec![Reference {
        name: long,
        value: 5_000.0,
        side: Side::Left,
    }];
    let panel = Panel::new(&chart, ALONE, true);
    let mut svg = String::new();
    panel.draw(&mut svg, (0.0, 0.0));
    let (texts, _) = read(&svg);
    assert!(texts.len() > 30);
    for text in texts {
        let wide = width(&text.content, SIZE);
        let (left, right) = match &text.class {
            it if it.contains("end") => (text.x - wide, text.x),
            it if it.contains("middle") => (text.x - wide / 2.0, text.x + wide / 2.0),
            _ => (text.x, text.x + wide),
        };
        // Ticks and labels stand within a group that begins at the plot, at most this far to the right.
        let plot = ALONE.0 * 0.15;
        assert!(
            left >= -plot && right <= ALONE.0 && text.y < panel.height(),
            "{}: {left} to {right}",
            text.content
        );
    }
}

#[test]
fn labels_of_lines_touch_neither_each_other_nor_data() {
    // Data covers the right half at the height of the lines.
    let zigzag = |at: u32| {
        if at < 50 {
            0.0
        } else {
            10.0 * f64::from(at % 2)
        }
    };
    let mut chart = line((0..100).map(|at| (f64::from(at), zigzag(at))).collect());
    let reference = |name: &str, value| Reference {
        name: name.to_owned(),
        value,
        side: Side::Left,
    };
    chart.lines = vec![
        reference("first", 5.0),
        reference("second", 5.1),
        reference("third", 4.9),
    ];
    let (texts, _) = read(&chart.svg());
    let labels: Vec<_> = texts
        .iter()
        .filter(|it| it.class.contains("halo"))
        .collect();
    assert_eq!(labels.len(), 3);
    for (index, label) in labels.iter().enumerate() {
        assert!(label.x < ALONE.0 / 2.0, "{} at {}", label.content, label.x);
        for other in &labels[..index] {
            let is_beside = label.x - width(&label.content, SIZE) >= other.x
                || other.x - width(&other.content, SIZE) >= label.x;
            assert!(
                is_beside || (label.y - other.y).abs() >= LINE,
                "{} and {}",
                label.content,
                other.content
            );
        }
    }
}

#[test]
fn numbers_stay_with_their_units() {
    let lines = text::wrapped(
        "a p95 of 0.9 s, and so on",
        SIZE,
        width("a p95 of 0.9", SIZE),
    );
    assert_eq!(lines, ["a p95 of", "0.9\u{a0}s, and", "so on"]);
}

#[test]
fn a_legend_that_charts_share_is_drawn_once() {
    let chart = line(vec![(0.0, 1.0), (1.0, 3.0)]);
    let count = |charts: &[Chart]| {
        let (texts, _) = read(&columns("Title", "text", charts, 2));
        texts.iter().filter(|it| it.content == "values").count()
    };
    assert_eq!(count(&[chart.clone(), chart.clone(), chart.clone()]), 1);
    let mut other = chart.clone();
    other.series[0].color = Color::Red;
    assert_eq!(count(&[chart, other]), 2);
}

#[test]
fn series_differ_without_color() {
    let mut chart = line(vec![(0.0, 1.0), (1.0, 3.0)]);
    chart.series = vec![chart.series[0].clone(); 4];
    for shape in [Shape::Line, Shape::Dots] {
        for series in &mut chart.series {
            series.shape = shape;
        }
        let svg = chart.svg();
        let body = svg.split("</style>").nth(1).unwrap();
        for number in 0..4 {
            let class = if shape == Shape::Line { "dash" } else { "dot" };
            assert!(
                body.contains(&format!("{class}{number}\"")),
                "{class}{number}"
            );
        }
    }
}

#[test]
fn every_color_stands_out_on_light_and_on_dark() {
    for (_, class, light, dark) in style::COLORS {
        assert!(
            contrast(light, "#ffffff") >= 3.0,
            "{class} on light: {}",
            contrast(light, "#ffffff")
        );
        assert!(
            contrast(dark, "#0d1117") >= 3.0,
            "{class} on dark: {}",
            contrast(dark, "#0d1117")
        );
    }
}

/// Returns the contrast ratio of WCAG 2.
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |color: &str| {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&color[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    };
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    one.max(other) / one.min(other)
}
