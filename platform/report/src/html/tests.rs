use quick_xml::Reader;
use quick_xml::events::Event;

use super::Page;
use crate::chart::{Chart, Series};

fn page() -> String {
    let chart = Chart {
        title: "Chart <1>".to_owned(),
        series: vec![Series {
            name: "values".to_owned(),
            points: vec![(0.0, 1.0), (1.0, 2.0)],
            ..Series::default()
        }],
        ..Chart::default()
    };
    let rows = [
        vec!["<b>".to_owned(), "1.5 s".to_owned()],
        vec!["\"&\"".to_owned(), "-".to_owned()],
    ];
    let mut page = Page::new("Title & <script>alert(1)</script>");
    page.heading("<i>")
        .paragraph("a & b")
        .table("figures'", &["name", "p95"], &rows)
        .chart(&chart)
        .charts(&[chart.clone(), chart.clone()])
        .preformatted("<pre>\n  text");
    page.finish()
}

#[test]
fn needs_no_script_and_no_other_file() {
    let page = page();
    for word in [
        "<script", "http://", "https://", "src=", "href=", "url(", "@import", "//",
    ] {
        assert!(!page.contains(word), "{word} in {page}");
    }
}

#[test]
fn is_well_formed_and_escaped() {
    let page = page();
    let body = page.strip_prefix("<!DOCTYPE html>").unwrap();
    let mut reader = Reader::from_str(body);
    let mut elements = Vec::new();
    loop {
        match reader.read_event().expect("well-formed") {
            Event::Start(element) => {
                elements.push(String::from_utf8(element.name().as_ref().to_vec()).unwrap());
            }
            Event::Eof => break,
            _ => {}
        }
    }
    let count = |name: &str| elements.iter().filter(|it| *it == name).count();
    assert_eq!((count("figure"), count("h2"), count("tr")), (3, 1, 3));
    assert_eq!((count("i"), count("b"), count("script")), (0, 0, 0));
    assert!(page.contains("<td>&quot;&amp;&quot;</td>"), "{page}");
}

#[test]
fn numbers_are_aligned_to_the_right() {
    let page = page();
    assert!(page.contains("<td class=\"number\">1.5 s</td>"), "{page}");
    assert!(page.contains("<td>&lt;b&gt;</td>"), "{page}");
}
