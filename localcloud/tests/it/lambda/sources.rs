//! What starts functions: events of buckets, and messages of queues.

use aws_sdk_lambda::types::{Filter, FilterCriteria, FunctionResponseType};
use aws_sdk_s3::types::{Event, LambdaFunctionConfiguration, NotificationConfiguration};
use serde_json::json;

use super::{cloud, create, next, queue, writes_to, written};
use crate::cloud::{Cloud, code, eventually};

const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";

async fn notify(cloud: &Cloud) -> Result<(), String> {
    let function = LambdaFunctionConfiguration::builder()
        .lambda_function_arn(ARN)
        .events(Event::S3ObjectCreated)
        .build()
        .unwrap();
    let configuration = NotificationConfiguration::builder()
        .lambda_function_configurations(function)
        .build();
    let s3 = cloud.s3();
    let put = s3.put_bucket_notification_configuration().bucket("clips");
    let put = put.notification_configuration(configuration);
    put.send().await.map(drop).map_err(code)
}

#[tokio::test]
async fn an_object_starts_a_function_that_lets_s3_invoke_it() {
    let cloud = cloud().await;
    let (lambda, s3) = (cloud.lambda(), cloud.s3());
    s3.create_bucket().bucket("clips").send().await.unwrap();
    assert_eq!(notify(&cloud).await, Err("InvalidArgument".to_owned()));
    let script = writes_to(&cloud, "seen")
        + "def handle(event, request_id):\n    s3 = event['Records'][0]['s3']\n    out([s3['bucket']['name'], s3['object']['key']])";
    create(&lambda, "f", &script).send().await.unwrap();
    assert_eq!(notify(&cloud).await, Err("InvalidArgument".to_owned()));
    for (id, bucket, expected) in [
        ("other", "others", Err("InvalidArgument".to_owned())),
        ("s3", "clips", Ok(())),
    ] {
        let permit = lambda.add_permission().function_name("f");
        let permit = permit.statement_id(id).principal("s3.amazonaws.com");
        let permit = permit.action("lambda:InvokeFunction");
        let permit = permit.source_arn(format!("arn:aws:s3:::{bucket}"));
        permit.send().await.unwrap();
        assert_eq!(notify(&cloud).await, expected);
    }
    let read = s3.get_bucket_notification_configuration().bucket("clips");
    let read = read.send().await.unwrap();
    let function = &read.lambda_function_configurations()[0];
    assert_eq!(function.lambda_function_arn(), ARN);
    let put = s3.put_object().bucket("clips").key("a.mp4");
    put.send().await.unwrap();
    assert_eq!(
        written(&cloud, "seen", 1).await,
        [json!(["clips", "a.mp4"])]
    );
    let policy = lambda.get_policy().function_name("f").send().await.unwrap();
    assert!(policy.policy().unwrap().contains("arn:aws:s3:::clips"));
    let remove = lambda.remove_permission().function_name("f");
    remove.statement_id("s3").send().await.unwrap();
    cloud.stop().await;
}

#[tokio::test]
async fn a_mapping_that_ends_hands_over_the_batch_that_it_gathers() {
    let cloud = cloud().await;
    let (lambda, sqs) = (cloud.lambda(), cloud.sqs());
    let arn = queue(&cloud, "work").await;
    let script = writes_to(&cloud, "seen")
        + "def handle(event, request_id):\n    for record in event['Records']: out(record['body'])";
    create(&lambda, "f", &script).send().await.unwrap();
    let map = lambda.create_event_source_mapping().function_name("f");
    let map = map.maximum_batching_window_in_seconds(300);
    let mapping = map.event_source_arn(&arn).send().await.unwrap();
    let send = sqs.send_message().queue_url("work").message_body("a");
    send.send().await.unwrap();
    eventually("the mapping holds the message", || async {
        let hidden = aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
        let get = sqs.get_queue_attributes().queue_url("work");
        let got = get.attribute_names(hidden.clone()).send().await.unwrap();
        (got.attributes()?.get(&hidden)? == "1").then_some(())
    })
    .await;
    let delete = lambda.delete_event_source_mapping();
    delete.uuid(mapping.uuid().unwrap()).send().await.unwrap();
    assert_eq!(written(&cloud, "seen", 1).await, [json!("a")]);
    cloud.stop().await;
}

#[tokio::test]
async fn a_queue_starts_a_function_and_failed_messages_return() {
    let cloud = cloud().await;
    let (lambda, sqs) = (cloud.lambda(), cloud.sqs());
    let dead = queue(&cloud, "dead").await;
    let arn = queue(&cloud, "work").await;
    let policy = json!({ "deadLetterTargetArn": dead, "maxReceiveCount": 2 }).to_string();
    let set = sqs.set_queue_attributes().queue_url("work");
    let set = set.attributes(
        aws_sdk_sqs::types::QueueAttributeName::RedrivePolicy,
        policy,
    );
    let timeout = aws_sdk_sqs::types::QueueAttributeName::VisibilityTimeout;
    set.attributes(timeout.clone(), "4").send().await.unwrap();
    let script = writes_to(&cloud, "seen")
        + "def handle(event, request_id):\n    failed = []\n    for record in event['Records']:\n        out(record['body'])\n        if record['body'] == 'bad': failed.append({'itemIdentifier': record['messageId']})\n    return {'batchItemFailures': failed}";
    let create = create(&lambda, "f", &script).timeout(5);
    create.send().await.unwrap();
    let map = || {
        lambda
            .create_event_source_mapping()
            .function_name("f")
            .event_source_arn(&arn)
            .function_response_types(FunctionResponseType::ReportBatchItemFailures)
    };
    // The function may work for longer than a message is hidden.
    let short = map().send().await.unwrap_err();
    assert_eq!(code(short), "InvalidParameterValueException");
    let update = lambda.update_function_configuration().function_name("f");
    update.timeout(4).send().await.unwrap();
    let filter = Filter::builder().pattern("{\"body\":[\"good\"]}").build();
    let filters = FilterCriteria::builder().filters(filter).build();
    let filtered = map().filter_criteria(filters).send().await.unwrap_err();
    assert!(format!("{filtered:?}").contains("localcloud does not filter events"));
    let mapping = map().send().await.unwrap();
    assert_eq!(
        code(map().send().await.unwrap_err()),
        "ResourceConflictException"
    );
    for body in ["good", "bad", "fine"] {
        let send = sqs.send_message().queue_url("work").message_body(body);
        send.send().await.unwrap();
    }
    assert_eq!(next(&cloud, "dead").await.body(), Some("bad"));
    let mut seen = written(&cloud, "seen", 4).await;
    seen.sort_by_key(ToString::to_string);
    assert_eq!(seen, ["bad", "bad", "fine", "good"]);
    eventually("the queue is empty", || async {
        let names = aws_sdk_sqs::types::QueueAttributeName::All;
        let get = sqs
            .get_queue_attributes()
            .queue_url("work")
            .attribute_names(names);
        let attributes = get.send().await.unwrap();
        let count = |name: &str| attributes.attributes().unwrap()[&name.into()].clone();
        let hidden = count("ApproximateNumberOfMessagesNotVisible");
        (count("ApproximateNumberOfMessages") == "0" && hidden == "0").then_some(())
    })
    .await;
    let id = mapping.uuid().unwrap();
    let get = || lambda.get_event_source_mapping().uuid(id).send();
    let got = get().await.unwrap();
    assert_eq!((got.state(), got.batch_size()), (Some("Enabled"), Some(10)));
    let disable = lambda.update_event_source_mapping().uuid(id).enabled(false);
    disable.send().await.unwrap();
    let list = lambda.list_event_source_mappings().function_name("f");
    let list = list.send().await.unwrap();
    assert_eq!(list.event_source_mappings()[0].state(), Some("Disabled"));
    let delete = lambda.delete_event_source_mapping().uuid(id);
    delete.send().await.unwrap();
    assert_eq!(code(get().await.unwrap_err()), "ResourceNotFoundException");
    cloud.stop().await;
}
