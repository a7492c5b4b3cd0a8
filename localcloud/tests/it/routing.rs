//! Requests to the one port of all services.

use std::path::Path;

use localcloud::Config;

use crate::cloud::{Cloud, get, raw, request};

#[tokio::test]
async fn health_and_metrics_need_no_signature() {
    let cloud = Cloud::start().await;
    assert_eq!(
        get(&cloud.endpoint, "/healthz").await,
        (200, "ok\n".to_owned())
    );
    assert!(
        get(&cloud.endpoint, "/metrics")
            .await
            .1
            .contains("\nlocalcloud_aws_calls_total 0\n")
    );
}

#[tokio::test]
async fn calls_are_counted_by_service_action_and_status() {
    let cloud = Cloud::start().await;
    let (s3, sqs, ec2) = (cloud.s3(), cloud.sqs(), cloud.ec2());
    s3.create_bucket().bucket("bucket").send().await.unwrap();
    s3.put_object()
        .bucket("bucket")
        .key("a/b")
        .send()
        .await
        .unwrap();
    s3.list_objects_v2().bucket("bucket").send().await.unwrap();
    s3.get_object()
        .bucket("bucket")
        .key("absent")
        .send()
        .await
        .unwrap_err();
    sqs.create_queue().queue_name("q").send().await.unwrap();
    sqs.send_message()
        .queue_url("absent")
        .message_body("a")
        .send()
        .await
        .unwrap_err();
    ec2.describe_instances().send().await.unwrap();
    let (_, metrics) = get(&cloud.endpoint, "/metrics").await;
    for line in [
        r#"localcloud_calls_total{service="s3",action="CreateBucket",status="200"} 1"#,
        r#"localcloud_calls_total{service="s3",action="PutObject",status="200"} 1"#,
        r#"localcloud_calls_total{service="s3",action="ListObjectsV2",status="200"} 1"#,
        r#"localcloud_calls_total{service="s3",action="GetObject",status="404"} 1"#,
        r#"localcloud_calls_total{service="sqs",action="CreateQueue",status="200"} 1"#,
        r#"localcloud_calls_total{service="sqs",action="SendMessage",status="400"} 1"#,
        r#"localcloud_calls_total{service="ec2",action="DescribeInstances",status="200"} 1"#,
        "localcloud_aws_calls_total 7",
    ] {
        assert!(
            metrics.lines().any(|present| present == line),
            "{line}\nin\n{metrics}"
        );
    }
}

#[tokio::test]
async fn requests_are_routed_by_scope_header_and_form() {
    let cloud = Cloud::for_everybody().await;
    let post = |headers: &str, body: &str| request("POST", "/", headers, body);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let signed = |service: &str| {
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, Signature=x\r\n"
        )
    };
    for (request_text, status, text) in [
        (
            post(form, "Action=DescribeInstances"),
            200,
            "DescribeInstancesResponse",
        ),
        (
            post(&signed("ec2"), "Action=DescribeInstances"),
            200,
            "DescribeInstancesResponse",
        ),
        (
            post(&signed("ec2"), "Action=Nonsense"),
            400,
            "<Code>InvalidAction</Code>",
        ),
        (
            post("X-Amz-Target: AmazonSQS.ListQueues\r\n", "{}"),
            200,
            "{}",
        ),
        (
            post("X-Amz-Target: AmazonSQS.ListQueues\r\n", "not json"),
            400,
            "SerializationException",
        ),
        (
            post(&signed("sqs"), "Action=ListQueues"),
            200,
            "<ListQueuesResult>",
        ),
        (post(&signed("dynamodb"), "{}"), 400, "no service"),
    ] {
        let (found, body) = raw(&cloud.endpoint, &request_text).await;
        assert_eq!(
            (found, body.contains(text)),
            (status, true),
            "{request_text}\n{body}"
        );
    }
}

fn read(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cloud.toml");
    std::fs::write(&file, text).unwrap();
    let mut config = Config::default();
    config
        .add_file(&file)
        .map(|()| config)
        .map_err(|error| error.to_string())
}

#[test]
fn configuration_files_are_read_and_checked() {
    let config = read(
        r#"
        [[image]]
        id = "ami-web"
        command = ["sh", "-c", "exec web"]
        env = { K = "V" }
        [[instance]]
        image = "ami-web"
        tags = { Name = "web-instance" }
        user_data = "A=1"
        "#,
    )
    .unwrap();
    assert_eq!(config.images[0].env["K"], "V");
    assert_eq!(config.instances[0].tags["Name"], "web-instance");
    for (text, complaint) in [
        ("[[image]]\nid = 'a'\ncommand = []", "empty command"),
        (
            "[[image]]\nid = 'a'\ncommand = ['x']\n[[image]]\nid = 'a'\ncommand = ['x']",
            "two images",
        ),
        ("[[instance]]\nimage = 'a'", "not configured"),
        ("[[images]]\nid = 'a'", "unknown field"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(complaint), "{error}");
    }
    assert!(
        Config::default()
            .add_file(Path::new("/absent.toml"))
            .is_err()
    );
}
