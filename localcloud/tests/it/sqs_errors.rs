//! What SQS refuses, as the SDK reads it.

use aws_sdk_sqs::types::QueueAttributeName;

use crate::cloud::{Cloud, code, raw};
use crate::sqs::queue;

#[tokio::test]
async fn errors_are_the_exceptions_of_the_sdk() {
    let cloud = Cloud::start().await;
    let sqs = cloud.sqs();
    let url = queue(&sqs, "q").await;
    let error = sqs
        .send_message()
        .queue_url("absent")
        .message_body("a")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
    let error = sqs
        .receive_message()
        .queue_url("absent")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_queue_does_not_exist(), "{error:?}");
    let other = sqs
        .create_queue()
        .queue_name("q")
        .attributes(QueueAttributeName::VisibilityTimeout, "1");
    let error = other.send().await.unwrap_err().into_service_error();
    assert!(error.is_queue_name_exists(), "{error:?}");
    let error = sqs
        .send_message()
        .queue_url(&url)
        .message_body("\u{1}")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_invalid_message_contents(), "{error:?}");
    let error = sqs
        .delete_message()
        .queue_url(&url)
        .receipt_handle("x")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_receipt_handle_is_invalid(), "{error:?}");
    let unknown = sqs
        .get_queue_attributes()
        .queue_url(&url)
        .attribute_names("Colour".into());
    let error = unknown.send().await.unwrap_err().into_service_error();
    assert!(error.is_invalid_attribute_name(), "{error:?}");
    let value = sqs
        .set_queue_attributes()
        .queue_url(&url)
        .attributes(QueueAttributeName::DelaySeconds, "901");
    let error = value.send().await.unwrap_err().into_service_error();
    assert!(error.is_invalid_attribute_value(), "{error:?}");
    sqs.send_message()
        .queue_url(&url)
        .message_body("a")
        .send()
        .await
        .unwrap();
    let received = sqs
        .receive_message()
        .queue_url(&url)
        .visibility_timeout(0)
        .send()
        .await
        .unwrap();
    let handle = received.messages()[0].receipt_handle().unwrap();
    let late = sqs
        .change_message_visibility()
        .queue_url(&url)
        .receipt_handle(handle)
        .visibility_timeout(1);
    let error = late.send().await.unwrap_err().into_service_error();
    assert!(error.is_message_not_inflight(), "{error:?}");
    sqs.purge_queue().queue_url(&url).send().await.unwrap();
    let error = sqs
        .purge_queue()
        .queue_url(&url)
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_purge_queue_in_progress(), "{error:?}");
    assert_eq!(
        code(
            sqs.create_queue()
                .queue_name("q.fifo")
                .send()
                .await
                .unwrap_err()
        ),
        "InvalidParameterValue"
    );
    assert_eq!(
        code(
            sqs.send_message()
                .queue_url(&url)
                .message_body("")
                .send()
                .await
                .unwrap_err()
        ),
        "MissingParameter"
    );
    let far = sqs
        .send_message()
        .queue_url(&url)
        .message_body("a")
        .delay_seconds(901);
    assert_eq!(code(far.send().await.unwrap_err()), "InvalidParameterValue");
}

#[tokio::test]
async fn errors_carry_the_type_and_the_code_of_the_query_protocol() {
    let cloud = Cloud::for_everybody().await;
    let body = r#"{"QueueUrl":"absent","MessageBody":"a"}"#;
    let request = |target: &str| {
        format!(
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Amz-Target: AmazonSQS.{target}\r\n\
             Content-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let (status, answer) = raw(&cloud.endpoint, &request("SendMessage")).await;
    assert_eq!(status, 400);
    assert!(
        answer.contains(r#""__type":"com.amazonaws.sqs#QueueDoesNotExist""#),
        "{answer}"
    );
    let (status, answer) = raw(&cloud.endpoint, &request("NoSuchAction")).await;
    assert_eq!(status, 400);
    assert!(answer.contains("UnknownOperationException"), "{answer}");
}
