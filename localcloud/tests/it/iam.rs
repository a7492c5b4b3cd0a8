//! Roles of instances: credentials from the metadata service, and policies that are enforced. The policies are those of
//! `deploy/aws/iam`.

mod ambiguous;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::types::{IamInstanceProfileSpecification, ResourceType};
use aws_sdk_s3::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use localcloud::{BootInstance, Config, ConfigError, RoleConfig, RunError};

use crate::cloud::{Cloud, code, eventually, http_client, image, s3, status_and_code};
use crate::instances::{
    SLEEPER, describe, instance_tag, launch, launched, run, stop, tag, tag_specification, terminate,
};
use crate::metadata::{LOGS_ENDPOINT, endpoint_of, imds, read};

fn policy(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../deploy/aws/iam/{name}.json"))
}

fn role(name: &str, policies: &[&str]) -> RoleConfig {
    RoleConfig {
        name: name.to_owned(),
        policies: policies.iter().map(|name| policy(name)).collect(),
        tags: BTreeMap::from([("muster-prefix".to_owned(), "acme".to_owned())]),
    }
}

fn config() -> Config {
    Config {
        images: vec![image("ami-test", SLEEPER), image("ami-logs", LOGS_ENDPOINT)],
        roles: vec![
            role("acme-web", &["front", "scaler"]),
            role("acme-worker", &["worker"]),
        ],
        ..Config::default()
    }
}

fn profile(name: &str) -> IamInstanceProfileSpecification {
    IamInstanceProfileSpecification::builder()
        .name(name)
        .build()
}

/// Launches an instance with a role. Returns its identifier and its SDK's configuration.
pub async fn instance_with(cloud: &Cloud, role: &str) -> (String, SdkConfig) {
    let ec2 = cloud.ec2();
    let request = run(&ec2, 1)
        .image_id("ami-logs")
        .iam_instance_profile(profile(role));
    let id = launched(request).await.remove(0);
    let endpoint = endpoint_of(cloud, &id).await;
    let provider = ImdsCredentialsProvider::builder()
        .imds_client(imds(&endpoint))
        .build();
    (
        id,
        acting_as(cloud, SharedCredentialsProvider::new(provider)),
    )
}

/// Starts a localcloud with a role of one policy. Returns the role's configuration of SDKs as well.
pub async fn cloud_with_role(policy: &str) -> (Cloud, SdkConfig) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.json");
    std::fs::write(&file, policy).unwrap();
    let cloud = Cloud::with(Config {
        images: vec![image("ami-logs", LOGS_ENDPOINT)],
        roles: vec![RoleConfig {
            name: "role".to_owned(),
            policies: vec![file],
            tags: BTreeMap::new(),
        }],
        ..Config::default()
    })
    .await;
    let (_, sdk) = instance_with(&cloud, "role").await;
    (cloud, sdk)
}

fn acting_as(cloud: &Cloud, credentials: SharedCredentialsProvider) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&cloud.endpoint)
        .retry_config(RetryConfig::disabled())
        .credentials_provider(credentials)
        .http_client(http_client())
        .build()
}

fn message<E: ProvideErrorMetadata + std::fmt::Debug, R: std::fmt::Debug>(
    error: &SdkError<E, R>,
) -> String {
    let error = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::message);
    error.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_instance_gets_the_credentials_of_its_role() {
    let cloud = Cloud::with(config()).await;
    let (id, sdk) = instance_with(&cloud, "acme-worker").await;
    let described = describe(&cloud.ec2(), &id).await;
    let arn = described
        .iam_instance_profile()
        .unwrap()
        .arn()
        .unwrap()
        .to_owned();
    assert_eq!(
        arn,
        "arn:aws:iam::000000000000:instance-profile/acme-worker"
    );
    let imds = imds(&endpoint_of(&cloud, &id).await);
    let folder = "/latest/meta-data/iam/security-credentials/";
    assert_eq!(read(&imds, folder).await.as_deref(), Some("acme-worker"));
    let info = read(&imds, "/latest/meta-data/iam/info").await.unwrap();
    assert!(
        info.contains(&arn) && info.contains("\"Code\": \"Success\""),
        "{info}"
    );
    assert_eq!(read(&imds, &format!("{folder}acme-web")).await, None);

    let credentials = sdk
        .credentials_provider()
        .unwrap()
        .provide_credentials()
        .await;
    let credentials = credentials.unwrap();
    assert!(credentials.access_key_id().starts_with("ASIA"));
    let shown = read(&imds, &format!("{folder}acme-worker")).await.unwrap();
    assert!(
        shown.contains(credentials.session_token().unwrap()),
        "the same session"
    );

    // An instance without a role has none.
    let plain = launched(run(&cloud.ec2(), 1).image_id("ami-logs"))
        .await
        .remove(0);
    let plain = crate::metadata::imds(&endpoint_of(&cloud, &plain).await);
    assert_eq!(read(&plain, folder).await, None);
    assert_eq!(read(&plain, "/latest/meta-data/iam/info").await, None);
    cloud.stop().await;
}

#[tokio::test]
async fn s3_enforces_policies() {
    let cloud = Cloud::with(config()).await;
    let account = cloud.s3();
    for bucket in ["acme-in-bucket", "acme-out-bucket", "other-in-bucket"] {
        account.create_bucket().bucket(bucket).send().await.unwrap();
        let put = account.put_object().bucket(bucket).key("a");
        put.send().await.unwrap();
    }
    let (id, worker) = instance_with(&cloud, "acme-worker").await;
    let worker = s3(&worker);
    let get = |bucket: &str, key: &str| worker.get_object().bucket(bucket).key(key).send();
    get("acme-in-bucket", "a").await.unwrap();
    let denied = get("other-in-bucket", "a").await.unwrap_err();
    assert_eq!(
        message(&denied),
        format!(
            "User: arn:aws:sts::000000000000:assumed-role/acme-worker/{id} is not authorized to perform: s3:GetObject \
             on resource: arn:aws:s3:::other-in-bucket/a because no identity-based policy allows the s3:GetObject action"
        )
    );
    assert_eq!(status_and_code(denied), (403, "AccessDenied".to_owned()));
    // It may list the first bucket, but not the second, so it does not learn that the key is missing there.
    let missing = get("acme-in-bucket", "b").await.unwrap_err();
    assert_eq!(code(missing), "NoSuchKey");
    let hidden = get("acme-out-bucket", "b").await.unwrap_err();
    assert_eq!(status_and_code(hidden), (403, "AccessDenied".to_owned()));
    let head = worker.head_object().bucket("acme-out-bucket").key("b");
    let hidden = head.send().await.unwrap_err();
    assert_eq!(hidden.raw_response().unwrap().status().as_u16(), 403);
    // Ranges that S3 ignores take another way.
    let range = worker
        .get_object()
        .bucket("other-in-bucket")
        .key("a")
        .range("lines=1");
    assert_eq!(code(range.send().await.unwrap_err()), "AccessDenied");
    let copy = worker.copy_object().bucket("acme-out-bucket").key("c");
    let copied = copy.clone().copy_source("acme-in-bucket/a").send().await;
    copied.unwrap();
    let denied = copy.copy_source("other-in-bucket/a").send().await;
    assert_eq!(code(denied.unwrap_err()), "AccessDenied");
    let denied = worker.list_buckets().send().await.unwrap_err();
    assert_eq!(code(denied), "AccessDenied");
    let denied = worker
        .delete_object()
        .bucket("acme-in-bucket")
        .key("a")
        .send()
        .await;
    assert_eq!(code(denied.unwrap_err()), "AccessDenied");

    let (_, web) = instance_with(&cloud, "acme-web").await;
    let web = s3(&web);
    for (bucket, deleted, refused) in [("acme-in-bucket", 2, 0), ("acme-out-bucket", 0, 2)] {
        let keys = ["a", "b"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
        let keys = Delete::builder()
            .set_objects(Some(keys.to_vec()))
            .build()
            .unwrap();
        let result = web
            .delete_objects()
            .bucket(bucket)
            .delete(keys)
            .send()
            .await
            .unwrap();
        assert_eq!(
            (result.deleted().len(), result.errors().len()),
            (deleted, refused)
        );
        assert!(
            result
                .errors()
                .iter()
                .all(|it| it.code() == Some("AccessDenied"))
        );
    }
    cloud.stop().await;
}

#[tokio::test]
async fn sqs_enforces_policies() {
    let cloud = Cloud::with(config()).await;
    let (id, web) = instance_with(&cloud, "acme-web").await;
    let (web, account) = (aws_sdk_sqs::Client::new(&web), cloud.sqs());
    let created = web.create_queue().queue_name("acme-req-queue").send().await;
    let url = created.unwrap().queue_url.unwrap();
    web.send_message()
        .queue_url(&url)
        .message_body("x")
        .send()
        .await
        .unwrap();
    let denied = web
        .create_queue()
        .queue_name("other-req-queue")
        .send()
        .await;
    let denied = denied.unwrap_err();
    assert_eq!(
        message(&denied),
        format!(
            "User: arn:aws:sts::000000000000:assumed-role/acme-web/{id} is not authorized to perform: sqs:createqueue \
             on resource: arn:aws:sqs:us-east-1:000000000000:other-req-queue because no identity-based policy allows \
             the sqs:createqueue action"
        )
    );
    assert_eq!(status_and_code(denied), (403, "AccessDenied".to_owned()));
    let received = web.receive_message().queue_url(&url).send().await;
    assert_eq!(code(received.unwrap_err()), "AccessDenied");
    let (_, worker) = instance_with(&cloud, "acme-worker").await;
    let worker = aws_sdk_sqs::Client::new(&worker);
    let received = worker.receive_message().queue_url(&url).send().await;
    assert_eq!(received.unwrap().messages().len(), 1);
    account.delete_queue().queue_url(url).send().await.unwrap();
    cloud.stop().await;
}

#[tokio::test]
async fn ec2_enforces_policies() {
    let cloud = Cloud::with(config()).await;
    let account = cloud.ec2();
    let others = launch(&account).await;
    let (web_id, web) = instance_with(&cloud, "acme-web").await;
    let web = aws_sdk_ec2::Client::new(&web);
    let denied = stop(&web, &others).await.unwrap_err();
    assert_eq!(
        message(&denied),
        format!(
            "You are not authorized to perform this operation. User: \
             arn:aws:sts::000000000000:assumed-role/acme-web/{web_id} is not authorized to perform: ec2:StopInstances on \
             resource: arn:aws:ec2:us-east-1:000000000000:instance/{others} because no identity-based policy allows \
             the ec2:StopInstances action"
        )
    );
    let unauthorized = (403, "UnauthorizedOperation".to_owned());
    assert_eq!(status_and_code(denied), unauthorized);
    let denied = terminate(&web, &others).await.unwrap_err();
    assert_eq!(status_and_code(denied), unauthorized);

    let ours = || {
        run(&web, 1)
            .iam_instance_profile(profile("acme-worker"))
            .tag_specifications(instance_tag("muster-prefix", "acme"))
    };
    let volume = |owner: &str| tag_specification(ResourceType::Volume, "muster-prefix", owner);
    let dry = ours().tag_specifications(volume("acme")).dry_run(true);
    assert_eq!(code(dry.send().await.unwrap_err()), "DryRunOperation");
    for refused in [
        // The disk has no tag, or that of others.
        ours(),
        ours().tag_specifications(volume("other")),
        ours()
            .tag_specifications(volume("acme"))
            .iam_instance_profile(profile("acme-web")),
    ] {
        let refused = refused.dry_run(true).send().await.unwrap_err();
        assert_eq!(status_and_code(refused), unauthorized);
    }
    let id = launched(ours().tag_specifications(volume("acme")))
        .await
        .remove(0);
    let set = |key: &str| web.create_tags().resources(&id).tags(tag(key, "x")).send();
    set("Name").await.unwrap();
    assert_eq!(
        status_and_code(set("muster-prefix").await.unwrap_err()),
        unauthorized
    );
    terminate(&web, &id).await.unwrap();

    let (_, worker) = instance_with(&cloud, "acme-worker").await;
    let worker = aws_sdk_ec2::Client::new(&worker);
    let denied = worker.describe_instances().send().await.unwrap_err();
    assert_eq!(status_and_code(denied), unauthorized);
    let unknown = run(&account, 1).iam_instance_profile(profile("nobody"));
    let unknown = unknown.send().await.unwrap_err();
    assert!(message(&unknown).contains("Invalid IAM Instance Profile name"));
    assert_eq!(code(unknown), "InvalidParameterValue");
    cloud.stop().await;
}

#[tokio::test]
async fn wrong_and_expired_session_tokens_are_refused() {
    let cloud = Cloud::with(Config {
        role_session: Duration::from_secs(2),
        ..config()
    })
    .await;
    let (_, sdk) = instance_with(&cloud, "acme-worker").await;
    let credentials = sdk
        .credentials_provider()
        .unwrap()
        .provide_credentials()
        .await;
    let credentials = credentials.unwrap();
    let with_token = |token: Option<&str>| {
        let (key, secret) = (credentials.access_key_id(), credentials.secret_access_key());
        let credentials = Credentials::new(key, secret, token.map(str::to_owned), None, "test");
        let sdk = acting_as(&cloud, SharedCredentialsProvider::new(credentials));
        async move {
            let head = s3(&sdk)
                .get_object()
                .bucket("acme-in-bucket")
                .key("a")
                .send();
            let url = aws_sdk_sqs::Client::new(&sdk).get_queue_url();
            let described = aws_sdk_ec2::Client::new(&sdk).describe_instances().send();
            [
                code(head.await.unwrap_err()),
                code(url.queue_name("acme-req-queue").send().await.unwrap_err()),
                code(described.await.unwrap_err()),
            ]
        }
    };
    for token in [None, Some("wrong")] {
        let codes = with_token(token).await;
        assert_eq!(
            codes,
            ["InvalidToken", "InvalidClientTokenId", "AuthFailure"]
        );
    }
    let token = credentials.session_token();
    eventually("the session expires", || async {
        let codes = with_token(token).await;
        (codes == ["ExpiredToken", "ExpiredToken", "RequestExpired"]).then_some(())
    })
    .await;
    cloud.stop().await;
}

#[tokio::test]
async fn accesses_are_recorded_with_the_statement_that_decides() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.jsonl");
    let cloud = Cloud::with(Config {
        record_calls: Some(file.clone()),
        ..config()
    })
    .await;
    let (id, worker) = instance_with(&cloud, "acme-worker").await;
    let worker = s3(&worker);
    for bucket in ["acme-in-bucket", "other-bucket"] {
        let head = worker.head_bucket().bucket(bucket).send().await;
        head.unwrap_err();
    }
    cloud.stop().await;
    let lines = std::fs::read_to_string(&file).unwrap();
    let principal = format!("arn:aws:sts::000000000000:assumed-role/acme-worker/{id}");
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let expected = [
        serde_json::json!({
            "principal": principal,
            "role": "acme-worker",
            "action": "s3:ListBucket",
            "resource": "arn:aws:s3:::acme-in-bucket",
            "decision": "allowed",
            "by": {
                "policy": "worker.json",
                "sid": "SeeMissingPhotos",
                "action": "s3:ListBucket",
                "resource": "arn:aws:s3:::${aws:PrincipalTag/muster-prefix}-in-bucket",
            },
        }),
        serde_json::json!({
            "principal": principal,
            "role": "acme-worker",
            "action": "s3:ListBucket",
            "resource": "arn:aws:s3:::other-bucket",
            "decision": "denied",
        }),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn roles_that_cannot_be_used_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.json");
    std::fs::write(
        &bad,
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow"}}"#,
    )
    .unwrap();
    let boot = BootInstance {
        image: "ami-test".to_owned(),
        tags: BTreeMap::new(),
        user_data: None,
        instance_profile: Some("nobody".to_owned()),
    };
    let mut of_bad_policy = config();
    of_bad_policy.roles[0].policies.push(bad);
    let mut twice = config();
    twice.roles.push(role("acme-web", &[]));
    let unknown = Config {
        instances: vec![boot],
        ..config()
    };
    for (config, expected) in [
        (
            of_bad_policy,
            "bad.json of the role \"acme-web\": statement 1: it needs either Action",
        ),
        (twice, "two roles have the name \"acme-web\""),
        (unknown, "add a [[role]] with that name"),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refused = localcloud::run(config, listener, std::future::pending()).await;
        let Err(RunError::Config(error)) = refused else {
            panic!("{refused:?}");
        };
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!matches!(error, ConfigError::Faults(_)));
    }
}
