//! The instance metadata service, with the client of AWS's SDK and with plain HTTP.

use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_ec2::types::{
    HttpTokensState, InstanceMetadataOptionsRequest, InstanceMetadataTagsState, InstanceStateName,
};

use crate::cloud::{Cloud, code, eventually, http_client, raw};
use crate::instances::{describe, in_state, instance_tag, launch, launched, run, stop, tag};

/// A script that logs the endpoint of its metadata service, and whether SDKs may use it.
pub const LOGS_ENDPOINT: &str =
    "echo metadata $AWS_EC2_METADATA_SERVICE_ENDPOINT $AWS_EC2_METADATA_DISABLED; exec sleep 1000";
const TOKEN_PATH: &str = "/latest/api/token";

/// Waits for the endpoint that a script like `LOGS_ENDPOINT` logs.
pub async fn endpoint_of(cloud: &Cloud, id: &str) -> String {
    let log = cloud.console_log(id);
    eventually("the instance logs its endpoint", || async {
        let text = std::fs::read_to_string(&log).ok()?;
        let line = text
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("metadata "))?;
        let (endpoint, disabled) = line.split_once(' ')?;
        assert_eq!(disabled, "false");
        Some(endpoint.to_owned())
    })
    .await
}

pub fn imds(endpoint: &str) -> aws_config::imds::Client {
    aws_config::imds::Client::builder()
        .configure(&ProviderConfig::without_region().with_http_client(http_client()))
        .endpoint(endpoint)
        .unwrap()
        .build()
}

/// Reads a path; `None` for 404.
pub async fn read(imds: &aws_config::imds::Client, path: &str) -> Option<String> {
    match imds.get(path).await {
        Ok(found) => Some(found.into()),
        Err(ImdsError::ErrorResponse(error)) => {
            assert_eq!(error.response().status().as_u16(), 404, "{path}");
            None
        }
        Err(error) => panic!("{path}: {error:?}"),
    }
}

/// Sends a request with headers. Returns status and body.
async fn ask(endpoint: &str, method: &str, path: &str, headers: &[&str]) -> (u16, String) {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
    raw(endpoint, &request).await
}

async fn token(endpoint: &str, seconds: &str) -> (u16, String) {
    let header = format!("X-aws-ec2-metadata-token-ttl-seconds: {seconds}");
    ask(endpoint, "PUT", TOKEN_PATH, &[&header]).await
}

#[tokio::test]
async fn an_instance_reads_its_metadata() {
    let cloud = Cloud::with_image(LOGS_ENDPOINT).await;
    let ec2 = cloud.ec2();
    let options = InstanceMetadataOptionsRequest::builder()
        .instance_metadata_tags(InstanceMetadataTagsState::Enabled)
        .build();
    let launch = run(&ec2, 1)
        .instance_type("t3.micro".into())
        // Base64 of "A=1".
        .user_data("QT0x")
        .tag_specifications(instance_tag("Name", "worker-1"))
        .metadata_options(options);
    let id = launched(launch).await.remove(0);
    let instance = in_state(&ec2, &id, InstanceStateName::Running).await;
    let imds = imds(&endpoint_of(&cloud, &id).await);
    let meta = |path: &str| format!("/latest/meta-data/{path}");
    for (path, expected) in [
        ("instance-id", Some(id.as_str())),
        ("ami-id", Some("ami-test")),
        ("ami-launch-index", Some("0")),
        ("instance-type", Some("t3.micro")),
        ("instance-life-cycle", Some("on-demand")),
        ("placement/region", Some("us-east-1")),
        ("placement/availability-zone", Some("us-east-1a")),
        ("local-ipv4", instance.private_ip_address()),
        ("local-hostname", instance.private_dns_name()),
        ("tags/instance/", Some("Name")),
        ("tags/instance/Name", Some("worker-1")),
        ("events/maintenance/scheduled", Some("[]")),
        ("spot/instance-action", None),
        ("spot/termination-time", None),
        ("events/recommendations/rebalance", None),
        ("iam/security-credentials/", None),
    ] {
        let found = read(&imds, &meta(path)).await;
        assert_eq!(found.as_deref(), expected, "{path}");
    }
    let reservation = read(&imds, &meta("reservation-id")).await.unwrap();
    assert!(reservation.starts_with("r-"), "{reservation}");
    assert_eq!(
        read(&imds, "/latest/user-data").await.as_deref(),
        Some("A=1")
    );
    let document = read(&imds, "/latest/dynamic/instance-identity/document").await;
    let document: serde_json::Value = serde_json::from_str(&document.unwrap()).unwrap();
    assert_eq!(document["instanceId"], id.as_str());
    assert_eq!(document["region"], "us-east-1");
    // A change shows at once.
    let tagging = ec2.create_tags().resources(&id).tags(tag("Pool", "b"));
    tagging.send().await.unwrap();
    assert_eq!(
        read(&imds, &meta("tags/instance/Pool")).await.as_deref(),
        Some("b")
    );
    let tagging = ec2.create_tags().resources(&id).tags(tag("a/b", ""));
    let refused = tagging.send().await.unwrap_err();
    assert_eq!(code(refused), "InvalidParameterValue");
    cloud.stop().await;
}

#[tokio::test]
async fn a_token_needs_a_lifetime_and_no_proxy() {
    let cloud = Cloud::with_image(LOGS_ENDPOINT).await;
    let id = launch(&cloud.ec2()).await;
    let endpoint = endpoint_of(&cloud, &id).await;
    let path = "/latest/meta-data/instance-id";
    assert_eq!(ask(&endpoint, "GET", path, &[]).await.0, 401);
    let wrong = ["X-aws-ec2-metadata-token: nonsense"];
    assert_eq!(ask(&endpoint, "GET", path, &wrong).await.0, 401);
    assert_eq!(ask(&endpoint, "PUT", TOKEN_PATH, &[]).await.0, 400);
    for seconds in ["0", "21601", "-1", "ten"] {
        assert_eq!(token(&endpoint, seconds).await.0, 400, "{seconds}");
    }
    let forwarded = [
        "X-aws-ec2-metadata-token-ttl-seconds: 60",
        "X-Forwarded-For: 10.0.0.1",
    ];
    assert_eq!(ask(&endpoint, "PUT", TOKEN_PATH, &forwarded).await.0, 403);
    assert_eq!(ask(&endpoint, "POST", path, &[]).await.0, 405);
    let (status, short) = token(&endpoint, "1").await;
    assert_eq!(status, 200);
    let (_, long) = token(&endpoint, "21600").await;
    let with = |token: &str| format!("X-aws-ec2-metadata-token: {token}");
    let read = ask(&endpoint, "GET", path, &[&with(&long)]).await;
    assert_eq!(read, (200, id));
    let absent = ask(
        &endpoint,
        "GET",
        "/latest/meta-data/nothing",
        &[&with(&long)],
    )
    .await;
    assert_eq!(absent.0, 404);
    assert!(absent.1.contains("404 - Not Found"), "{}", absent.1);
    eventually("the shorter token ends", || async {
        let status = ask(&endpoint, "GET", path, &[&with(&short)]).await.0;
        (status == 401).then_some(())
    })
    .await;
    assert_eq!(ask(&endpoint, "GET", path, &[&with(&long)]).await.0, 200);
    cloud.stop().await;
}

#[tokio::test]
async fn options_make_tokens_optional_and_close_the_endpoint() {
    let cloud = Cloud::with_image(LOGS_ENDPOINT).await;
    let ec2 = cloud.ec2();
    let optional = InstanceMetadataOptionsRequest::builder()
        .http_tokens(HttpTokensState::Optional)
        .build();
    let launch = run(&ec2, 1).metadata_options(optional);
    let id = launched(launch).await.remove(0);
    let endpoint = endpoint_of(&cloud, &id).await;
    let path = "/latest/meta-data/instance-id";
    assert_eq!(ask(&endpoint, "GET", path, &[]).await, (200, id.clone()));
    let options = describe(&ec2, &id).await.metadata_options.unwrap();
    assert_eq!(options.http_tokens(), Some(&HttpTokensState::Optional));
    let change = || ec2.modify_instance_metadata_options().instance_id(&id);
    let required = change().http_tokens(HttpTokensState::Required);
    required.send().await.unwrap();
    assert_eq!(ask(&endpoint, "GET", path, &[]).await.0, 401);
    let closed = change().http_endpoint("disabled".into());
    closed.send().await.unwrap();
    assert_eq!(token(&endpoint, "60").await.0, 403);
    cloud.stop().await;
}

#[tokio::test]
async fn an_instance_has_an_endpoint_of_its_own_while_it_runs() {
    let cloud = Cloud::with_image(LOGS_ENDPOINT).await;
    let ec2 = cloud.ec2();
    let ids = launched(run(&ec2, 2)).await;
    let first = endpoint_of(&cloud, &ids[0]).await;
    let second = endpoint_of(&cloud, &ids[1]).await;
    for (endpoint, id) in [(&first, &ids[0]), (&second, &ids[1])] {
        let found = read(&imds(endpoint), "/latest/meta-data/instance-id").await;
        assert_eq!(found.as_ref(), Some(id));
    }
    stop(&ec2, &ids[0]).await.unwrap();
    in_state(&ec2, &ids[0], InstanceStateName::Stopped).await;
    let address = first.trim_start_matches("http://");
    eventually("the port is closed", || async {
        tokio::net::TcpStream::connect(address).await.err()
    })
    .await;
    let found = read(&imds(&second), "/latest/meta-data/instance-id").await;
    assert_eq!(found.as_ref(), Some(&ids[1]));
    cloud.stop().await;
}
