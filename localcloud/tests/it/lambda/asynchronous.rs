//! Asynchronous invocations, and what ends them.

use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{DeadLetterConfig, DestinationConfig, InvocationType, OnFailure};
use serde_json::{Value, json};

use super::{cloud, create, next, queue, writes_to, written};

#[tokio::test]
async fn an_event_that_fails_is_retried_twice_and_becomes_a_dead_letter() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    let dead = queue(&cloud, "dead").await;
    let failed = queue(&cloud, "failed").await;
    let script = writes_to(&cloud, "seen")
        + "def handle(event, request_id):\n    out([request_id, event])\n    raise ValueError('no')";
    let dead = DeadLetterConfig::builder().target_arn(dead).build();
    let create = create(&lambda, "f", &script).dead_letter_config(dead);
    create.send().await.unwrap();
    let on_failure = OnFailure::builder().destination(failed).build();
    let destinations = DestinationConfig::builder().on_failure(on_failure).build();
    let put = lambda.put_function_event_invoke_config().function_name("f");
    put.destination_config(destinations).send().await.unwrap();

    let invoke = lambda
        .invoke()
        .function_name("f")
        .payload(Blob::new("{\"a\":1}"));
    let reply = invoke
        .invocation_type(InvocationType::Event)
        .send()
        .await
        .unwrap();
    assert_eq!(reply.status_code(), 202);
    let letter = next(&cloud, "dead").await;
    assert_eq!(letter.body(), Some("{\"a\":1}"));
    let attributes = letter.message_attributes().unwrap();
    assert_eq!(attributes["ErrorMessage"].string_value(), Some("no"));
    let record: Value = serde_json::from_str(next(&cloud, "failed").await.body().unwrap()).unwrap();
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 3);
    assert_eq!(record["requestPayload"], json!({ "a": 1 }));
    assert_eq!(record["responsePayload"]["errorType"], "ValueError");
    let seen = written(&cloud, "seen", 3).await;
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|line| *line == seen[0]), "{seen:?}");
    cloud.stop().await;
}

#[tokio::test]
async fn an_event_succeeds_at_its_second_attempt() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    let dead = queue(&cloud, "dead").await;
    let script = writes_to(&cloud, "seen")
        + "def handle(event, request_id):\n    out(event)\n    if len(open(OUT).readlines()) < 2: os._exit(1)";
    let dead = DeadLetterConfig::builder().target_arn(dead).build();
    create(&lambda, "f", &script)
        .dead_letter_config(dead)
        .send()
        .await
        .unwrap();
    let invoke = lambda.invoke().function_name("f").payload(Blob::new("5"));
    invoke
        .invocation_type(InvocationType::Event)
        .send()
        .await
        .unwrap();
    assert_eq!(written(&cloud, "seen", 2).await, [5, 5]);
    cloud.stop().await;
}
