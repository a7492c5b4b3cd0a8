//! PutLogEvents.

use serde_json::{Value, json};

use super::input::{group, invalid, stream, valid_group, valid_stream};
use super::store::{MAX_MESSAGE, Store};
use super::stream::EVENT_OVERHEAD;
use crate::clock::Millis;
use crate::common_error::CommonError;

const MAX_EVENTS: usize = 10_000;
const MAX_BATCH: usize = 1024 * 1024;
const HOUR: Millis = 60 * 60 * 1000;
const MAX_SPAN: Millis = 24 * HOUR;
const MAX_AGE: Millis = 14 * 24 * HOUR;
const MAX_AHEAD: Millis = 2 * HOUR;

/// Adds a batch. Events that are too old or too new are left out, and the reply says which.
pub fn put(store: &mut Store, request: &Value, now: Millis) -> Result<Value, CommonError> {
    let (group_name, stream_name) = (valid_group(request)?, valid_stream(request)?);
    stream(store, request)?;
    let expired_before = group(store, request)?.oldest(now);
    let events = events(request)?;
    let (mut expired, mut too_old, mut too_new) = (None, None, None);
    for (index, (at, message)) in events.iter().enumerate() {
        if *at < expired_before {
            expired = Some(index + 1);
        } else if at + MAX_AGE < now {
            too_old = Some(index + 1);
        } else if *at > now + MAX_AHEAD {
            too_new = too_new.or(Some(index));
        } else {
            store.add(group_name, stream_name, *at, message, now);
        }
    }
    let mut reply = json!({ "nextSequenceToken": format!("{now:056}") });
    for (name, index) in [
        ("expiredLogEventEndIndex", expired),
        ("tooOldLogEventEndIndex", too_old),
        ("tooNewLogEventStartIndex", too_new),
    ] {
        if let Some(index) = index {
            reply["rejectedLogEventsInfo"][name] = json!(index);
        }
    }
    Ok(reply)
}

fn events(request: &Value) -> Result<Vec<(Millis, &str)>, CommonError> {
    let items = request["logEvents"].as_array();
    let items = items.filter(|items| (1..=MAX_EVENTS).contains(&items.len()));
    let items = items.ok_or_else(|| {
        invalid(format!(
            "1 validation error detected: Value at 'logEvents' failed to satisfy constraint: Member must have from 1 to {MAX_EVENTS} items"
        ))
    })?;
    let mut events: Vec<(Millis, &str)> = Vec::with_capacity(items.len());
    let mut bytes = 0;
    for item in items {
        let message = item["message"].as_str().filter(|text| !text.is_empty());
        let (Some(at), Some(message)) = (item["timestamp"].as_u64(), message) else {
            return Err(invalid(
                "1 validation error detected: each of 'logEvents' must have a timestamp and a message",
            ));
        };
        if message.len() + EVENT_OVERHEAD > MAX_MESSAGE {
            return Err(invalid(format!(
                "Log event too large: {} bytes exceeds limit of {MAX_MESSAGE}",
                message.len() + EVENT_OVERHEAD
            )));
        }
        if events.last().is_some_and(|(before, _)| *before > at) {
            return Err(invalid(
                "Log events in a single PutLogEvents request must be in chronological order.",
            ));
        }
        bytes += message.len() + EVENT_OVERHEAD;
        events.push((at, message));
    }
    if bytes > MAX_BATCH {
        return Err(invalid(format!(
            "Upload too large: {bytes} bytes exceeds limit of {MAX_BATCH}"
        )));
    }
    if let (Some((first, _)), Some((last, _))) = (events.first(), events.last())
        && last - first > MAX_SPAN
    {
        return Err(invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    Ok(events)
}
