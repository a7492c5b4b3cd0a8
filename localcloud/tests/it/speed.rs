//! Measurements, not checks: `cargo test --release -p localcloud -- --ignored --nocapture speed`.

use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use tokio::task::JoinSet;

use crate::cloud::Cloud;

const FOR: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn speed_of_sqs_and_s3() {
    let cloud = Cloud::start().await;
    cloud
        .sqs()
        .create_queue()
        .queue_name("q")
        .send()
        .await
        .unwrap();
    cloud
        .s3()
        .create_bucket()
        .bucket("bucket")
        .send()
        .await
        .unwrap();
    for clients in [1, 16] {
        let sqs = cloud.sqs();
        let cycles = rate(clients, move |_| {
            let sqs = sqs.clone();
            async move {
                sqs.send_message()
                    .queue_url("q")
                    .message_body("x".repeat(300))
                    .send()
                    .await
                    .unwrap();
                let received = sqs
                    .receive_message()
                    .queue_url("q")
                    .wait_time_seconds(1)
                    .send()
                    .await
                    .unwrap();
                for message in received.messages() {
                    let handle = message.receipt_handle().unwrap();
                    sqs.delete_message()
                        .queue_url("q")
                        .receipt_handle(handle)
                        .send()
                        .await
                        .unwrap();
                }
            }
        });
        println!("clients={clients} sqs_cycles_per_s={:.0}", cycles.await);
        let s3 = cloud.s3();
        let pairs = rate(clients, move |turn| {
            let s3 = s3.clone();
            async move {
                let key = format!("{clients}-{turn}");
                let body = ByteStream::from(vec![7; 2048]);
                s3.put_object()
                    .bucket("bucket")
                    .key(&key)
                    .if_none_match("*")
                    .body(body)
                    .send()
                    .await
                    .unwrap();
                let object = s3
                    .get_object()
                    .bucket("bucket")
                    .key(&key)
                    .send()
                    .await
                    .unwrap();
                object.body.collect().await.unwrap();
            }
        });
        println!("clients={clients} s3_put_get_per_s={:.0}", pairs.await);
    }
    cloud.stop().await;
}

/// How many turns a second `clients` tasks together make. Every turn has a number of its own.
async fn rate<F>(clients: usize, turn: impl Fn(String) -> F + Clone + Send + Sync + 'static) -> f64
where
    F: Future<Output = ()> + Send,
{
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let turn = turn.clone();
        tasks.spawn(async move {
            let mut turns = 0;
            while started.elapsed() < FOR {
                turn(format!("{client}-{turns}")).await;
                turns += 1;
            }
            turns
        });
    }
    let turns: usize = tasks.join_all().await.into_iter().sum();
    turns as f64 / started.elapsed().as_secs_f64()
}
