//! Creating, changing and invoking functions.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_lambda::operation::create_function::builders::CreateFunctionFluentBuilder;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{FileSystemConfig, LogType, Runtime};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use localcloud::{Config, RoleConfig};
use serde_json::json;

use super::{ROLE, cloud, code, create, invoke, package, variables, zip_of};
use crate::cloud::{Cloud, code as code_of, eventually};

const ECHO: &str = "def handle(event, request_id):\n    print('seen', event, flush=True)\n    return {'event': event, 'pid': os.getpid(), 'env': dict(os.environ), 'cwd': os.getcwd()}";

#[tokio::test]
async fn a_function_is_created_invoked_changed_and_deleted() {
    let (cloud, name) = (cloud().await, "echo");
    let lambda = cloud.lambda();
    let created = create(&lambda, name, ECHO).environment(variables(&[("MINE", "1")]));
    let created = created.send().await.unwrap();
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:echo";
    assert_eq!(created.function_arn(), Some(arn));
    let again = create(&lambda, name, ECHO).send().await;
    assert_eq!(code_of(again.unwrap_err()), "ResourceConflictException");

    let invoked = lambda.invoke().function_name(arn).log_type(LogType::Tail);
    let invoked = invoked
        .payload(Blob::new("{\"a\":1}"))
        .send()
        .await
        .unwrap();
    assert_eq!(invoked.function_error(), None);
    let reply: serde_json::Value =
        serde_json::from_slice(invoked.payload().unwrap().as_ref()).unwrap();
    assert_eq!(reply["event"], json!({ "a": 1 }));
    let env = &reply["env"];
    assert_eq!(env["MINE"], "1");
    assert_eq!(env["_HANDLER"], "bootstrap");
    assert_eq!(env["AWS_LAMBDA_FUNCTION_NAME"], name);
    assert_eq!(env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "128");
    assert_eq!(env["AWS_ENDPOINT_URL"], cloud.endpoint);
    assert_eq!(env["LAMBDA_TASK_ROOT"], reply["cwd"]);
    let log = STANDARD.decode(invoked.log_result().unwrap()).unwrap();
    let log = String::from_utf8(log).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines[0].starts_with("START RequestId: ") && lines[0].ends_with(" Version: $LATEST"),
        "{log}"
    );
    assert_eq!(lines[1], "seen {'a': 1}");
    assert!(lines[2].starts_with("END RequestId: "), "{log}");
    assert!(
        lines[3].starts_with("REPORT RequestId: ")
            && lines[3].contains("\tMemory Size: 128 MB\tMax Memory Used: "),
        "{log}"
    );
    assert!(lines[3].contains("\tInit Duration: "), "{log}");

    // The process is the same until the function changes.
    let pid = invoke(&lambda, name, "{}").await.unwrap()["pid"].clone();
    assert_eq!(pid, reply["pid"]);
    let update = lambda.update_function_configuration().function_name(name);
    update.memory_size(256).send().await.unwrap();
    let changed = invoke(&lambda, name, "{}").await.unwrap();
    assert_ne!(changed["pid"], pid);
    assert_eq!(changed["env"]["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256");
    let update = lambda.update_function_code().function_name(name);
    let other = package("def handle(event, request_id):\n    return 'other'");
    update.zip_file(Blob::new(other)).send().await.unwrap();
    assert_eq!(invoke(&lambda, name, "{}").await.unwrap(), "other");

    let found = lambda
        .get_function()
        .function_name(name)
        .send()
        .await
        .unwrap();
    let configuration = found.configuration().unwrap();
    assert_eq!(configuration.state().unwrap().as_str(), "Active");
    assert_eq!(configuration.memory_size(), Some(256));
    let list = lambda.list_functions().send().await.unwrap();
    assert_eq!(list.functions().len(), 1);
    lambda
        .delete_function()
        .function_name(name)
        .send()
        .await
        .unwrap();
    let gone = lambda.invoke().function_name(name).send().await;
    assert_eq!(code_of(gone.unwrap_err()), "ResourceNotFoundException");
    cloud.stop().await;
}

#[tokio::test]
async fn a_busy_function_gets_new_credentials() {
    let role = RoleConfig {
        name: "f".to_owned(),
        policies: Vec::new(),
        tags: BTreeMap::new(),
    };
    let cloud = Cloud::with(Config {
        roles: vec![role],
        role_session: Duration::from_secs(2),
        ..Config::default()
    })
    .await;
    let lambda = cloud.lambda();
    let script = "def handle(event, request_id):\n    return os.environ['AWS_ACCESS_KEY_ID']";
    create(&lambda, "f", script).send().await.unwrap();
    let first = invoke(&lambda, "f", "{}").await.unwrap();
    assert!(first.as_str().unwrap().starts_with("ASIA"), "{first}");
    eventually("the function has new credentials", || async {
        (invoke(&lambda, "f", "{}").await.unwrap() != first).then_some(())
    })
    .await;
    cloud.stop().await;
}

#[tokio::test]
async fn an_error_of_a_function_is_not_an_error_of_the_call() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    let script = "def handle(event, request_id):\n    if event == 'exit': os._exit(3)\n    raise ValueError('no')";
    create(&lambda, "fails", script).send().await.unwrap();
    let error = invoke(&lambda, "fails", "{}").await.unwrap_err();
    assert_eq!(
        error,
        json!({ "errorType": "ValueError", "errorMessage": "no" })
    );
    let error = invoke(&lambda, "fails", "\"exit\"").await.unwrap_err();
    assert_eq!(error["errorType"], "Runtime.ExitError");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(
        message.ends_with("Error: Runtime exited with error: exit status 3"),
        "{message}"
    );
    let bad = lambda
        .invoke()
        .function_name("fails")
        .payload(Blob::new("{"));
    assert_eq!(
        code_of(bad.send().await.unwrap_err()),
        "InvalidRequestContentException"
    );
    cloud.stop().await;
}

#[tokio::test]
async fn what_a_function_would_miss_is_refused() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    let refused = async |create: CreateFunctionFluentBuilder, why: &str| {
        let error = create.send().await.unwrap_err();
        assert!(format!("{error:?}").contains(why), "{error:?}");
    };
    let layer = "arn:aws:lambda:us-east-1:000000000000:layer:ffmpeg:1";
    refused(create(&lambda, "f", ECHO).layers(layer), "no layers").await;
    let access_point =
        "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0";
    let disk = FileSystemConfig::builder().arn(access_point);
    let disk = disk.local_mount_path("/mnt/photos").build().unwrap();
    let with_disk = create(&lambda, "f", ECHO).file_system_configs(disk);
    refused(with_disk, "no file systems").await;
    create(&lambda, "f", ECHO).send().await.unwrap();
    let update = lambda.update_function_configuration().function_name("f");
    let update = update.layers(layer).send().await.unwrap_err();
    assert_eq!(code_of(update), "InvalidParameterValueException");
    cloud.stop().await;
}

#[tokio::test]
async fn a_hostile_zip_is_refused() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    let refused = async |zip: Vec<u8>| {
        let create = lambda
            .create_function()
            .function_name("f")
            .role(ROLE)
            .handler("x");
        let create = create.runtime(Runtime::Providedal2023).code(code(zip));
        code_of(create.send().await.unwrap_err())
    };
    let traversal = zip_of(&[("../../escaped", "", 0o644)]);
    let twice = zip_of(&[("a", "", 0o644), ("a/b", "", 0o644)]);
    let mut link = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    link.add_symlink("bootstrap", "/bin/sh", options).unwrap();
    let link = link.finish().unwrap().into_inner();
    let no_program = zip_of(&[("bootstrap", "", 0o644)]);
    let others = [b"no zip".to_vec(), zip_of(&[]), no_program];
    for zip in [traversal, twice, link].into_iter().chain(others) {
        assert_eq!(refused(zip).await, "InvalidParameterValueException");
    }
    assert!(!cloud.data_folder().join("escaped").exists());
    let left = std::fs::read_dir(cloud.data_folder().join("functions")).unwrap();
    assert_eq!(left.count(), 0);
    let create = create(&lambda, "f", ECHO).runtime(Runtime::Python312);
    let error = create.send().await.unwrap_err();
    assert!(format!("{error:?}").contains("provided.al2023, provided.al2, provided"));
    cloud.stop().await;
}
