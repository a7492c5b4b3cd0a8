//! Everything as it runs on AWS: functions of localcloud, which the bucket, each other and a queue start.

use aws_sdk_lambda::types::{FunctionResponseType, FunctionUrlAuthType};
use aws_sdk_s3::types::{Event, LambdaFunctionConfiguration, NotificationConfiguration};
use aws_sdk_sqs::types::QueueAttributeName;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use testkit::{eventually, http_client};

use crate::clips::of;
use crate::cloud::{Cloud, INPUT, OUTPUT, portrait};

#[tokio::test]
async fn a_clip_in_the_bucket_becomes_a_name() {
    let cloud = Cloud::for_everybody().await;
    cloud.deploy("face-recognition", &[]).await;
    let dead_letters = cloud.queue("dead-letters").await;
    let splitting = cloud.deploy("video-splitting", &[]).await;
    let target = aws_sdk_lambda::types::DeadLetterConfig::builder()
        .target_arn(cloud.queue_arn(&dead_letters).await)
        .build();
    for function in ["video-splitting", "face-recognition"] {
        let update = cloud.lambda.update_function_configuration();
        let update = update
            .function_name(function)
            .dead_letter_config(target.clone());
        update.send().await.unwrap();
    }
    let permit = cloud
        .lambda
        .add_permission()
        .function_name("video-splitting");
    let permit = permit.statement_id("clips").action("lambda:InvokeFunction");
    let permit = permit.principal("s3.amazonaws.com");
    let permit = permit.source_arn(format!("arn:aws:s3:::{INPUT}"));
    permit.send().await.unwrap();
    let configuration = LambdaFunctionConfiguration::builder()
        .lambda_function_arn(splitting)
        .events(Event::from("s3:ObjectCreated:*"))
        .build()
        .unwrap();
    let notification =
        NotificationConfiguration::builder().lambda_function_configurations(configuration);
    let put = cloud
        .s3
        .put_bucket_notification_configuration()
        .bucket(INPUT);
    let put = put.notification_configuration(notification.build());
    put.send().await.unwrap();

    let people = ["elton_john", "madonna", "ben_afflek", "jerry_seinfeld"];
    for (number, person) in people.iter().enumerate() {
        cloud
            .put(INPUT, &format!("test_{number:02}.mp4"), of(&[person]))
            .await;
    }
    cloud.put(INPUT, "text.mp4", "this is text").await;
    eventually("all results", async || {
        cloud.keys(OUTPUT).await.len() == people.len() + 1
    })
    .await;
    let mut named_by = Vec::new();
    for (number, person) in people.iter().enumerate() {
        let mut result = cloud
            .get(OUTPUT, &format!("test_{number:02}.txt"))
            .await
            .unwrap();
        assert_eq!(result.body, *person);
        named_by.extend(result.metadata.remove("muster-request-id"));
    }
    let text = cloud.get(OUTPUT, "text.txt").await.unwrap();
    assert_eq!(text.metadata["muster-outcome"], "not-a-clip");
    assert!(cloud.take(&dead_letters).await.is_empty());

    ids_of_the_log(&cloud, "video-splitting", people.len() + 1).await;
    let recognitions = ids_of_the_log(&cloud, "face-recognition", people.len()).await;
    assert_eq!(named_by.len(), people.len());
    assert!(named_by.iter().all(|id| recognitions.contains(id)));
}

/// Waits for the log of so many invocations. Checks that each one wrote its id into a line of JSON, and returns the ids.
async fn ids_of_the_log(cloud: &Cloud, function: &str, invocations: usize) -> Vec<String> {
    let (mut ids, mut lines): (Vec<String>, Vec<String>) = Default::default();
    eventually(&format!("the log of {function}"), async || {
        lines = cloud.log(function).await;
        // The last line of an invocation.
        let reports = lines
            .iter()
            .filter_map(|line| line.strip_prefix("REPORT RequestId: "));
        ids = reports
            .filter_map(|rest| rest.split('\t').next().map(str::to_owned))
            .collect();
        ids.len() >= invocations
    })
    .await;
    let lines: Vec<Value> = lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    for id in &ids {
        let mut lines = lines
            .iter()
            .filter(|line| line["request_id"] == id.as_str());
        assert!(
            lines.any(|line| line["fields"]["message"] == "done"),
            "{function}: {id}"
        );
    }
    ids
}

#[tokio::test]
async fn a_picture_posted_to_the_url_becomes_a_name_in_a_queue_and_poison_goes_aside() {
    let cloud = Cloud::start().await;
    let (requests, responses) = (cloud.queue("faces").await, cloud.queue("names").await);
    let dead_letters = cloud.queue("dead-letters").await;
    let redrive = json!({
        "deadLetterTargetArn": cloud.queue_arn(&dead_letters).await,
        "maxReceiveCount": "2",
    });
    let set = cloud.sqs.set_queue_attributes().queue_url(&requests);
    let set = set.attributes(QueueAttributeName::RedrivePolicy, redrive.to_string());
    set.send().await.unwrap();
    // As long as the function's timeout, as Lambda asks for it.
    cloud.hide_for(&requests, "60").await;
    let queues = [
        ("MUSTER_REQUEST_QUEUE", requests.as_str()),
        ("MUSTER_RESPONSE_QUEUE", responses.as_str()),
    ];
    cloud.deploy("face-recognition", &queues).await;
    cloud.deploy("face-detection", &queues).await;
    let map = cloud
        .lambda
        .create_event_source_mapping()
        .function_name("face-recognition");
    let map = map
        .event_source_arn(cloud.queue_arn(&requests).await)
        .batch_size(10);
    let map = map.function_response_types(FunctionResponseType::ReportBatchItemFailures);
    map.send().await.unwrap();
    // So that what fails is soon there again.
    cloud.hide_for(&requests, "2").await;
    let url = cloud
        .lambda
        .create_function_url_config()
        .function_name("face-detection");
    let url = url
        .auth_type(FunctionUrlAuthType::None)
        .send()
        .await
        .unwrap();
    let permit = cloud
        .lambda
        .add_permission()
        .function_name("face-detection");
    let permit = permit
        .statement_id("url")
        .action("lambda:InvokeFunctionUrl")
        .principal("*");
    let permit = permit.function_url_auth_type(FunctionUrlAuthType::None);
    permit.send().await.unwrap();

    let poison = cloud.sqs.send_message().queue_url(&requests);
    poison
        .message_body(r#"{"poison": true}"#)
        .send()
        .await
        .unwrap();
    let people = ["elton_john", "madonna", "mindy_kaling"];
    for person in people {
        let content = BASE64_STANDARD.encode(portrait(person));
        let body = json!({"request_id": person, "filename": "a.jpg", "content": content});
        let post = http_client().post(&url.function_url).body(body.to_string());
        let reply = post.send().await.unwrap();
        assert_eq!(reply.status(), 200);
        let reply: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
        assert_eq!(reply, json!({"request_id": person, "face": true}));
    }
    let refused = http_client().post(&url.function_url).body("{}");
    assert_eq!(refused.send().await.unwrap().status(), 400);

    let mut names = Vec::new();
    eventually("three names", async || {
        names.extend(cloud.take(&responses).await);
        names.len() >= people.len()
    })
    .await;
    for name in names {
        assert_eq!(name["request_id"], name["result"]);
    }
    eventually("the poison", async || {
        !cloud.take(&dead_letters).await.is_empty()
    })
    .await;
}
