//! Lambda: functions that are Python scripts behind the Runtime API.

mod asynchronous;
mod code;
mod functions;
mod limits;
mod roles;
mod sources;
mod urls;

use std::io::{Cursor, Write};
use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{Environment, FunctionCode, Runtime};
use localcloud::{Config, LambdaConfig};
use serde_json::Value;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::cloud::Cloud;

const ROLE: &str = "arn:aws:iam::000000000000:role/f";

/// The runtime: it reads invocations, and calls `handle(event, request_id)` of the test's script.
const RUNTIME: &str = r#"#!/usr/bin/env python3
import json, os, sys, time, traceback, urllib.request
API = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/"
def post(path, value):
    urllib.request.urlopen(urllib.request.Request(API + path, json.dumps(value).encode(), method="POST")).read()
SCRIPT
while True:
    with urllib.request.urlopen(API + "invocation/next") as reply:
        request_id, event = reply.headers["Lambda-Runtime-Aws-Request-Id"], json.load(reply)
    try:
        post(f"invocation/{request_id}/response", handle(event, request_id))
    except Exception as error:
        post(f"invocation/{request_id}/error", {"errorType": type(error).__name__, "errorMessage": str(error)})
"#;

/// A localcloud whose functions retry at once.
async fn cloud() -> Cloud {
    Cloud::with(Config {
        lambda: LambdaConfig {
            retry_delay: Duration::from_millis(1),
            ..LambdaConfig::default()
        },
        ..Config::default()
    })
    .await
}

/// Returns a zip with files of a mode.
fn zip_of(files: &[(&str, &str, u32)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text, mode) in files {
        let options = SimpleFileOptions::default().unix_permissions(*mode);
        zip.start_file(*name, options).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Returns the package of a function with the definition of `handle`.
fn package(script: &str) -> Vec<u8> {
    zip_of(&[("bootstrap", &RUNTIME.replace("SCRIPT", script), 0o755)])
}

fn code(zip: Vec<u8>) -> FunctionCode {
    FunctionCode::builder().zip_file(Blob::new(zip)).build()
}

pub fn create(
    lambda: &Client,
    name: &str,
    script: &str,
) -> aws_sdk_lambda::operation::create_function::builders::CreateFunctionFluentBuilder {
    lambda
        .create_function()
        .function_name(name)
        .runtime(Runtime::Providedal2023)
        .role(ROLE)
        .handler("bootstrap")
        .timeout(20)
        .code(code(package(script)))
}

fn variables(pairs: &[(&str, &str)]) -> Environment {
    let pairs = pairs.iter();
    pairs
        .fold(Environment::builder(), |environment, (name, value)| {
            environment.variables(*name, *value)
        })
        .build()
}

/// Invokes a function. Returns its payload, or the payload of its error.
pub async fn invoke(lambda: &Client, name: &str, payload: &str) -> Result<Value, Value> {
    let invoke = lambda.invoke().function_name(name);
    let reply = invoke.payload(Blob::new(payload)).send().await.unwrap();
    let payload = reply.payload().map(Blob::as_ref).unwrap_or_default();
    let value = serde_json::from_slice(payload).unwrap();
    match reply.function_error() {
        Some(_) => Err(value),
        None => Ok(value),
    }
}

async fn queue(cloud: &Cloud, name: &str) -> String {
    let create = cloud.sqs().create_queue().queue_name(name);
    create.send().await.unwrap();
    format!("arn:aws:sqs:us-east-1:000000000000:{name}")
}

/// Waits for the next message of a queue, and deletes it.
async fn next(cloud: &Cloud, queue: &str) -> aws_sdk_sqs::types::Message {
    let sqs = cloud.sqs();
    let receive = sqs.receive_message().queue_url(queue).wait_time_seconds(20);
    let receive = receive.message_attribute_names("All");
    let received = receive.send().await.unwrap();
    let message = received.messages()[0].clone();
    let delete = sqs.delete_message().queue_url(queue);
    let delete = delete.receipt_handle(message.receipt_handle().unwrap());
    delete.send().await.unwrap();
    message
}

/// Python code of `out(value)`, which appends a line to a file.
fn writes_to(cloud: &Cloud, name: &str) -> String {
    let data = cloud.data_folder().join(name);
    format!(
        "OUT = {:?}\ndef out(value):\n    with open(OUT, 'a') as file:\n        file.write(json.dumps(value) + '\\n')\n",
        data.display()
    )
}

/// Waits until the functions wrote a number of lines, and returns them.
async fn written(cloud: &Cloud, name: &str, count: usize) -> Vec<Value> {
    let file = cloud.data_folder().join(name);
    crate::cloud::eventually(&format!("{count} lines of {name}"), || async {
        let text = std::fs::read_to_string(&file).ok()?;
        let lines: Vec<Value> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        (lines.len() >= count).then_some(lines)
    })
    .await
}
