//! What is drawn, and said, of a comparison.

use scaler_plan::PolicyKind;

use crate::{Comparison, Scenario, Trace, chart};

fn compared(name: &str, kinds: &[PolicyKind]) -> Comparison {
    let trace = Trace::named(name, 1).expect("the trace has a name of the table");
    Comparison::new(trace, Scenario::default(), kinds, vec![])
}

#[test]
fn each_policy_has_a_chart_with_its_rule_and_its_result() {
    let compared = compared(
        "step",
        &[PolicyKind::Step, PolicyKind::Keda, PolicyKind::Hpa],
    );
    let svg = chart::svg(std::slice::from_ref(&compared));
    // Lines are broken anywhere; the description has the caption in one piece.
    let described = svg.replace('\u{a0}', " ");
    for words in [
        "Trace step",
        "100 requests arrive at once",
        "One worker for each request",
        "One worker for five messages",
        "Cost 1.00 times the optimum",
        "beyond the target of 2 s",
        "One worker stays up without any request.",
        "Time (min)",
    ] {
        assert!(described.contains(words), "{words}: {described}");
    }
    assert_eq!(
        svg.matches("workers that are up</text>").count(),
        1,
        "one legend for all"
    );
    assert!(svg.len() < 30_000, "{} bytes", svg.len());
}

#[test]
fn workers_that_are_kept_for_minutes_are_said_to_stay_as_long() {
    let compared = compared("step", &[PolicyKind::Keda]);
    let down = crate::words::gone_at(&compared.runs[0]).expect("keda stops all");
    // Five minutes after the last message was answered, which waited for boots.
    assert!((310.0..480.0).contains(&down), "{down}");
}

#[test]
fn a_page_has_charts_and_figures_of_each_trace() {
    let kinds = [PolicyKind::Latency, PolicyKind::Kpa];
    let page = chart::page(&[compared("step", &kinds), compared("heavy-tailed", &kinds)]);
    assert_eq!(
        (
            page.matches("<figure>").count(),
            page.matches("<table>").count()
        ),
        (4, 2)
    );
    assert!(!page.contains("NaN"), "{page}");
    assert!(chart::page(&[]).contains("<h1>"));
    assert!(chart::svg(&[]).ends_with("</svg>\n"));
}
