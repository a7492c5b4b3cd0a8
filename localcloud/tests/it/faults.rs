//! Faults of calls, set while localcloud runs.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use aws_sdk_sqs::config::retry::RetryConfig;
use localcloud::{AwsService, Config, Listeners};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::cloud::{Cloud, code, get, raw, raw_text, request, sdk};

const FAULTS: &str = "/_localcloud/faults";

async fn set(cloud: &Cloud, toml: &str) {
    let headers = "Content-Type: application/toml\r\n";
    let (status, body) = raw(&cloud.endpoint, &request("PUT", FAULTS, headers, toml)).await;
    assert_eq!(status, 200, "{body}");
}

fn sqs(cloud: &Cloud) -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::config::Builder::from(&cloud.sdk())
        .retry_config(RetryConfig::disabled())
        .build();
    aws_sdk_sqs::Client::from_conf(config)
}

/// What each of so many sends was answered: nothing, or an error's code.
async fn sends(sqs: &aws_sdk_sqs::Client, count: usize) -> Vec<Option<String>> {
    let mut answers = Vec::new();
    for _ in 0..count {
        let send = sqs.send_message().queue_url("q").message_body("x").send();
        answers.push(send.await.err().map(code));
    }
    answers
}

async fn waiting(sqs: &aws_sdk_sqs::Client) -> usize {
    let name = aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages;
    let answer = sqs
        .get_queue_attributes()
        .queue_url("q")
        .attribute_names(name.clone())
        .send()
        .await
        .unwrap();
    answer.attributes().unwrap()[&name].parse().unwrap()
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
    set(&cloud, &faults(1)).await;
    let answers = sends(&sqs, 40).await;
    let failed = answers.iter().flatten().count();
    assert!((5..35).contains(&failed), "{failed} of 40 at 0.5");
    assert!(answers.iter().flatten().all(|code| code == "InternalError"));
    assert_eq!(waiting(&sqs).await, 40 - failed, "what failed was not sent");
    set(&cloud, &faults(1)).await;
    assert_eq!(sends(&sqs, 40).await, answers);
    set(&cloud, &faults(2)).await;
    assert_ne!(sends(&sqs, 40).await, answers);

    let (status, _) = raw(&cloud.endpoint, &request("DELETE", FAULTS, "", "")).await;
    assert_eq!(status, 200);
    assert_eq!(sends(&sqs, 40).await, vec![None; 40]);
    cloud.stop().await;
}

#[tokio::test]
async fn a_fault_after_the_call_loses_only_its_answer() {
    let cloud = Cloud::start().await;
    let sqs = sqs(&cloud);
    sqs.create_queue().queue_name("q").send().await.unwrap();
    set(
        &cloud,
        "[[call]]\naction = 'SendMessage'\nwhen = 'after'\nerror = { code = 'ServiceUnavailable' }",
    )
    .await;
    let refused = Some("ServiceUnavailable".to_owned());
    assert_eq!(sends(&sqs, 3).await, vec![refused; 3]);
    assert_eq!(waiting(&sqs).await, 3);
    cloud.stop().await;
}

#[tokio::test]
async fn a_reset_gives_no_answer() {
    let cloud = Cloud::for_everybody().await;
    set(&cloud, "[[call]]\naction = 'ListQueues'\nreset = true").await;
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
async fn every_service_is_refused_in_its_own_protocol() {
    let cloud = Cloud::start().await;
    set(
        &cloud,
        "[[call]]\nlimit = { size = 1, refill_per_second = 0 }",
    )
    .await;
    let config = cloud.sdk();
    let config = config
        .to_builder()
        .retry_config(RetryConfig::disabled())
        .build();
    let s3 = crate::cloud::s3(&config);
    s3.list_buckets().send().await.unwrap();
    assert_eq!(
        code(s3.list_buckets().send().await.unwrap_err()),
        "SlowDown"
    );
    let ec2 = aws_sdk_ec2::Client::new(&config);
    let refused = ec2.describe_instances().send().await.unwrap_err();
    assert_eq!(code(refused), "RequestLimitExceeded");
    let sqs = aws_sdk_sqs::Client::new(&config);
    let refused = sqs.list_queues().send().await.unwrap_err();
    assert_eq!(code(refused), "RequestThrottled");
    cloud.stop().await;
}

#[tokio::test]
async fn latency_makes_a_call_take_at_least_as_long() {
    let cloud = Cloud::start().await;
    set(
        &cloud,
        "[[call]]\nservice = 'sqs'\nlatency_ms = { uniform = [150, 200] }",
    )
    .await;
    let started = Instant::now();
    sqs(&cloud).list_queues().send().await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(150));
    cloud.stop().await;
}

#[tokio::test]
async fn faults_are_shown_as_they_are_and_refused_with_a_reason() {
    let cloud = Cloud::start().await;
    let json = r#"{"seed":9,"call":[{"service":"s3","latency_ms":5.0}],"sqs":{"duplicate":0.25}}"#;
    let (status, answer) = raw(&cloud.endpoint, &request("PUT", FAULTS, "", json)).await;
    assert_eq!(status, 200, "{answer}");
    let (status, shown) = get(&cloud.endpoint, FAULTS).await;
    assert_eq!(status, 200);
    assert_eq!(shown, answer);
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
        let (answered, text) = raw(&cloud.endpoint, &request(method, path, "", body)).await;
        assert_eq!((answered, text.contains(reason)), (status, true), "{text}");
    }
    assert_eq!(
        get(&cloud.endpoint, FAULTS).await.1,
        shown,
        "nothing changed"
    );
    cloud.stop().await;
}

#[tokio::test]
async fn a_port_of_its_own_serves_a_service_alone() {
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
    assert_eq!(status, 403, "S3 lists no buckets to strangers");
    assert!(body.contains("AccessDenied"), "{body}");
    shutdown.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_limits_of_the_command_line_stay_when_faults_change() {
    let cloud = Cloud::with(Config {
        ec2_limits: localcloud::RateLimits::aws(),
        ..Config::default()
    })
    .await;
    set(&cloud, "[sqs]\nduplicate = 0.1").await;
    let (_, shown) = get(&cloud.endpoint, FAULTS).await;
    assert!(shown.contains("\"StartInstances\""), "{shown}");
    let ec2 = cloud.ec2_without_retries();
    let mut codes = Vec::new();
    for _ in 0..40 {
        let unknown = ec2.start_instances().instance_ids("i-0123456789abcdef0");
        codes.push(code(unknown.send().await.unwrap_err()));
    }
    assert!(
        codes.contains(&"RequestLimitExceeded".to_owned()),
        "{codes:?}"
    );
    cloud.stop().await;
}

#[tokio::test]
async fn web_pages_of_others_change_nothing() {
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
async fn a_client_that_still_sends_hears_why_it_is_refused() {
    let cloud = Cloud::start().await;
    set(
        &cloud,
        "[[call]]\nservice = 's3'\nlimit = { size = 1, refill_per_second = 0 }",
    )
    .await;
    let body = "x".repeat(20 * 1024 * 1024);
    for refusal in ["AccessDenied", "SlowDown"] {
        let put = request("PUT", "/bucket/key", "", &body);
        let answer = raw_text(&cloud.endpoint, &put).await.unwrap();
        assert!(answer.contains(refusal), "{answer}");
    }
    cloud.stop().await;
}
