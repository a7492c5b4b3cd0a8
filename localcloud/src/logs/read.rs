//! GetLogEvents and FilterLogEvents.

use serde_json::{Value, json};

use super::input::{group, invalid, limit, stream, text, wrong_token};
use super::pattern::FilterPattern;
use super::store::Store;
use super::stream::{LogEvent, Position};
use crate::clock::Millis;
use crate::common_error::CommonError;

const MAX_EVENTS: usize = 10_000;
/// The most bytes of a page, as CloudWatch Logs counts them.
const MAX_PAGE: usize = 1024 * 1024;
const MAX_STREAM_NAMES: usize = 100;

/// Returns events of one stream, oldest first. A token has the position after or before which the next page is.
pub fn get(store: &Store, request: &Value) -> Result<Value, CommonError> {
    let stream = stream(store, request)?;
    let most = limit(request, MAX_EVENTS)?;
    let start = time(request, "startTime")?.map_or(0, |start| stream.since(start));
    // An event at the end itself is not included.
    let end = time(request, "endTime")?.map_or(stream.events().len(), |end| stream.since(end));
    let token = text(request, "nextToken").map(token_of).transpose()?;
    let forward = match token {
        Some((forward, _)) => forward,
        None => request["startFromHead"] == true,
    };
    let (low, high) = match token {
        None => (start, end),
        Some((true, position)) => (start.max(stream.after(position)), end),
        Some((false, position)) => (start, end.min(stream.from(position))),
    };
    let range: Vec<&LogEvent> = stream.events().range(low..high.max(low)).collect();
    let page = match forward {
        true => &range[..fitting(range.iter(), most)],
        false => &range[range.len() - fitting(range.iter().rev(), most)..],
    };
    // Without events, both tokens stay where they are.
    let stays = token.map_or((0, 0), |(_, position)| position);
    let first = page.first().map_or(stays, |event| event.position());
    let last = page.last().map_or(stays, |event| event.position());
    let events: Vec<Value> = page
        .iter()
        .map(|event| {
            json!({ "timestamp": event.at, "message": event.message, "ingestionTime": event.ingested })
        })
        .collect();
    Ok(json!({
        "events": events, "nextForwardToken": token_text("f", last), "nextBackwardToken": token_text("b", first),
    }))
}

/// Returns events of several streams, oldest first. A token has the position of the last event before.
pub fn filter(store: &Store, request: &Value) -> Result<Value, CommonError> {
    let group = group(store, request)?;
    let most = limit(request, MAX_EVENTS)?;
    let pattern = FilterPattern::of(text(request, "filterPattern").unwrap_or_default())?;
    let names = request["logStreamNames"].as_array();
    let prefix = text(request, "logStreamNamePrefix");
    if names.is_some_and(|names| !names.is_empty()) && prefix.is_some() {
        return Err(invalid(
            "logStreamNames and logStreamNamePrefix cannot both be specified.",
        ));
    }
    if names.is_some_and(|names| names.len() > MAX_STREAM_NAMES) {
        return Err(invalid(format!(
            "1 validation error detected: Value at 'logStreamNames' failed to satisfy constraint: Member must have at most {MAX_STREAM_NAMES} items"
        )));
    }
    let after = match text(request, "nextToken") {
        None => (0, 0),
        Some(token) => match token_of(token)? {
            (true, position) => position,
            (false, _) => return Err(wrong_token()),
        },
    };
    let start = time(request, "startTime")?.unwrap_or(0);
    let end = time(request, "endTime")?.unwrap_or(Millis::MAX);
    let mut found: Vec<(&str, &LogEvent)> = Vec::new();
    for (name, stream) in &group.streams {
        let is_named = names.is_none_or(|names| {
            names.is_empty() || names.iter().any(|it| it.as_str() == Some(name))
        });
        if !is_named || prefix.is_some_and(|prefix| !name.starts_with(prefix)) {
            continue;
        }
        let from = stream.since(start).max(stream.after(after));
        let events = stream.events().range(from..);
        // One more than a page shows that there is another.
        let matching = events
            .take_while(|event| event.at <= end)
            .filter(|event| pattern.matches(&event.message))
            .take(most + 1);
        found.extend(matching.map(|event| (name.as_str(), event)));
    }
    found.sort_by_key(|(_, event)| event.position());
    let page = &found[..fitting(found.iter().map(|(_, event)| event), most)];
    let events: Vec<Value> = page
        .iter()
        .map(|(stream, event)| {
            json!({
                "logStreamName": stream, "timestamp": event.at, "message": event.message, "ingestionTime": event.ingested,
                "eventId": format!("{:056}", event.number),
            })
        })
        .collect();
    // AWS no longer lists the streams that it searched.
    let mut reply = json!({ "events": events, "searchedLogStreams": [] });
    if let Some((_, last)) = page.last().filter(|_| page.len() < found.len()) {
        reply["nextToken"] = json!(token_text("f", last.position()));
    }
    Ok(reply)
}

/// Returns how many events a page has: at most `most` and 1 MiB, but at least one.
fn fitting<'a>(events: impl Iterator<Item = &'a &'a LogEvent>, most: usize) -> usize {
    let mut bytes = 0;
    events
        .take(most)
        .enumerate()
        .take_while(|(index, event)| {
            bytes += event.bytes();
            *index == 0 || bytes <= MAX_PAGE
        })
        .count()
}

/// Returns a time in milliseconds.
fn time(request: &Value, name: &str) -> Result<Option<Millis>, CommonError> {
    match &request[name] {
        Value::Null => Ok(None),
        value => value.as_u64().map(Some).ok_or_else(|| {
            invalid(format!(
                "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must have value greater than or equal to 0"
            ))
        }),
    }
}

fn token_text(direction: &str, (at, number): Position) -> String {
    format!("{direction}/{at:028}{number:028}")
}

/// Returns whether a token is a forward one, and its position.
fn token_of(token: &str) -> Result<(bool, Position), CommonError> {
    let read = || {
        let (direction, digits) = token.split_once('/')?;
        let (at, number) = digits.split_at_checked(28)?;
        let forward = match direction {
            "f" => true,
            "b" => false,
            _ => return None,
        };
        Some((forward, (at.parse().ok()?, number.parse().ok()?)))
    };
    read().ok_or_else(wrong_token)
}
