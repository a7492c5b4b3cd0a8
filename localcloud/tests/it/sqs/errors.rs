//! SQS's errors, as the SDK reads them.

use aws_sdk_sqs::types::QueueAttributeName;

use super::{cloud_with_queue, receive, send};
use crate::cloud::{Cloud, code, raw, request};

/// Sends a request and checks the exception that the SDK makes of its error.
macro_rules! assert_exception {
    ($request:expr, $is_exception:ident) => {
        let error = $request.send().await.unwrap_err().into_service_error();
        assert!(error.$is_exception(), "{error:?}");
    };
}

#[tokio::test]
async fn errors_are_the_exceptions_of_the_sdk() {
    let (_cloud, sqs, url) = cloud_with_queue().await;
    let send_to = |url: &str, body: &str| sqs.send_message().queue_url(url).message_body(body);
    assert_exception!(send_to("absent", "a"), is_queue_does_not_exist);
    let receive_absent = sqs.receive_message().queue_url("absent");
    assert_exception!(receive_absent, is_queue_does_not_exist);
    let create = sqs.create_queue().queue_name("q");
    let other = create.attributes(QueueAttributeName::VisibilityTimeout, "1");
    assert_exception!(other, is_queue_name_exists);
    assert_exception!(send_to(&url, "\u{1}"), is_invalid_message_contents);
    let delete = sqs.delete_message().queue_url(&url).receipt_handle("x");
    assert_exception!(delete, is_receipt_handle_is_invalid);
    let unknown = sqs.get_queue_attributes().queue_url(&url);
    let unknown = unknown.attribute_names("Color".into());
    assert_exception!(unknown, is_invalid_attribute_name);
    let set = sqs.set_queue_attributes().queue_url(&url);
    let set = set.attributes(QueueAttributeName::DelaySeconds, "901");
    assert_exception!(set, is_invalid_attribute_value);
    let purge = || sqs.purge_queue().queue_url(&url);
    purge().send().await.unwrap();
    assert_exception!(purge(), is_purge_queue_in_progress);

    let set = sqs.set_queue_attributes().queue_url(&url);
    let set = set.attributes(QueueAttributeName::VisibilityTimeout, "0");
    set.send().await.unwrap();
    send(&sqs, &url, "a").await;
    let received = receive(&sqs, &url, 0).await;
    let change = sqs.change_message_visibility().queue_url(&url);
    let change = change.receipt_handle(received[0].receipt_handle().unwrap());
    assert_exception!(change.visibility_timeout(1), is_message_not_inflight);

    let fifo = sqs.create_queue().queue_name("q.fifo").send().await;
    assert_eq!(code(fifo.unwrap_err()), "InvalidParameterValue");
    for (refused, expected) in [
        (send_to(&url, ""), "MissingParameter"),
        (
            send_to(&url, "a").delay_seconds(901),
            "InvalidParameterValue",
        ),
    ] {
        assert_eq!(code(refused.send().await.unwrap_err()), expected);
    }
}

#[tokio::test]
async fn errors_of_the_json_protocol_have_a_type() {
    let cloud = Cloud::for_everybody().await;
    for (action, expected) in [
        (
            "SendMessage",
            r#""__type":"com.amazonaws.sqs#QueueDoesNotExist""#,
        ),
        ("NoSuchAction", "UnknownOperationException"),
    ] {
        let headers = format!(
            "X-Amz-Target: AmazonSQS.{action}\r\nContent-Type: application/x-amz-json-1.0\r\n"
        );
        let body = r#"{"QueueUrl":"absent","MessageBody":"a"}"#;
        let (status, response) = raw(&cloud.endpoint, &request("POST", "/", &headers, body)).await;
        assert_eq!(status, 400);
        assert!(response.contains(expected), "{response}");
    }
}
