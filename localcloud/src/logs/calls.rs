//! The calls, with requests and replies as JSON.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};

use super::filter::Filter;
use super::{Event, Group, Logs, State, Stream};
use crate::account::ACCOUNT_ID;
use crate::clock::Millis;
use crate::common_error::CommonError;
use crate::iam::Access;

pub const ACTIONS: [&str; 11] = [
    "CreateLogGroup",
    "CreateLogStream",
    "DeleteLogGroup",
    "DeleteLogStream",
    "DeleteRetentionPolicy",
    "DescribeLogGroups",
    "DescribeLogStreams",
    "FilterLogEvents",
    "GetLogEvents",
    "PutLogEvents",
    "PutRetentionPolicy",
];

/// AWS's limits on a page, of events and of descriptions.
const MAX_EVENTS: usize = 10_000;
const MAX_DESCRIPTIONS: usize = 50;
/// What a page of events may have, in bytes.
const MAX_PAGE_BYTES: usize = 1 << 20;
const DAY: Millis = 24 * 3600 * 1000;

type Reply = Result<Value, CommonError>;

impl Logs {
    /// Handles one call.
    ///
    /// # Errors
    /// CloudWatch Logs' errors.
    pub fn call(&self, action: &str, request: &Value) -> Reply {
        let now = self.clock.now();
        let mut state = self.lock();
        match action {
            "CreateLogGroup" => state.create_group(request, now),
            "DeleteLogGroup" => state.delete_group(request),
            "DescribeLogGroups" => Ok(state.describe_groups(request, &self.region)),
            "CreateLogStream" => state.create_stream(request, now),
            "DeleteLogStream" => state.delete_stream(request),
            "DescribeLogStreams" => state.describe_streams(request, &self.region),
            "PutLogEvents" => state.put_events(request, now),
            "GetLogEvents" => state.get_events(request),
            "FilterLogEvents" => state.filter_events(request),
            "PutRetentionPolicy" => {
                state.group(request)?.retention_days = request["retentionInDays"].as_u64();
                Ok(json!({}))
            }
            "DeleteRetentionPolicy" => {
                state.group(request)?.retention_days = None;
                Ok(json!({}))
            }
            _ => {
                let message = format!("localcloud has no action {action:?} of CloudWatch Logs.");
                Err(error("UnknownOperationException", message))
            }
        }
    }

    /// Returns the access that a call needs.
    pub fn access(&self, action: &str, request: &Value) -> Access {
        let group = group_name(request).unwrap_or("*");
        Access::new(
            format!("logs:{action}"),
            format!("{}:*", group_arn(&self.region, group)),
        )
    }
}

impl State {
    fn create_group(&mut self, request: &Value, now: Millis) -> Reply {
        let name = required(request, "logGroupName")?;
        if self.groups.contains_key(name) {
            return Err(exists("log group"));
        }
        self.groups.insert(name.to_owned(), Group::new(now));
        Ok(json!({}))
    }

    fn delete_group(&mut self, request: &Value) -> Reply {
        let name = required(request, "logGroupName")?;
        let group = self
            .groups
            .remove(name)
            .ok_or_else(|| missing("log group"))?;
        self.bytes -= group
            .streams
            .values()
            .map(|stream| stream.bytes)
            .sum::<usize>();
        Ok(json!({}))
    }

    fn create_stream(&mut self, request: &Value, now: Millis) -> Reply {
        let name = required(request, "logStreamName")?.to_owned();
        let streams = &mut self.group(request)?.streams;
        if streams.contains_key(&name) {
            return Err(exists("log stream"));
        }
        streams.insert(name, Stream::new(now));
        Ok(json!({}))
    }

    fn delete_stream(&mut self, request: &Value) -> Reply {
        let name = required(request, "logStreamName")?;
        let stream = self.group(request)?.streams.remove(name);
        self.bytes -= stream.ok_or_else(|| missing("log stream"))?.bytes;
        Ok(json!({}))
    }

    fn describe_groups(&self, request: &Value, region: &str) -> Value {
        let prefix = request["logGroupNamePrefix"].as_str().unwrap_or_default();
        let pattern = request["logGroupNamePattern"].as_str().unwrap_or_default();
        let wanted = self.groups.iter();
        let wanted = wanted.filter(|(name, _)| name.starts_with(prefix) && name.contains(pattern));
        let shown = wanted.map(|(name, group)| {
            let mut shown = json!({
                "logGroupName": name,
                "creationTime": group.created,
                "arn": format!("{}:*", group_arn(region, name)),
                "logGroupArn": group_arn(region, name),
                "metricFilterCount": 0,
                "storedBytes": group.streams.values().map(|stream| stream.bytes).sum::<usize>(),
                "logGroupClass": "STANDARD",
            });
            if let Some(days) = group.retention_days {
                shown["retentionInDays"] = days.into();
            }
            (name.clone(), shown)
        });
        page("logGroups", shown.collect(), request)
    }

    fn describe_streams(&mut self, request: &Value, region: &str) -> Reply {
        let group_name = group_name(request).unwrap_or_default().to_owned();
        let prefix = request["logStreamNamePrefix"].as_str().unwrap_or_default();
        let group = self.group(request)?;
        let wanted = group
            .streams
            .iter()
            .filter(|(name, _)| name.starts_with(prefix));
        let mut wanted: Vec<_> = wanted.collect();
        if request["orderBy"] == "LastEventTime" {
            wanted.sort_by_key(|(_, stream)| stream.events.back().map(|event| event.timestamp));
        }
        if request["descending"] == true {
            wanted.reverse();
        }
        let shown = wanted.into_iter().map(|(name, stream)| {
            let mut shown = json!({
                "logStreamName": name,
                "creationTime": stream.created,
                "arn": format!("{}:log-stream:{name}", group_arn(region, &group_name)),
                "storedBytes": 0,
                "uploadSequenceToken": "0",
            });
            if let (Some(first), Some(last)) = (stream.events.front(), stream.events.back()) {
                shown["firstEventTimestamp"] = first.timestamp.into();
                shown["lastEventTimestamp"] = last.timestamp.into();
                shown["lastIngestionTime"] = last.ingested.into();
            }
            (name.clone(), shown)
        });
        Ok(page("logStreams", shown.collect(), request))
    }

    fn put_events(&mut self, request: &Value, now: Millis) -> Reply {
        let stream = required(request, "logStreamName")?.to_owned();
        let group = group_name(request).unwrap_or_default().to_owned();
        if !self.group(request)?.streams.contains_key(&stream) {
            return Err(missing("log stream"));
        }
        let events = request["logEvents"].as_array();
        let events = events.ok_or_else(|| invalid("logEvents is required"))?;
        if events.is_empty() || events.len() > MAX_EVENTS {
            return Err(invalid("Log events must be from 1 to 10000"));
        }
        let times = || {
            events
                .iter()
                .filter_map(|event| event["timestamp"].as_u64())
        };
        if times().count() != events.len() || !times().is_sorted() {
            return Err(invalid(
                "Log events in a single PutLogEvents request must be in chronological order.",
            ));
        }
        let (oldest, newest) = (now.saturating_sub(14 * DAY), now + 2 * 3600 * 1000);
        let mut rejected = json!({});
        for (index, event) in events.iter().enumerate() {
            let timestamp = event["timestamp"].as_u64().unwrap_or_default();
            if timestamp < oldest {
                rejected["tooOldLogEventEndIndex"] = (index + 1).into();
            } else if timestamp > newest {
                if rejected["tooNewLogEventStartIndex"].is_null() {
                    rejected["tooNewLogEventStartIndex"] = index.into();
                }
            } else {
                let message = event["message"].as_str().unwrap_or_default().to_owned();
                self.add(&group, &stream, timestamp, now, message);
            }
        }
        let mut reply = json!({ "nextSequenceToken": "0" });
        if rejected.as_object().is_some_and(|it| !it.is_empty()) {
            reply["rejectedLogEventsInfo"] = rejected;
        }
        Ok(reply)
    }

    fn get_events(&mut self, request: &Value) -> Reply {
        let name = required(request, "logStreamName")?;
        let group = self.group(request)?;
        let stream = group
            .streams
            .get(name)
            .ok_or_else(|| missing("log stream"))?;
        let (begin, end) = times(request);
        let limit = limit(request, MAX_EVENTS);
        let wanted: Vec<&Event> = stream
            .events
            .iter()
            .filter(|event| (begin..end).contains(&event.timestamp))
            .collect();
        // A token names the number of an event: the first one of the next page, or the end of the page before.
        let token = request["nextToken"].as_str();
        let number = |token: &str| token.get(2..).and_then(|digits| digits.parse::<u64>().ok());
        let (from, to) = match token {
            Some(token) => {
                let number =
                    number(token).ok_or_else(|| invalid("The specified nextToken is invalid."))?;
                let position = wanted.partition_point(|event| event.number < number);
                if token.starts_with("f/") {
                    (position, (position + limit).min(wanted.len()))
                } else {
                    (position.saturating_sub(limit), position)
                }
            }
            None if request["startFromHead"] == true => (0, limit.min(wanted.len())),
            None => (wanted.len().saturating_sub(limit), wanted.len()),
        };
        let shown = &wanted[from..to];
        let first = shown.first().or(wanted.get(from)).map_or_else(
            || wanted.last().map_or(0, |event| event.number + 1),
            |event| event.number,
        );
        let last = shown.last().map_or(first, |event| event.number + 1);
        let events: Vec<_> = shown.iter().map(|event| event.json()).collect();
        Ok(json!({
            "events": events,
            "nextForwardToken": format!("f/{last:056}"),
            "nextBackwardToken": format!("b/{first:056}"),
        }))
    }

    fn filter_events(&mut self, request: &Value) -> Reply {
        let pattern = request["filterPattern"].as_str().unwrap_or_default();
        let filter = Filter::parse(pattern).ok_or_else(|| {
            invalid(
                "localcloud has filter patterns of terms alone, such as REPORT -\"Init Duration\"",
            )
        })?;
        let names = request["logStreamNames"].as_array();
        let prefix = request["logStreamNamePrefix"].as_str().unwrap_or_default();
        let (begin, end) = times(request);
        let after = match request["nextToken"].as_str() {
            Some(token) => Some(
                token
                    .parse::<u64>()
                    .map_err(|_| invalid("The specified nextToken is invalid."))?,
            ),
            None => None,
        };
        let limit = limit(request, MAX_EVENTS);
        let group = self.group(request)?;
        let streams = group.streams.iter().filter(|(name, _)| {
            name.starts_with(prefix)
                && names.is_none_or(|names| names.iter().any(|it| it == name.as_str()))
        });
        // In the order in which they came in, across streams.
        let mut found = BTreeMap::new();
        for (name, stream) in streams {
            for event in &stream.events {
                let is_wanted = (begin..end).contains(&event.timestamp)
                    && after.is_none_or(|after| event.number > after)
                    && filter.matches(&event.message);
                if is_wanted {
                    found.insert(event.number, (name, event));
                }
            }
        }
        let mut bytes = 0;
        let total = found.len();
        let page: Vec<_> = found
            .into_iter()
            .take(limit)
            .take_while(|(_, (_, event))| {
                bytes += event.message.len();
                bytes <= MAX_PAGE_BYTES || bytes == event.message.len()
            })
            .collect();
        let events: Vec<_> = page
            .iter()
            .map(|(number, (name, event))| {
                let mut shown = event.json();
                shown["logStreamName"] = name.as_str().into();
                shown["eventId"] = format!("{number:056}").into();
                shown
            })
            .collect();
        let mut reply = json!({ "events": events, "searchedLogStreams": [] });
        if let Some((last, _)) = page.last().filter(|_| page.len() < total) {
            reply["nextToken"] = last.to_string().into();
        }
        Ok(reply)
    }

    fn group(&mut self, request: &Value) -> Result<&mut Group, CommonError> {
        let name = group_name(request).ok_or_else(|| invalid("logGroupName is required"))?;
        self.groups
            .get_mut(name)
            .ok_or_else(|| missing("log group"))
    }
}

impl Event {
    fn json(&self) -> Value {
        json!({
            "timestamp": self.timestamp,
            "message": self.message,
            "ingestionTime": self.ingested,
        })
    }
}

/// Returns the name of the group that a request names by its name or its ARN.
fn group_name(request: &Value) -> Option<&str> {
    let name = request["logGroupName"].as_str();
    name.or_else(|| {
        let identifier = request["logGroupIdentifier"].as_str()?;
        let name = identifier.split(":log-group:").last()?;
        Some(name.trim_end_matches(":*"))
    })
}

fn group_arn(region: &str, name: &str) -> String {
    format!("arn:aws:logs:{region}:{ACCOUNT_ID}:log-group:{name}")
}

fn times(request: &Value) -> (Millis, Millis) {
    let begin = request["startTime"].as_u64().unwrap_or_default();
    (begin, request["endTime"].as_u64().unwrap_or(Millis::MAX))
}

fn limit(request: &Value, most: usize) -> usize {
    let asked = request["limit"]
        .as_u64()
        .and_then(|limit| usize::try_from(limit).ok());
    asked.unwrap_or(most).clamp(1, most)
}

/// Returns a page of descriptions. The token is the name of the last one.
fn page(list: &str, mut all: Vec<(String, Value)>, request: &Value) -> Value {
    if let Some(token) = request["nextToken"].as_str()
        && let Some(last) = all.iter().position(|(name, _)| name == token)
    {
        all.drain(..=last);
    }
    let limit = limit(request, MAX_DESCRIPTIONS);
    let more = all.len() > limit;
    all.truncate(limit);
    let last = all.last().map(|(name, _)| name.clone());
    let shown: Vec<_> = all.into_iter().map(|(_, shown)| shown).collect();
    let mut reply = json!({ list: shown });
    if let (true, Some(last)) = (more, last) {
        reply["nextToken"] = last.into();
    }
    reply
}

fn required<'a>(request: &'a Value, name: &str) -> Result<&'a str, CommonError> {
    let text = request[name].as_str().filter(|text| !text.is_empty());
    text.ok_or_else(|| invalid(format!("{name} is required")))
}

fn missing(what: &str) -> CommonError {
    error(
        "ResourceNotFoundException",
        format!("The specified {what} does not exist."),
    )
}

fn exists(what: &str) -> CommonError {
    error(
        "ResourceAlreadyExistsException",
        format!("The specified {what} already exists"),
    )
}

fn invalid(message: impl Into<String>) -> CommonError {
    error("InvalidParameterException", message)
}

fn error(code: &str, message: impl Into<String>) -> CommonError {
    CommonError::new(code, StatusCode::BAD_REQUEST, message)
}
