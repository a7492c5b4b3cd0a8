//! Requests that can be read in two ways. Policies are checked for what is carried out, or the request is refused.

use aws_sdk_s3::primitives::SdkBody;

use super::*;
use crate::instances::described;

/// Sends a call with another body, which the SDK signs. Returns the status.
macro_rules! status_with_body {
    ($call:expr, $body:expr, $content_type:expr) => {{
        let (body, content_type): (String, &'static str) = ($body, $content_type);
        let call = $call.customize().mutate_request(move |request| {
            let headers = request.headers_mut();
            headers.insert("content-length", body.len().to_string());
            headers.insert("content-type", content_type);
            if content_type == FORM {
                headers.remove("x-amz-target");
            }
            *request.body_mut() = SdkBody::from(body.as_str());
        });
        match call.send().await {
            Ok(_) => 200,
            // The reply to a form is XML, which the SDK of another protocol cannot read.
            Err(error) => error.raw_response().map_or(0, |it| it.status().as_u16()),
        }
    }};
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/x-amz-json-1.0";

/// Creates a queue with one message, and returns its URL.
async fn queue_with_message(sqs: &aws_sdk_sqs::Client, name: &str) -> String {
    let created = sqs.create_queue().queue_name(name).send().await.unwrap();
    let url = created.queue_url.unwrap();
    let sent = sqs.send_message().queue_url(&url).message_body("secret");
    sent.send().await.unwrap();
    url
}

/// Checks that a queue's only message was neither received nor followed by others.
async fn assert_untouched(sqs: &aws_sdk_sqs::Client, url: &str) {
    let received = sqs.receive_message().queue_url(url);
    let received = received.max_number_of_messages(10).send().await.unwrap();
    assert_eq!(received.messages().len(), 1);
    assert_eq!(received.messages()[0].body(), Some("secret"));
}

#[tokio::test]
async fn a_second_action_of_ec2_passes_no_policy() {
    let cloud = Cloud::with(config()).await;
    let (_, web) = instance_with(&cloud, "acme-web").await;
    let web = aws_sdk_ec2::Client::new(&web);
    let launch = "Version=2016-11-15&ImageId=ami-test&MinCount=1&MaxCount=1";
    for (first, second) in [
        ("DescribeInstances", "RunInstances"),
        ("RunInstances", "DescribeInstances"),
    ] {
        let body = format!("Action={first}&Action={second}&{launch}");
        let status = status_with_body!(web.describe_instances(), body, FORM);
        assert_eq!(status, 400, "{first}, then {second}");
    }
    assert_eq!(described(&cloud.ec2(), Vec::new()).await.len(), 1);
    cloud.stop().await;
}

#[tokio::test]
async fn a_second_queue_of_a_form_passes_no_policy() {
    let cloud = Cloud::with(config()).await;
    let account = cloud.sqs();
    let ours = queue_with_message(&account, "acme-req-queue").await;
    let theirs = queue_with_message(&account, "other-queue").await;
    let (_, worker) = instance_with(&cloud, "acme-worker").await;
    let worker = aws_sdk_sqs::Client::new(&worker);
    for (first, second, expected) in [(&theirs, &ours, 403), (&ours, &theirs, 200)] {
        let body =
            format!("Action=ReceiveMessage&Version=2012-11-05&QueueUrl={first}&QueueUrl={second}");
        let call = worker.receive_message().queue_url(&ours);
        let status = status_with_body!(call, body, FORM);
        assert_eq!(status, expected, "{first}, then {second}");
    }
    assert_untouched(&account, &theirs).await;
    cloud.stop().await;
}

#[tokio::test]
async fn a_put_with_an_expires_that_is_no_date_passes_no_policy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("put.json");
    let policy = r#"{"Version": "2012-10-17", "Statement":
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::ours/*"}
    }"#;
    std::fs::write(&file, policy).unwrap();
    let mut config = config();
    config.roles.push(RoleConfig {
        policies: vec![file],
        ..role("acme-putter", &[])
    });
    let cloud = Cloud::with(config).await;
    let account = cloud.s3();
    for bucket in ["ours", "theirs"] {
        account.create_bucket().bucket(bucket).send().await.unwrap();
    }
    let (_, putter) = instance_with(&cloud, "acme-putter").await;
    let putter = s3(&putter);
    let put = |bucket: &str| {
        let put = putter.put_object().bucket(bucket).key("a").customize();
        put.mutate_request(|request| {
            request.headers_mut().insert("expires", "0");
        })
    };
    put("ours").send().await.unwrap();
    let denied = put("theirs").send().await.unwrap_err();
    assert_eq!(status_and_code(denied), (403, "AccessDenied".to_owned()));
    let theirs = account.list_objects_v2().bucket("theirs").send().await;
    assert!(theirs.unwrap().contents().is_empty());
    cloud.stop().await;
}

#[tokio::test]
async fn a_body_that_hides_its_queue_passes_no_explicit_deny() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deny.json");
    let policy = r#"{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "sqs:*", "Resource": "arn:aws:sqs:*:*:other-queue"}
    ]}"#;
    std::fs::write(&file, policy).unwrap();
    let mut config = config();
    config.roles.push(RoleConfig {
        policies: vec![file],
        ..role("acme-sender", &[])
    });
    let cloud = Cloud::with(config).await;
    let account = cloud.sqs();
    let theirs = queue_with_message(&account, "other-queue").await;
    let (_, sender) = instance_with(&cloud, "acme-sender").await;
    let sender = aws_sdk_sqs::Client::new(&sender);
    // SendMessage has no QueueName, so its value is of no interest to the call itself.
    for (name, expected) in [("\"x\"", 403), ("1", 400)] {
        let body =
            format!(r#"{{"QueueUrl": "{theirs}", "MessageBody": "x", "QueueName": {name}}}"#);
        let call = sender.send_message().queue_url(&theirs).message_body("x");
        let status = status_with_body!(call, body, JSON);
        assert_eq!(status, expected, "{name}");
    }
    assert_untouched(&account, &theirs).await;
    cloud.stop().await;
}
