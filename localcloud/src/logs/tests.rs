#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::pattern::FilterPattern;
use super::*;
use crate::clock::Millis;

const NOW: Millis = 1_800_000_000_000;

/// A store with a group "g" whose stream "s" has messages `m0`, `m1` and so on, one a second.
fn store(messages: u64) -> Store {
    let mut store = Store::default();
    for number in 0..messages {
        store.append("g", "s", &format!("m{number}"), NOW + number * 1000);
    }
    store
}

fn messages(reply: &Value) -> Vec<&str> {
    let events = reply["events"].as_array().unwrap().iter();
    events
        .map(|event| event["message"].as_str().unwrap())
        .collect()
}

fn page(store: &Store, token: Option<&Value>, from_head: bool) -> Value {
    let mut request = json!({
        "logGroupName": "g", "logStreamName": "s", "limit": 2, "startFromHead": from_head,
    });
    if let Some(token) = token {
        request["nextToken"] = token.clone();
    }
    read::get(store, &request).unwrap()
}

#[test]
fn tokens_lead_forward_and_backward_and_stay_at_the_ends() {
    let mut store = store(3);
    let first = page(&store, None, true);
    assert_eq!(messages(&first), ["m0", "m1"]);
    let second = page(&store, Some(&first["nextForwardToken"]), true);
    assert_eq!(messages(&second), ["m2"]);
    let end = page(&store, Some(&second["nextForwardToken"]), true);
    assert!(messages(&end).is_empty());
    assert_eq!(end["nextForwardToken"], second["nextForwardToken"]);
    store.append("g", "s", "m3", NOW + 3000);
    assert_eq!(
        messages(&page(&store, Some(&end["nextForwardToken"]), true)),
        ["m3"]
    );

    let last = page(&store, None, false);
    assert_eq!(messages(&last), ["m2", "m3"]);
    let before = page(&store, Some(&last["nextBackwardToken"]), false);
    assert_eq!(messages(&before), ["m0", "m1"]);
    let head = page(&store, Some(&before["nextBackwardToken"]), false);
    assert!(messages(&head).is_empty());
    assert_eq!(head["nextBackwardToken"], before["nextBackwardToken"]);
    let wrong = json!({ "logGroupName": "g", "logStreamName": "s", "nextToken": "f/é" });
    let error = read::get(&store, &wrong).unwrap_err();
    assert_eq!(error.code, "InvalidParameterException");
}

#[test]
fn events_of_streams_are_interleaved_in_pages() {
    let mut store = Store::default();
    for number in 0..5 {
        let stream = format!("s{}", number % 2);
        store.append("g", &stream, &format!("m{number}"), NOW + number / 3);
    }
    let mut seen = Vec::new();
    let mut request = json!({ "logGroupName": "g", "limit": 2 });
    loop {
        let reply = read::filter(&store, &request).unwrap();
        seen.extend(messages(&reply).into_iter().map(str::to_owned));
        if reply["nextToken"].is_null() {
            break;
        }
        request["nextToken"] = reply["nextToken"].clone();
    }
    assert_eq!(seen, ["m0", "m1", "m2", "m3", "m4"]);
    let filtered = |name: &str, value: Value| {
        let mut request = json!({ "logGroupName": "g" });
        request[name] = value;
        let reply = read::filter(&store, &request).unwrap();
        reply["events"].as_array().unwrap().len()
    };
    assert_eq!(filtered("logStreamNames", json!(["s1"])), 2);
    assert_eq!(filtered("logStreamNamePrefix", json!("s")), 5);
    assert_eq!(filtered("startTime", json!(NOW + 1)), 2);
    assert_eq!(filtered("endTime", json!(NOW)), 3);
}

#[test]
fn patterns_match_as_documented() {
    for (pattern, message, expected) in [
        ("", "anything", true),
        ("ERROR", "[ERROR] failed", true),
        ("ERROR", "error", false),
        ("ERROR failed", "failed: ERROR", true),
        ("ERROR gone", "failed: ERROR", false),
        ("?ERROR ?WARN", "WARN", true),
        ("?ERROR ?WARN", "INFO", false),
        ("ERROR -Exit", "ERROR Exit", false),
        ("-INFO", "WARN", true),
        (r#""REPORT RequestId:""#, "REPORT RequestId: 1", true),
        (r#""a \"b\"""#, r#"a "b""#, true),
        (r#"-"a b""#, "a b", false),
        (r#"{ $.level = "ERROR" }"#, r#"{"level": "ERROR"}"#, true),
        (r#"{ $.level = "ERROR" }"#, "ERROR", false),
        (r#"{ $.level = ERR* }"#, r#"{"level": "ERROR"}"#, true),
        (r#"{ $.level != "ERROR" }"#, r#"{"level": "INFO"}"#, true),
        (
            r#"{ $.a.b[1] >= 2.5 && $.c = "x" }"#,
            r#"{"a": {"b": [0, 3]}, "c": "x"}"#,
            true,
        ),
        (r#"{ $.a > 2 || $.b > 2 }"#, r#"{"a": 1, "b": 3}"#, true),
        (r#"{ $.a > 2 }"#, r#"{"b": 3}"#, false),
        (r#"{ $.a IS NULL }"#, r#"{"a": null}"#, true),
        (r#"{ $.a NOT EXISTS }"#, r#"{"b": null}"#, true),
        (r#"{ $.a IS TRUE }"#, r#"{"a": true}"#, true),
    ] {
        let parsed = FilterPattern::of(pattern).unwrap();
        assert_eq!(parsed.matches(message), expected, "{pattern} on {message}");
    }
    for pattern in [
        "RequestId:",
        "[a, b]",
        "%x%",
        "\"a",
        "{ $.a",
        "{}",
        "{ $.a }",
        "{ a = 1 }",
        "{ $.a = }",
        "{ $.a > x }",
        "?",
        "-",
        "{ $.a = 1 && $.b = 1 || $.c = 1 }",
        "{ ($.a = 1) }",
    ] {
        assert!(FilterPattern::of(pattern).is_err(), "{pattern}");
    }
}

#[test]
fn put_events_are_checked() {
    let mut store = store(1);
    let mut put = |events: Value| {
        let request = json!({ "logGroupName": "g", "logStreamName": "s", "logEvents": events });
        put::put(&mut store, &request, NOW)
    };
    let event = |at: Millis| json!({ "timestamp": at, "message": "x" });
    let day = 24 * 60 * 60 * 1000;
    for refused in [
        json!([]),
        json!([event(NOW), event(NOW - 1)]),
        json!([event(NOW - day - 1), event(NOW)]),
        json!([{ "timestamp": NOW, "message": "" }]),
        json!([{ "timestamp": NOW, "message": "x".repeat(256 * 1024) }]),
    ] {
        assert_eq!(put(refused).unwrap_err().code, "InvalidParameterException");
    }
    let reply = put(json!([event(NOW - 15 * day)])).unwrap();
    assert_eq!(
        reply["rejectedLogEventsInfo"],
        json!({ "tooOldLogEventEndIndex": 1 })
    );
    let reply = put(json!([event(NOW), event(NOW + day / 2)])).unwrap();
    assert_eq!(
        reply["rejectedLogEventsInfo"],
        json!({ "tooNewLogEventStartIndex": 1 })
    );
}

#[test]
fn the_memory_is_bounded_and_the_oldest_events_are_dropped() {
    let mut store = Store::default();
    let large = "x".repeat(200 * 1024);
    for number in 0..1000 {
        store.append("g", &format!("s{}", number % 20), &large, NOW + number);
    }
    let bytes = store.groups["g"].bytes();
    assert!((100 << 20..=128 << 20).contains(&bytes), "{bytes}");
    let found = read::filter(&store, &json!({ "logGroupName": "g", "limit": 1 })).unwrap();
    assert!(found["events"][0]["timestamp"].as_u64().unwrap() > NOW + 300);
    for number in 0..100 {
        store.append("g", "one", &large, NOW + 2000 + number);
    }
    assert!(store.groups["g"].streams["one"].bytes() <= 16 << 20);
    assert!(store.remove_group("g"));
    for number in 0..10_050 {
        store.append(
            &format!("g{}", number / 5),
            &format!("s{number}"),
            "m",
            NOW + number,
        );
    }
    assert_eq!(store.groups.len(), 1000);
    assert!(store.streams() <= 10_000);
    // An event of more than the bound of a message is cut between characters.
    store.append("g", "cut", &"é".repeat(200_000), NOW);
    assert_eq!(
        store.groups["g"].streams["cut"].events()[0].message.len(),
        256 * 1024
    );
}

#[test]
fn a_group_keeps_events_for_its_retention() {
    let mut store = store(2);
    let keep = |days: u64| json!({ "logGroupName": "g", "retentionInDays": days });
    assert_eq!(
        groups::put_retention(&mut store, &keep(2))
            .unwrap_err()
            .code,
        "InvalidParameterException"
    );
    groups::put_retention(&mut store, &keep(1)).unwrap();
    store.expire(NOW + 24 * 60 * 60 * 1000 + 500);
    assert_eq!(
        messages(&read::filter(&store, &json!({ "logGroupName": "g" })).unwrap()),
        ["m1"]
    );
    let described = groups::describe(&store, &json!({}), "us-east-1").unwrap();
    assert_eq!(described["logGroups"][0]["retentionInDays"], 1);
    assert_eq!(
        described["logGroups"][0]["arn"],
        "arn:aws:logs:us-east-1:000000000000:log-group:g:*"
    );
}
