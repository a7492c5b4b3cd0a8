//! The server's memory after many messages went through a queue.

use std::time::Instant;

use anyhow::Context;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry};
use serde_json::{Map, Value};
use tokio::task::JoinSet;

use crate::rates::rounded;
use crate::servers::Server;

const BATCH: usize = 10;
const BODY_BYTES: usize = 300;

/// Sends, receives and deletes messages in batches of 10. Measures the resident memory after a tenth of them and after all.
pub async fn measure(
    server: &Server,
    messages: usize,
    clients: usize,
) -> anyhow::Result<Map<String, Value>> {
    let sqs = server.sqs();
    let created = sqs.create_queue().queue_name("memory").send().await?;
    let url = created.queue_url.context("no queue URL")?;
    let started = Instant::now();
    let tenth = messages / 10;
    put_through(&sqs, &url, tenth, clients).await?;
    let after_tenth = server.resident_mb()?;
    put_through(&sqs, &url, messages - tenth, clients).await?;
    let after_all = server.resident_mb()?;
    let per_second = messages as f64 / started.elapsed().as_secs_f64();
    let kept = if server.keeps_data() {
        "_with_data"
    } else {
        ""
    };
    let size = if messages == 1_000_000 {
        "1m".to_owned()
    } else {
        messages.to_string()
    };
    Ok(Map::from_iter([
        (
            format!("rss_mb_after_{size}_messages{kept}"),
            rounded(after_all),
        ),
        (format!("rss_mb_after_a_tenth{kept}"), rounded(after_tenth)),
        (format!("batched_messages{kept}_per_s"), rounded(per_second)),
    ]))
}

async fn put_through(
    sqs: &aws_sdk_sqs::Client,
    url: &str,
    messages: usize,
    clients: usize,
) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (sqs, url) = (sqs.clone(), url.to_owned());
        let batches = (messages / BATCH).saturating_sub(client).div_ceil(clients);
        tasks.spawn(async move {
            for _ in 0..batches {
                put_batch_through(&sqs, &url).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

async fn put_batch_through(sqs: &aws_sdk_sqs::Client, url: &str) -> anyhow::Result<()> {
    let body = "x".repeat(BODY_BYTES);
    let entries = (0..BATCH).map(|id| {
        SendMessageBatchRequestEntry::builder()
            .id(id.to_string())
            .message_body(&body)
            .build()
    });
    sqs.send_message_batch()
        .queue_url(url)
        .set_entries(Some(entries.collect::<Result<_, _>>()?))
        .send()
        .await?;
    let mut taken = 0;
    // Every client receives as many messages as it sent, also those of other clients.
    while taken < BATCH {
        let most = (BATCH - taken) as i32;
        let received = sqs
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(most)
            .wait_time_seconds(5)
            .send()
            .await?;
        let entries: Vec<_> = received
            .messages()
            .iter()
            .enumerate()
            .map(|(id, message)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(id.to_string())
                    .receipt_handle(message.receipt_handle().unwrap_or_default())
                    .build()
            })
            .collect::<Result<_, _>>()?;
        taken += entries.len();
        if !entries.is_empty() {
            sqs.delete_message_batch()
                .queue_url(url)
                .set_entries(Some(entries))
                .send()
                .await?;
        }
    }
    Ok(())
}
