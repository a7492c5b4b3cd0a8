//! What a role may give a function.

use std::collections::BTreeMap;
use std::fmt::Debug;

use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::create_function::builders::CreateFunctionFluentBuilder;
use localcloud::{Config, RoleConfig};

use super::{ROLE, create, invoke, queue};
use crate::cloud::{Cloud, code, image, raw, request};
use crate::iam::instance_with;
use crate::metadata::LOGS_ENDPOINT;

const SCRIPT: &str = "def handle(event, request_id):\n    return os.environ['AWS_ACCESS_KEY_ID']";
/// May make functions of the role `weak`, and of one that does not exist.
const DEPLOYER: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "lambda:*", "Resource": "*"},
    {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::code/*"},
    {
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": ["arn:aws:iam::*:role/weak", "arn:aws:iam::*:role/missing"],
        "Condition": {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    }
]}"#;

fn arn(role: &str) -> String {
    format!("arn:aws:iam::000000000000:role/{role}")
}

/// Starts a localcloud with the roles `deployer`, `weak` and `admin`. Returns a client of `deployer`.
async fn cloud_with_deployer() -> (Cloud, aws_sdk_lambda::Client) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deployer.json");
    std::fs::write(&file, DEPLOYER).unwrap();
    let role = |name: &str, policies: &[&std::path::PathBuf]| RoleConfig {
        name: name.to_owned(),
        policies: policies.iter().map(|file| (*file).clone()).collect(),
        tags: BTreeMap::new(),
    };
    let cloud = Cloud::with(Config {
        images: vec![image("ami-logs", LOGS_ENDPOINT)],
        roles: vec![
            role("deployer", &[&file]),
            role("weak", &[]),
            role("admin", &[]),
        ],
        ..Config::default()
    })
    .await;
    let (_, sdk) = instance_with(&cloud, "deployer").await;
    (cloud, aws_sdk_lambda::Client::new(&sdk))
}

fn refusal<T: Debug, E: ProvideErrorMetadata + Debug, R: Debug>(
    result: Result<T, SdkError<E, R>>,
) -> String {
    code(result.unwrap_err())
}

/// The same with a function `f` of the role `weak`.
async fn cloud_with_function() -> (Cloud, aws_sdk_lambda::Client) {
    let (cloud, deployer) = cloud_with_deployer().await;
    create(&deployer, "f", SCRIPT)
        .role(arn("weak"))
        .send()
        .await
        .unwrap();
    (cloud, deployer)
}

#[tokio::test]
async fn a_role_gives_functions_only_roles_that_it_may_pass() {
    let (cloud, deployer) = cloud_with_deployer().await;
    let with_role = |role: &str| -> CreateFunctionFluentBuilder {
        create(&deployer, "f", SCRIPT).role(arn(role))
    };
    let denied = "AccessDeniedException";
    assert_eq!(refusal(with_role("admin").send().await), denied);
    // The path of an ARN does not tell roles apart.
    assert_eq!(refusal(with_role("weak/admin").send().await), denied);
    // The function would get the account's key.
    let missing = refusal(with_role("missing").send().await);
    assert_eq!(missing, "InvalidParameterValueException");
    with_role("weak").send().await.unwrap();
    let update = deployer.update_function_configuration().function_name("f");
    assert_eq!(refusal(update.role(arn("admin")).send().await), denied);
    let update = deployer.update_function_configuration().function_name("f");
    update.memory_size(256).send().await.unwrap();
    cloud.stop().await;
}

#[tokio::test]
async fn a_function_gets_no_role_that_does_not_exist() {
    let (cloud, _) = cloud_with_deployer().await;
    let lambda = cloud.lambda();
    let with_role = |role: &str| create(&lambda, "f", SCRIPT).role(arn(role)).send();
    let refused = with_role("missing").await.unwrap_err();
    let message = refused.as_service_error().unwrap().message();
    assert_eq!(
        message,
        Some("The role defined for the function cannot be assumed by Lambda.")
    );
    assert_eq!(code(refused), "InvalidParameterValueException");
    with_role("admin").await.unwrap();
    let update = lambda.update_function_configuration().function_name("f");
    let refused = refusal(update.role(arn("missing")).send().await);
    assert_eq!(refused, "InvalidParameterValueException");
    let key = invoke(&lambda, "f", "{}").await.unwrap();
    assert!(key.as_str().unwrap().starts_with("ASIA"), "{key}");
    cloud.stop().await;
}

#[tokio::test]
async fn a_role_gives_functions_only_code_that_it_may_read() {
    let (cloud, deployer) = cloud_with_function().await;
    for (bucket, expected) in [
        ("secret", "AccessDeniedException"),
        // There is no such object.
        ("code", "InvalidParameterValueException"),
    ] {
        let update = deployer.update_function_code().function_name("f");
        let update = update.s3_bucket(bucket).s3_key("f.zip").send().await;
        assert_eq!(refusal(update), expected, "{bucket}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_role_gives_functions_only_messages_that_their_roles_may_receive() {
    let (cloud, deployer) = cloud_with_function().await;
    let queue = queue(&cloud, "secrets").await;
    let mapping = deployer.create_event_source_mapping().function_name("f");
    let mapping = mapping.event_source_arn(queue).send().await;
    assert_eq!(refusal(mapping), "InvalidParameterValueException");
    cloud.stop().await;
}

#[tokio::test]
async fn a_function_whose_role_is_deleted_gets_no_key_of_the_account() {
    let cloud = Cloud::for_everybody().await;
    let lambda = cloud.lambda();
    let iam = async |call: &str| {
        let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
        let form = format!("Version=2010-05-08&RoleName=f&{call}");
        let (status, body) = raw(&cloud.endpoint, &request("POST", "/", headers, &form)).await;
        assert_eq!(status, 200, "{body}");
    };
    let trust = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D";
    iam(&format!(
        "Action=CreateRole&AssumeRolePolicyDocument={trust}"
    ))
    .await;
    create(&lambda, "f", SCRIPT)
        .role(ROLE)
        .send()
        .await
        .unwrap();
    iam("Action=DeleteRole").await;
    let key = invoke(&lambda, "f", "{}").await.unwrap();
    assert!(key.as_str().unwrap().starts_with("ASIA"), "{key}");
    cloud.stop().await;
}
