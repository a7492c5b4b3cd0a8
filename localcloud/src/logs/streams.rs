//! The calls about log streams.

use serde_json::{Value, json};

use super::group_arn;
use super::input::{
    already_exists, group, group_mut, invalid, limit, limit_exceeded, not_found, page_start, text,
    valid_group, valid_stream,
};
use super::store::{MAX_STREAMS, Store};
use super::stream::LogStream;
use crate::clock::Millis;
use crate::common_error::CommonError;

const MAX_PAGE: usize = 50;

pub fn create(store: &mut Store, request: &Value, now: Millis) -> Result<Value, CommonError> {
    let name = valid_stream(request)?;
    let streams = store.streams();
    let group = group_mut(store, request)?;
    if group.streams.contains_key(name) {
        return Err(already_exists("stream"));
    }
    if streams >= MAX_STREAMS {
        return Err(limit_exceeded());
    }
    group.streams.insert(name.to_owned(), LogStream::new(now));
    Ok(Value::Null)
}

pub fn delete(store: &mut Store, request: &Value) -> Result<Value, CommonError> {
    let name = valid_stream(request)?;
    let of_group = valid_group(request)?;
    group(store, request)?;
    match store.remove_stream(of_group, name) {
        true => Ok(Value::Null),
        false => Err(not_found("stream")),
    }
}

pub fn describe(store: &Store, request: &Value, region: &str) -> Result<Value, CommonError> {
    let name = valid_group(request)?;
    let group = group(store, request)?;
    let prefix = text(request, "logStreamNamePrefix");
    let by_time = match text(request, "orderBy") {
        None | Some("LogStreamName") => false,
        Some("LastEventTime") if prefix.is_some() => {
            return Err(invalid(
                "Cannot order by LastEventTime with a logStreamNamePrefix.",
            ));
        }
        Some("LastEventTime") => true,
        Some(other) => {
            return Err(invalid(format!(
                "1 validation error detected: Value '{other}' at 'orderBy' failed to satisfy constraint: Member must satisfy enum value set: [LogStreamName, LastEventTime]"
            )));
        }
    };
    let (from, most) = (page_start(request)?, limit(request, MAX_PAGE)?);
    let mut matching: Vec<(&String, &LogStream)> = group
        .streams
        .iter()
        .filter(|(name, _)| prefix.is_none_or(|prefix| name.starts_with(prefix)))
        .collect();
    if by_time {
        matching.sort_by_key(|(_, stream)| stream.events().back().map(|event| event.at));
    }
    if request["descending"] == true {
        matching.reverse();
    }
    let rest = matching.get(from..).unwrap_or_default();
    let page = &rest[..rest.len().min(most)];
    let arn = group_arn(region, name);
    let described: Vec<Value> = page
        .iter()
        .map(|(name, stream)| described(name, stream, &arn))
        .collect();
    let mut reply = json!({ "logStreams": described });
    if page.len() < rest.len() {
        reply["nextToken"] = json!((from + page.len()).to_string());
    }
    Ok(reply)
}

fn described(name: &str, stream: &LogStream, group_arn: &str) -> Value {
    let mut described = json!({
        "logStreamName": name, "creationTime": stream.created, "arn": format!("{group_arn}:log-stream:{name}"),
        // AWS no longer counts the bytes of streams.
        "storedBytes": 0,
    });
    let events = stream.events();
    if let (Some(first), Some(last)) = (events.front(), events.back()) {
        described["firstEventTimestamp"] = json!(first.at);
        described["lastEventTimestamp"] = json!(last.at);
        described["lastIngestionTime"] = json!(stream.last_ingested);
        described["uploadSequenceToken"] = json!(format!("{:056}", last.number));
    }
    described
}
