//! CloudWatch Logs: groups and streams of events in bounded memory, and the calls that write and read them.
//!
//! | module | does |
//! |---|---|
//! | `store`, `stream` | groups, streams and their events within bounds; pure |
//! | `pattern` | filter patterns; pure |
//! | `input` | reads the parameters of calls |
//! | `groups`, `streams`, `put`, `read` | the calls |

mod groups;
mod input;
mod pattern;
mod put;
mod read;
mod store;
mod stream;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use serde_json::Value;

use crate::account::ACCOUNT_ID;
use crate::clock::Clock;
use crate::common_error::CommonError;
use store::Store;

/// The actions of the service.
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

/// The logs of the account.
#[derive(Debug)]
pub struct Logs {
    clock: Clock,
    region: String,
    store: Mutex<Store>,
}

impl Logs {
    pub fn new(clock: Clock, region: &str) -> Self {
        Self {
            clock,
            region: region.to_owned(),
            store: Mutex::default(),
        }
    }

    /// Adds one event now. Makes the group and the stream if they are missing; a message is cut at 256 KiB.
    pub fn append(&self, group: &str, stream: &str, message: &str) {
        let now = self.clock.now();
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.append(group, stream, message, now);
    }

    /// Handles one call.
    ///
    /// # Errors
    /// The service's error; `UnknownOperationException` for an action that it does not have here.
    pub fn call(&self, action: &str, request: &Value) -> Result<Value, CommonError> {
        let now = self.clock.now();
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let store = &mut *store;
        store.expire(now);
        match action {
            "CreateLogGroup" => groups::create(store, request, now),
            "DeleteLogGroup" => groups::delete(store, request),
            "DescribeLogGroups" => groups::describe(store, request, &self.region),
            "PutRetentionPolicy" => groups::put_retention(store, request),
            "DeleteRetentionPolicy" => groups::delete_retention(store, request),
            "CreateLogStream" => streams::create(store, request, now),
            "DeleteLogStream" => streams::delete(store, request),
            "DescribeLogStreams" => streams::describe(store, request, &self.region),
            "PutLogEvents" => put::put(store, request, now),
            "GetLogEvents" => read::get(store, request),
            "FilterLogEvents" => read::filter(store, request),
            _ => {
                let message = format!("localcloud has no action {action:?} of logs.");
                Err(CommonError::new(
                    "UnknownOperationException",
                    StatusCode::BAD_REQUEST,
                    message,
                ))
            }
        }
    }
}

/// Returns the ARN that IAM compares: that of a group has an empty stream.
pub fn access_arn(region: &str, request: &Value) -> String {
    let group = input::group_name(request).unwrap_or_default();
    let stream = request["logStreamName"].as_str().unwrap_or_default();
    format!("{}:log-stream:{stream}", group_arn(region, group))
}

fn group_arn(region: &str, group: &str) -> String {
    format!("arn:aws:logs:{region}:{ACCOUNT_ID}:log-group:{group}")
}
