//! The rates that concurrent clients reach together.

use std::time::{Duration, Instant};

use anyhow::Context;
use aws_sdk_s3::primitives::ByteStream;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::servers::Server;

const BODY_BYTES: usize = 300;
const OBJECT_BYTES: usize = 2048;

/// Measures cycles per second. A cycle sends, receives and deletes one message.
pub async fn sqs_cycles(
    server: &Server,
    clients: usize,
    duration: Duration,
    round: usize,
) -> anyhow::Result<f64> {
    let sqs = server.sqs();
    let created = sqs.create_queue().queue_name(format!("cycles-{round}"));
    let url = created.send().await?.queue_url.context("no queue URL")?;
    rate(clients, duration, move |_| {
        let (sqs, url) = (sqs.clone(), url.clone());
        async move {
            let body = "x".repeat(BODY_BYTES);
            let send = sqs.send_message().queue_url(&url).message_body(body);
            send.send().await?;
            let received = sqs.receive_message().queue_url(&url).send().await?;
            for message in received.messages() {
                let handle = message.receipt_handle().unwrap_or_default();
                let delete = sqs.delete_message().queue_url(&url).receipt_handle(handle);
                delete.send().await?;
            }
            Ok(())
        }
    })
    .await
}

/// Measures pairs per second. A pair puts and gets a new object of 2 KB.
pub async fn s3_pairs(
    server: &Server,
    clients: usize,
    duration: Duration,
    round: usize,
) -> anyhow::Result<f64> {
    let s3 = server.s3();
    let bucket = format!("pairs-{round}");
    s3.create_bucket().bucket(&bucket).send().await?;
    rate(clients, duration, move |turn| {
        let (s3, bucket) = (s3.clone(), bucket.clone());
        async move {
            let body = ByteStream::from(vec![7; OBJECT_BYTES]);
            let put = s3.put_object().bucket(&bucket).key(&turn).body(body);
            put.send().await?;
            let got = s3.get_object().bucket(&bucket).key(&turn).send().await?;
            got.body.collect().await?;
            Ok(())
        }
    })
    .await
}

/// Measures turns per second. Every turn gets a name of its own.
async fn rate<F>(
    clients: usize,
    duration: Duration,
    turn: impl Fn(String) -> F + Clone + Send + Sync + 'static,
) -> anyhow::Result<f64>
where
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let turn = turn.clone();
        tasks.spawn(async move {
            let mut turns = 0;
            while started.elapsed() < duration {
                turn(format!("{client}-{turns}")).await?;
                turns += 1;
            }
            anyhow::Ok(turns)
        });
    }
    let mut turns = 0;
    while let Some(task) = tasks.join_next().await {
        turns += task??;
    }
    Ok(f64::from(turns) / started.elapsed().as_secs_f64())
}

/// Returns the median, or 0 of no values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Returns a figure for the report, with one decimal.
pub fn rounded(value: f64) -> Value {
    json!((value * 10.0).round() / 10.0)
}
