//! localcloud's SQS, in both its protocols. An input's lines are calls to one account, in order: a form that begins with
//! `Action=`, or an action, a space and JSON.

#![no_main]

use std::sync::Arc;

use futures::FutureExt;
use libfuzzer_sys::fuzz_target;
use localcloud::fuzzing::{Clock, Sqs, query_error};
use muster_fuzz::is_xml;
use tokio::runtime::Builder;

const MOST_CALLS: usize = 20;
const URL: &str = "http://localhost:4566";

fuzz_target!(|input: &[u8]| {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without I/O needs nothing");
    let _entered = runtime.enter();
    let sqs = Arc::new(Sqs::new(Clock::start(), "us-east-1"));
    for line in input.split(|&byte| byte == b'\n').take(MOST_CALLS) {
        if line.starts_with(b"Action=") {
            let answer = sqs
                .call_query(line, "/000000000000/q", URL, "id")
                .now_or_never();
            let document = match answer {
                Some(Ok(document)) => document,
                Some(Err(error)) => {
                    query_error(error.fault(), error.query_code(), &error.to_string(), "id")
                }
                None => continue,
            };
            assert!(is_xml(&document), "{document}");
        } else {
            let mut words = line.splitn(2, |&byte| byte == b' ');
            let action = String::from_utf8_lossy(words.next().unwrap_or_default());
            let body = words.next().unwrap_or_default();
            // A receive that waits is given up.
            if let Some(Ok(answer)) = sqs.call(&action, body, URL).now_or_never() {
                serde_json::from_slice::<serde_json::Value>(&answer).expect("an answer is JSON");
            }
        }
    }
});
