use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::aws::{Aws, AwsArgs};

/// A simulated EC2 that refuses every request with status 503 and this code, and counts them.
async fn refusing_ec2(code: &'static str) -> (Fleet, tokio::task::JoinHandle<()>, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let args = AwsArgs {
        endpoint_url: Some(format!("http://{}", listener.local_addr().unwrap())),
        region: Some("us-east-1".to_owned()),
        prefix: "muster".to_owned(),
    };
    let requests = Requests::default();
    let counted = requests.clone();
    let serving = tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            // The whole request fits.
            let mut request = [0; 16_384];
            drop(connection.read(&mut request).await);
            let body = format!(
                "<Response><Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors></Response>"
            );
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 503 Unavailable\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            drop(connection.write_all(answer.as_bytes()).await);
        }
    });
    let fleet = Aws::connect_as(&args, "test", "test").await.fleet();
    (fleet, serving, requests)
}

type Requests = std::sync::Arc<std::sync::atomic::AtomicUsize>;

#[tokio::test]
async fn stop_and_terminate_are_not_retried() {
    let (fleet, serving, requests) = refusing_ec2("RequestLimitExceeded").await;
    let ids = ["i-1".to_owned()];
    for result in [fleet.stop(&ids).await, fleet.terminate(&ids).await] {
        let error = result.unwrap_err();
        assert!(error.is_throttled(), "{error}");
    }
    assert_eq!(requests.load(std::sync::atomic::Ordering::SeqCst), 2);
    serving.abort();
}

#[test]
fn after_an_internal_error_a_call_may_have_happened() {
    let refused = |code: &str| FleetError::Refused {
        code: code.to_owned(),
        message: String::new(),
    };
    for code in [
        "InternalError",
        "InternalFailure",
        "ServiceUnavailable",
        "Unavailable",
    ] {
        assert!(refused(code).may_have_happened(), "{code}");
        assert!(refused(code).is_transient(), "{code}");
    }
    assert!(FleetError::Unavailable(String::new()).may_have_happened());
    for code in ["RequestLimitExceeded", "UnauthorizedOperation"] {
        assert!(!refused(code).may_have_happened(), "{code}");
    }
}

/// A leader stops acting a few seconds before another one may lead.
#[tokio::test]
async fn no_call_to_ec2_outlasts_the_margin_of_a_lease() {
    let (fleet, serving, _) = refusing_ec2("").await;
    serving.abort();
    for client in [&fleet.client, &fleet.without_retries] {
        let timeouts = client.config().timeout_config().expect("they are set");
        assert_eq!(timeouts.operation_timeout(), Some(LONGEST_CALL));
        assert_eq!(timeouts.operation_attempt_timeout(), Some(LONGEST_CALL));
    }
}
