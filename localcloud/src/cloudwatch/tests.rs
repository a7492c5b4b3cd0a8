#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: Millis = 1_800_000_000_000;
const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;

fn duration() -> MetricId {
    MetricId::new("AWS/Lambda", "Duration", &[("FunctionName", "f")])
}

fn seconds(at: Millis) -> f64 {
    at as f64 / 1e3
}

/// A store with a value of `duration` for each offset from `NOW`.
fn store(values: &[(i64, f64)]) -> Store {
    let mut store = Store::default();
    for (offset, value) in values {
        let at = NOW.checked_add_signed(*offset).unwrap();
        store.add(
            duration(),
            at,
            "Milliseconds",
            &Summary::of(*value, 1.0),
            NOW,
        );
    }
    store
}

fn query(start: Millis, end: Millis, period: u64) -> Value {
    json!({
        "Namespace": "AWS/Lambda", "MetricName": "Duration", "Dimensions": [{ "Name": "FunctionName", "Value": "f" }],
        "StartTime": seconds(start), "EndTime": seconds(end), "Period": period,
        "Statistics": ["Average", "Maximum", "Minimum", "SampleCount", "Sum"],
    })
}

#[test]
fn statistics_are_of_periods_from_the_minute_of_the_start() {
    let store = store(&[(0, 10.0), (59_999, 30.0), (60_000, 5.0), (180_000, 7.0)]);
    let reply = statistics::get(&store, &query(NOW + 500, NOW + 3 * MINUTE, 60)).unwrap();
    let point = |at: Millis, average: f64, maximum: f64, minimum: f64, count: f64| {
        json!({
            "Timestamp": seconds(at), "Unit": "Milliseconds", "Average": average, "Maximum": maximum, "Minimum": minimum,
            "SampleCount": count, "Sum": average * count,
        })
    };
    // The value at the end itself is not included.
    let expected = json!({
        "Label": "Duration",
        "Datapoints": [point(NOW, 20.0, 30.0, 10.0, 2.0), point(NOW + MINUTE, 5.0, 5.0, 5.0, 1.0)],
    });
    assert_eq!(reply, expected);
}

#[test]
fn queries_are_refused_as_aws_does() {
    let store = store(&[]);
    for (field, value, code) in [
        ("Period", json!(7), "InvalidParameterValue"),
        ("Period", json!(null), "MissingParameter"),
        (
            "StartTime",
            json!(seconds(NOW + HOUR)),
            "InvalidParameterValue",
        ),
        ("StartTime", json!("yesterday"), "InvalidParameterValue"),
        (
            "StartTime",
            json!(seconds(NOW - 48 * HOUR)),
            "InvalidParameterCombination",
        ),
        ("Statistics", json!([]), "InvalidParameterCombination"),
        ("Statistics", json!(["tm90"]), "InvalidParameterValue"),
        ("MetricName", json!(""), "MissingParameter"),
        ("Dimensions", json!([{ "Name": "a" }]), "MissingParameter"),
    ] {
        let mut request = query(NOW, NOW + HOUR, 60);
        request[field] = value;
        let error = statistics::get(&store, &request).unwrap_err();
        assert_eq!(error.code, code, "{field}: {}", error.message);
    }
}

#[test]
fn data_comes_in_pages_and_newest_first() {
    let store = store(&[(0, 1.0), (60_000, 2.0), (120_000, 3.0)]);
    let stat = json!({
        "Metric": query(0, 1, 60), "Period": 60, "Stat": "Sum",
    });
    let mut request = json!({
        "MetricDataQueries": [{ "Id": "a", "MetricStat": stat }, { "Id": "b", "MetricStat": stat, "Label": "B" }],
        "StartTime": seconds(NOW), "EndTime": seconds(NOW + HOUR), "MaxDatapoints": 4,
    });
    let first = data::get(&store, &request).unwrap();
    let results = &first["MetricDataResults"];
    assert_eq!(results[0]["Values"], json!([3.0, 2.0, 1.0]));
    assert_eq!(results[0]["StatusCode"], "Complete");
    assert_eq!(results[1]["Values"], json!([3.0]));
    assert_eq!(results[1]["StatusCode"], "PartialData");
    request["NextToken"] = first["NextToken"].clone();
    let second = data::get(&store, &request).unwrap();
    let expected = json!({
        "Id": "b", "Label": "B", "StatusCode": "Complete", "Values": [2.0, 1.0],
        "Timestamps": [seconds(NOW + MINUTE), seconds(NOW)],
    });
    assert_eq!(second["MetricDataResults"], json!([expected]));
    assert_eq!(second["NextToken"], Value::Null);

    let math = json!({
        "MetricDataQueries": [{ "Id": "a", "Expression": "SUM(METRICS())" }],
        "StartTime": seconds(NOW), "EndTime": seconds(NOW + HOUR),
    });
    let error = data::get(&store, &math).unwrap_err();
    assert!(error.message.contains("metric math"), "{}", error.message);
}

#[test]
fn a_form_has_texts_where_json_has_numbers() {
    let mut store = Store::default();
    let form = json!({
        "Namespace": "n", "MetricData": [{ "MetricName": "m", "Value": "2.5", "Timestamp": "2027-01-15T08:00:00Z" }],
    });
    put::put(&mut store, &form, NOW).unwrap();
    let metric = MetricId::new("n", "m", &[]);
    assert_eq!(
        store.read(&metric, None, NOW, NOW + MINUTE, MINUTE)[&NOW].sum,
        2.5
    );
}

#[test]
fn data_is_put_whole_or_not_at_all() {
    let mut store = Store::default();
    let good = json!({ "MetricName": "good", "Values": [1.0, 2.0], "Counts": [3.0, 1.0] });
    for (bad, code) in [
        (json!({ "MetricName": "m" }), "MissingParameter"),
        (
            json!({ "MetricName": "m", "Value": 1, "Values": [1] }),
            "InvalidParameterCombination",
        ),
        (
            json!({ "MetricName": "m", "Value": "NaN" }),
            "InvalidParameterValue",
        ),
        (
            json!({ "MetricName": "m", "Value": 1, "Unit": "Apples" }),
            "InvalidParameterValue",
        ),
        (
            json!({ "MetricName": "m", "Value": 1, "Timestamp": seconds(NOW - 15 * 24 * HOUR) }),
            "InvalidParameterValue",
        ),
        (
            json!({ "MetricName": "m", "Value": 1, "Timestamp": seconds(NOW + 3 * HOUR) }),
            "InvalidParameterValue",
        ),
    ] {
        let request = json!({ "Namespace": "n", "MetricData": [good, bad] });
        let error = put::put(&mut store, &request, NOW).unwrap_err();
        assert_eq!(error.code, code, "{bad}");
    }
    assert_eq!(store.all().count(), 0);
    let error = put::put(
        &mut store,
        &json!({ "Namespace": "AWS/Lambda", "MetricData": [good] }),
        NOW,
    );
    assert_eq!(error.unwrap_err().code, "InvalidParameterValue");
    put::put(
        &mut store,
        &json!({ "Namespace": "n", "MetricData": [good] }),
        NOW,
    )
    .unwrap();
    let listed = list::list(&store, &json!({ "Namespace": "n" }), NOW).unwrap();
    let expected = json!({ "Namespace": "n", "MetricName": "good", "Dimensions": [] });
    assert_eq!(listed, json!({ "Metrics": [expected] }));
    let values = &store.read(&MetricId::new("n", "good", &[]), None, NOW, NOW + 1, MINUTE)[&NOW];
    assert_eq!((values.count, values.sum), (4.0, 5.0));
}

#[test]
fn values_are_merged_by_minute_after_three_hours_and_dropped_after_fifteen_days() {
    let mut store = store(&[(0, 1.0), (1000, 2.0)]);
    let later = NOW + 4 * HOUR;
    store.add(
        duration(),
        later,
        "Milliseconds",
        &Summary::of(3.0, 1.0),
        later,
    );
    let found = store.read(&duration(), None, NOW, later + 1, 1000);
    let sums: Vec<(Millis, f64)> = found.iter().map(|(at, it)| (*at, it.sum)).collect();
    assert_eq!(sums, [(NOW, 3.0), (later, 3.0)]);
    let later = NOW + 16 * 24 * HOUR;
    store.add(
        duration(),
        later,
        "Milliseconds",
        &Summary::of(4.0, 1.0),
        later,
    );
    assert_eq!(store.read(&duration(), None, NOW, later + 1, HOUR).len(), 1);
}

#[test]
fn the_store_is_bounded() {
    let mut store = Store::default();
    let one = Summary::of(1.0, 1.0);
    for number in 0..5_100 {
        let id = MetricId::new("n", &format!("m{number:05}"), &[]);
        store.add(id, NOW + number * 1000, "None", &one, NOW);
    }
    assert_eq!(store.all().count(), 5_000);
    assert_eq!(store.all().next().unwrap().0.name, "m00100");
    let mut store = Store::default();
    for number in 0..210_000 {
        let id = MetricId::new("n", &format!("m{}", number % 30), &[]);
        store.add(id, NOW + number / 30 * 1000, "None", &one, NOW);
    }
    let kept: usize = (0..30)
        .map(|number| {
            let id = MetricId::new("n", &format!("m{number}"), &[]);
            store.read(&id, None, NOW, NOW + 3 * HOUR, 1000).len()
        })
        .sum();
    assert!((170_000..=200_000).contains(&kept), "{kept}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Within the bound of classes, percentiles are within 1 % of a value between which the exact one lies.
    #[test]
    fn percentiles_are_close(mut values in prop::collection::vec(1.0..3.0f64, 1..200), percent in 1.0..100.0f64) {
        let mut summary = Summary::of(values[0], 1.0);
        for value in &values[1..] {
            summary.add(&Summary::of(*value, 1.0));
        }
        let found = summary.statistic(summary::Statistic::Percentile(percent)).unwrap();
        values.sort_by(f64::total_cmp);
        let rank = (values.len() as f64 * percent / 100.0).ceil() as usize;
        let exact = values[rank.clamp(1, values.len()) - 1];
        prop_assert!((found / exact - 1.0).abs() < 0.011, "{found} for {exact}");
    }
}

/// Found by fuzzing: a namespace was put into a text, which panics.
#[test]
fn data_that_are_no_structures_are_refused() {
    for member in [json!("text"), json!(1), json!([]), json!(null)] {
        let request = json!({ "Namespace": "n", "MetricData": [member] });
        let refused = put::put(&mut Store::default(), &request, NOW).unwrap_err();
        assert_eq!(refused.code, "InvalidParameterValue", "{request}");
    }
}
