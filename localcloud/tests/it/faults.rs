//! Faults of calls, set through the admin endpoint.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use localcloud::{AwsService, Config, Listeners};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::cloud::{Cloud, code, get, raw, raw_text, request, sdk, without_retries};
use crate::instances::{ABSENT, start};

const FAULTS: &str = "/_localcloud/faults";

fn sqs(cloud: &Cloud) -> aws_sdk_sqs::Client {
    aws_sdk_sqs::Client::new(&without_retries(&cloud.sdk()))
}

/// Sends messages. Returns the error code of each failed send.
async fn sends(sqs: &aws_sdk_sqs::Client, count: usize) -> Vec<Option<String>> {
    let mut codes = Vec::new();
    for _ in 0..count {
        let send = sqs.send_message().queue_url("q").message_body("x").send();
        codes.push(send.await.err().map(code));
    }
    codes
}

async fn waiting(sqs: &aws_sdk_sqs::Client) -> usize {
    let name = aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages;
    let attributes = sqs
        .get_queue_attributes()
        .queue_url("q")
        .attribute_names(name.clone())
        .send()
        .await
        .unwrap();
    attributes.attributes().unwrap()[&name].parse().unwrap()
}

#[tokio::test]
async fn the_same_seed_refuses_the_same_calls() {
    let cloud = Cloud::start().await;
    let sqs = sqs(&cloud);
    sqs.create_queue().queue_name("q").send().await.unwrap();
    let faults = |seed: u32| {
        format!(
            "seed = {seed}\n[[call]]\nservice = 'sqs'\naction = 'Send*'\nprobability = 0.5\n\
             error = {{ code = 'InternalError' }}"
        )
    };
    cloud.set_faults(&faults(1)).await;
    let codes = sends(&sqs, 40).await;
    let failed = codes.iter().flatten().count();
    assert!((5..35).contains(&failed), "{failed} of 40 at 0.5");
    assert!(codes.iter().flatten().all(|code| code == "InternalError"));
    assert_eq!(
        waiting(&sqs).await,
        40 - failed,
        "a failed send has no effect"
    );
    cloud.set_faults(&faults(1)).await;
    assert_eq!(sends(&sqs, 40).await, codes);
    cloud.set_faults(&faults(2)).await;
    assert_ne!(sends(&sqs, 40).await, codes);

    let (status, _) = raw(&cloud.endpoint, &request("DELETE", FAULTS, "", "")).await;
    assert_eq!(status, 200);
    assert_eq!(sends(&sqs, 40).await, vec![None; 40]);
    cloud.stop().await;
}

#[tokio::test]
async fn a_fault_after_the_call_loses_only_the_reply() {
    let cloud = Cloud::start().await;
    let sqs = sqs(&cloud);
    sqs.create_queue().queue_name("q").send().await.unwrap();
    let faults =
        "[[call]]\naction = 'SendMessage'\nwhen = 'after'\nerror = { code = 'ServiceUnavailable' }";
    cloud.set_faults(faults).await;
    let refused = Some("ServiceUnavailable".to_owned());
    assert_eq!(sends(&sqs, 3).await, vec![refused; 3]);
    assert_eq!(waiting(&sqs).await, 3);
    cloud.stop().await;
}

#[tokio::test]
async fn a_reset_gives_no_reply() {
    let cloud = Cloud::for_everybody().await;
    cloud
        .set_faults("[[call]]\naction = 'ListQueues'\nreset = true")
        .await;
    let list = request("POST", "/", "X-Amz-Target: AmazonSQS.ListQueues\r\n", "{}");
    let error = raw_text(&cloud.endpoint, &list).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let refused = sqs(&cloud).list_queues().send().await.unwrap_err();
    assert!(
        matches!(refused, aws_sdk_sqs::error::SdkError::DispatchFailure(_)),
        "{refused:?}"
    );
    let (_, metrics) = get(&cloud.endpoint, "/metrics").await;
    let counted = r#"localcloud_calls_total{service="sqs",action="ListQueues",status="reset"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
    cloud.stop().await;
}

#[tokio::test]
async fn a_fault_has_the_protocol_of_the_service() {
    let cloud = Cloud::start().await;
    cloud
        .set_faults("[[call]]\nlimit = { size = 1, refill_per_second = 0 }")
        .await;
    let config = without_retries(&cloud.sdk());
    let s3 = crate::cloud::s3(&config);
    s3.list_buckets().send().await.unwrap();
    let refused = s3.list_buckets().send().await.unwrap_err();
    assert_eq!(code(refused), "SlowDown");
    let ec2 = aws_sdk_ec2::Client::new(&config);
    let refused = ec2.describe_instances().send().await.unwrap_err();
    assert_eq!(code(refused), "RequestLimitExceeded");
    let sqs = aws_sdk_sqs::Client::new(&config);
    let refused = sqs.list_queues().send().await.unwrap_err();
    assert_eq!(code(refused), "RequestThrottled");
    cloud.stop().await;
}

#[tokio::test]
async fn latency_delays_a_call() {
    let cloud = Cloud::start().await;
    cloud
        .set_faults("[[call]]\nservice = 'sqs'\nlatency_ms = { uniform = [150, 200] }")
        .await;
    let started = Instant::now();
    sqs(&cloud).list_queues().send().await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(150));
    cloud.stop().await;
}

#[tokio::test]
async fn faults_are_shown_and_invalid_ones_refused_with_a_reason() {
    let cloud = Cloud::start().await;
    let json = r#"{"seed":9,"call":[{"service":"s3","latency_ms":5.0}],"sqs":{"duplicate":0.25}}"#;
    let (status, reply) = raw(&cloud.endpoint, &request("PUT", FAULTS, "", json)).await;
    assert_eq!(status, 200, "{reply}");
    let (status, shown) = get(&cloud.endpoint, FAULTS).await;
    assert_eq!(status, 200);
    assert_eq!(shown, reply);
    for part in ["\"seed\": 9", "\"latency_ms\": 5.0", "\"duplicate\": 0.25"] {
        assert!(shown.contains(part), "{shown}");
    }
    for (method, path, body, status, reason) in [
        ("PUT", FAULTS, "{", 400, "EOF"),
        (
            "PUT",
            FAULTS,
            r#"{"sqs":{"duplicate":2}}"#,
            400,
            "sqs.duplicate",
        ),
        ("PUT", FAULTS, r#"{"sqss":{}}"#, 400, "unknown field"),
        ("POST", FAULTS, "", 405, "use GET"),
        ("GET", "/_localcloud/fault", "", 404, "nothing is at"),
    ] {
        let (found, text) = raw(&cloud.endpoint, &request(method, path, "", body)).await;
        assert_eq!((found, text.contains(reason)), (status, true), "{text}");
    }
    assert_eq!(
        get(&cloud.endpoint, FAULTS).await.1,
        shown,
        "nothing changed"
    );
    cloud.stop().await;
}

#[tokio::test]
async fn a_port_can_serve_one_service() {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let all = bind().await.unwrap();
    let mut only = Vec::new();
    let mut endpoints = Vec::new();
    for service in [AwsService::S3, AwsService::Sqs, AwsService::Ec2] {
        let listener = bind().await.unwrap();
        endpoints.push(format!("http://{}", listener.local_addr().unwrap()));
        only.push((service, listener));
    }
    let (shutdown, asked) = oneshot::channel::<()>();
    let running = tokio::spawn(localcloud::run_on(
        Config::default(),
        Listeners { all, only },
        async {
            let _ = asked.await;
        },
    ));
    let s3 = crate::cloud::s3(&sdk(&endpoints[0], "test"));
    s3.create_bucket().bucket("bucket").send().await.unwrap();
    let sqs = aws_sdk_sqs::Client::new(&sdk(&endpoints[1], "test"));
    let created = sqs.create_queue().queue_name("q").send().await.unwrap();
    assert!(created.queue_url().unwrap().starts_with(&endpoints[1]));
    let ec2 = aws_sdk_ec2::Client::new(&sdk(&endpoints[2], "test"));
    ec2.describe_instances().send().await.unwrap();
    let (status, body) = get(&endpoints[0], "/").await;
    assert_eq!(status, 403, "S3 refuses unsigned requests");
    assert!(body.contains("AccessDenied"), "{body}");
    shutdown.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn configured_limits_stay_when_faults_change() {
    let cloud = Cloud::with(Config {
        ec2_limits: localcloud::RateLimits::aws(),
        ..Config::default()
    })
    .await;
    cloud.set_faults("[sqs]\nduplicate = 0.1").await;
    let (_, shown) = get(&cloud.endpoint, FAULTS).await;
    assert!(shown.contains("\"StartInstances\""), "{shown}");
    let ec2 = cloud.ec2_without_retries();
    let mut codes = Vec::new();
    for _ in 0..40 {
        codes.push(code(start(&ec2, ABSENT).await.unwrap_err()));
    }
    assert!(
        codes.contains(&"RequestLimitExceeded".to_owned()),
        "{codes:?}"
    );
    cloud.stop().await;
}

#[tokio::test]
async fn web_pages_of_other_sites_change_no_faults() {
    let cloud = Cloud::start().await;
    let origin = "Origin: http://evil.example\r\n";
    let change = request("PUT", FAULTS, origin, r#"{"seed":1}"#);
    let (status, body) = raw(&cloud.endpoint, &change).await;
    assert_eq!(status, 403, "{body}");
    let (_, shown) = get(&cloud.endpoint, FAULTS).await;
    assert!(shown.contains("\"seed\": 0"), "{shown}");
    cloud.stop().await;
}

#[tokio::test]
async fn a_client_that_is_still_sending_gets_the_error() {
    let cloud = Cloud::start().await;
    cloud
        .set_faults("[[call]]\nservice = 's3'\nlimit = { size = 1, refill_per_second = 0 }")
        .await;
    let body = "x".repeat(20 * 1024 * 1024);
    for refusal in ["AccessDenied", "SlowDown"] {
        let put = request("PUT", "/bucket/key", "", &body);
        let reply = raw_text(&cloud.endpoint, &put).await.unwrap();
        assert!(reply.contains(refusal), "{reply}");
    }
    cloud.stop().await;
}
