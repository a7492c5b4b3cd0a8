//! S3: event notifications.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, Event, FilterRule, FilterRuleName,
    NotificationConfiguration, NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter,
    TopicConfiguration,
};
use serde_json::Value;

use super::{BUCKET, cloud_with_bucket, delete, put};
use crate::cloud::{Cloud, code};

const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:events";

async fn cloud_with_queue() -> (Cloud, Client) {
    let (cloud, s3) = cloud_with_bucket().await;
    let queue = cloud.sqs().create_queue().queue_name("events").send().await;
    queue.unwrap();
    (cloud, s3)
}

fn notify(arn: &str, events: &[&str], rules: &[(&str, &str)]) -> QueueConfiguration {
    let rules = rules.iter().map(|(name, value)| {
        let rule = FilterRule::builder().name(FilterRuleName::from(*name));
        rule.value(*value).build()
    });
    let filter = S3KeyFilter::builder()
        .set_filter_rules(Some(rules.collect()))
        .build();
    let filter = NotificationConfigurationFilter::builder()
        .key(filter)
        .build();
    QueueConfiguration::builder()
        .queue_arn(arn)
        .set_events(Some(events.iter().map(|one| Event::from(*one)).collect()))
        .filter(filter)
        .build()
        .unwrap()
}

async fn configure(s3: &Client, queues: Vec<QueueConfiguration>) -> Result<(), String> {
    let configuration = NotificationConfiguration::builder().set_queue_configurations(Some(queues));
    let put = s3.put_bucket_notification_configuration().bucket(BUCKET);
    let put = put.notification_configuration(configuration.build());
    put.send().await.map(drop).map_err(code)
}

/// Waits for the next message.
async fn next(cloud: &Cloud) -> Value {
    let sqs = cloud.sqs();
    let received = sqs
        .receive_message()
        .queue_url("events")
        .wait_time_seconds(20);
    let received = received.send().await.unwrap();
    let message = &received.messages()[0];
    let delete = sqs.delete_message().queue_url("events");
    let delete = delete.receipt_handle(message.receipt_handle().unwrap());
    delete.send().await.unwrap();
    serde_json::from_str(message.body().unwrap()).unwrap()
}

async fn next_record(cloud: &Cloud) -> Value {
    next(cloud).await["Records"][0].take()
}

#[tokio::test]
async fn events_have_the_format_of_s3() {
    let (cloud, s3) = cloud_with_queue().await;
    let all = ["s3:ObjectCreated:*", "s3:ObjectRemoved:Delete"];
    configure(&s3, vec![notify(ARN, &all, &[])]).await.unwrap();
    let test = next(&cloud).await;
    assert_eq!(test["Event"], "s3:TestEvent");
    assert_eq!(test["Bucket"], BUCKET);

    let etag = put(&s3, "in/a b+ü.jpg", "body").await;
    let record = next_record(&cloud).await;
    assert_eq!(record["eventVersion"], "2.1");
    assert_eq!(record["eventSource"], "aws:s3");
    assert_eq!(record["awsRegion"], "us-east-1");
    assert_eq!(record["eventName"], "ObjectCreated:Put");
    assert_eq!(record["requestParameters"]["sourceIPAddress"], "127.0.0.1");
    assert!(record["responseElements"]["x-amz-request-id"].is_string());
    assert_eq!(record["s3"]["bucket"]["arn"], "arn:aws:s3:::a-bucket");
    let object = &record["s3"]["object"];
    assert_eq!(object["key"], "in/a+b%2B%C3%BC.jpg");
    assert_eq!(object["size"], 4);
    assert_eq!(object["eTag"], etag.trim_matches('"'));
    let first_sequencer = object["sequencer"].as_str().unwrap().to_owned();

    let copy = s3.copy_object().bucket(BUCKET).key("copy");
    let copy = copy.copy_source(format!("{BUCKET}/in/a%20b%2B%C3%BC.jpg"));
    copy.send().await.unwrap();
    let record = next_record(&cloud).await;
    assert_eq!(record["eventName"], "ObjectCreated:Copy");
    let sequencer = record["s3"]["object"]["sequencer"].as_str().unwrap();
    assert!(sequencer > first_sequencer.as_str());

    let upload = s3.create_multipart_upload().bucket(BUCKET).key("parts");
    let upload = upload.send().await.unwrap().upload_id.unwrap();
    let part = s3.upload_part().bucket(BUCKET).key("parts");
    let part = part.upload_id(&upload).part_number(1).send().await.unwrap();
    let part = CompletedPart::builder()
        .part_number(1)
        .set_e_tag(part.e_tag)
        .set_checksum_crc32(part.checksum_crc32);
    let parts = CompletedMultipartUpload::builder()
        .parts(part.build())
        .build();
    let complete = s3.complete_multipart_upload().bucket(BUCKET).key("parts");
    let complete = complete.upload_id(upload).multipart_upload(parts);
    complete.send().await.unwrap();
    let record = next_record(&cloud).await;
    assert_eq!(record["eventName"], "ObjectCreated:CompleteMultipartUpload");

    // The delete of a missing object is no event.
    delete(&s3, "absent").await;
    delete(&s3, "copy").await;
    let record = next_record(&cloud).await;
    assert_eq!(record["eventName"], "ObjectRemoved:Delete");
    assert_eq!(record["s3"]["object"]["key"], "copy");
}

#[tokio::test]
async fn filters_select_events() {
    let (cloud, s3) = cloud_with_queue().await;
    let rules = [("prefix", "in/"), ("suffix", ".jpg")];
    let configuration = notify(ARN, &["s3:ObjectCreated:Put"], &rules);
    configure(&s3, vec![configuration]).await.unwrap();
    next(&cloud).await;
    let stored = s3.get_bucket_notification_configuration().bucket(BUCKET);
    let stored = stored.send().await.unwrap();
    let stored = &stored.queue_configurations()[0];
    assert_eq!(stored.queue_arn(), ARN);
    assert!(stored.id().is_some());
    assert_eq!(stored.events(), [Event::from("s3:ObjectCreated:Put")]);
    let filter = stored.filter().unwrap().key().unwrap().filter_rules();
    assert_eq!(filter[0].value(), Some("in/"));
    for key in ["a.jpg", "in/a.png", "in/a.jpg"] {
        put(&s3, key, "").await;
    }
    assert_eq!(next_record(&cloud).await["s3"]["object"]["key"], "in/a.jpg");
    let sqs = cloud.sqs();
    let receive = || sqs.receive_message().queue_url("events").send();
    assert!(receive().await.unwrap().messages().is_empty());

    configure(&s3, vec![]).await.unwrap();
    put(&s3, "in/b.jpg", "").await;
    assert!(receive().await.unwrap().messages().is_empty());
}

#[tokio::test]
async fn invalid_configurations_are_refused() {
    let (cloud, s3) = cloud_with_queue().await;
    let created = ["s3:ObjectCreated:*"];
    let put = ["s3:ObjectCreated:Put"];
    let absent = "arn:aws:sqs:us-east-1:000000000000:absent";
    for (queues, is_valid) in [
        (vec![notify(absent, &created, &[])], false),
        (vec![notify(ARN, &["s3:Unknown"], &[])], false),
        (vec![notify(ARN, &created, &[("infix", "a")])], false),
        (
            vec![
                notify(ARN, &created, &[]),
                notify(ARN, &put, &[("prefix", "a")]),
            ],
            false,
        ),
        (
            vec![
                notify(ARN, &put, &[("prefix", "a"), ("suffix", "x")]),
                notify(ARN, &created, &[("prefix", "ab"), ("suffix", "yx")]),
            ],
            false,
        ),
        (
            vec![
                notify(ARN, &put, &[("prefix", "a"), ("suffix", "x")]),
                notify(ARN, &created, &[("prefix", "ab"), ("suffix", "y")]),
                notify(ARN, &["s3:ObjectRemoved:*"], &[]),
            ],
            true,
        ),
    ] {
        let text = format!("{queues:?}");
        let expected = match is_valid {
            true => Ok(()),
            false => Err("InvalidArgument".to_owned()),
        };
        assert_eq!(configure(&s3, queues).await, expected, "{text}");
    }
    let topic = TopicConfiguration::builder()
        .topic_arn("arn:aws:sns:us-east-1:000000000000:topic")
        .events(Event::from("s3:ObjectCreated:*"));
    let configuration = NotificationConfiguration::builder()
        .topic_configurations(topic.build().unwrap())
        .build();
    let put = s3.put_bucket_notification_configuration().bucket(BUCKET);
    let put = put.notification_configuration(configuration).send().await;
    assert_eq!(code(put.unwrap_err()), "NotImplemented");
    cloud.stop().await;
}
