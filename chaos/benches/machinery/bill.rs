//! What AWS asks for the requests of a million recognitions.

use std::collections::BTreeMap;

/// Dollars for a million calls: prices of us-east-1 as of June 2025, written from memory.
const S3_PUT: f64 = 5.0;
const S3_GET: f64 = 0.4;
const SQS: f64 = 0.4;

/// Returns the dollars for the requests of a million recognitions, given the calls of one.
///
/// SQS counts each 64 KB of a call as a request. The calls of recognitions are smaller.
pub fn dollars_a_million(calls: &BTreeMap<String, f64>) -> f64 {
    calls
        .iter()
        .map(|(action, count)| count * price(action))
        .sum()
}

fn price(action: &str) -> f64 {
    match action {
        "PutObject" | "ListObjectsV2" | "CreateBucket" => S3_PUT,
        "GetObject" | "HeadObject" | "HeadBucket" => S3_GET,
        "DeleteObject" => 0.0,
        _ => SQS,
    }
}
