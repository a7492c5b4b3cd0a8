//! Requests that are accepted by their signature, and others.

use crate::cloud::{
    Cloud, code, ec2_without_retries, raw, request, sdk, sdk_signed_by, status_and_code,
    without_retries,
};

#[tokio::test]
async fn sqs_accepts_only_its_credentials() {
    let cloud = Cloud::start().await;
    let list = |config| async move {
        let client = aws_sdk_sqs::Client::new(&config);
        client.list_queues().send().await.map(drop).map_err(code)
    };
    assert_eq!(list(cloud.sdk()).await, Ok(()));
    assert_eq!(
        list(sdk(&cloud.endpoint, "wrong")).await,
        Err("SignatureDoesNotMatch".to_owned())
    );
    assert_eq!(
        list(sdk_signed_by(&cloud.endpoint, "other", "test")).await,
        Err("InvalidClientTokenId".to_owned())
    );
    let unsigned = request("POST", "/", "X-Amz-Target: AmazonSQS.ListQueues\r\n", "{}");
    let (status, body) = raw(&cloud.endpoint, &unsigned).await;
    assert_eq!(status, 403);
    assert!(body.contains("MissingAuthenticationToken"), "{body}");
    cloud.stop().await;
}

#[tokio::test]
async fn ec2_accepts_only_its_credentials() {
    let cloud = Cloud::start().await;
    let describe = |config| async move {
        let client = aws_sdk_ec2::Client::new(&without_retries(&config));
        let described = client.describe_instances().send().await;
        described.map(drop).map_err(status_and_code)
    };
    assert_eq!(describe(cloud.sdk()).await, Ok(()));
    let refused = Err((401, "AuthFailure".to_owned()));
    assert_eq!(describe(sdk(&cloud.endpoint, "wrong")).await, refused);
    let stranger = sdk_signed_by(&cloud.endpoint, "other", "test");
    assert_eq!(describe(stranger).await, refused);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let unsigned = request("POST", "/", form, "Action=DescribeInstances");
    let (status, body) = raw(&cloud.endpoint, &unsigned).await;
    assert_eq!(status, 400);
    assert!(body.contains("<Code>MissingParameter</Code>"), "{body}");
    cloud.stop().await;
}

#[tokio::test]
async fn a_cloud_without_authentication_ignores_signatures() {
    let cloud = Cloud::for_everybody().await;
    let stranger = sdk_signed_by(&cloud.endpoint, "other", "secret");
    let sqs = aws_sdk_sqs::Client::new(&stranger);
    sqs.create_queue().queue_name("q").send().await.unwrap();
    sqs.send_message()
        .queue_url("q")
        .message_body("x")
        .send()
        .await
        .unwrap();
    let ec2 = ec2_without_retries(&cloud.endpoint);
    ec2.describe_instances().send().await.unwrap();
    let unsigned = request("POST", "/", "X-Amz-Target: AmazonSQS.ListQueues\r\n", "{}");
    let (status, body) = raw(&cloud.endpoint, &unsigned).await;
    assert_eq!((status, body.contains("/q\"")), (200, true), "{body}");
    cloud.stop().await;
}
