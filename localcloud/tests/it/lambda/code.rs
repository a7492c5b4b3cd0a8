//! The code of functions: its folders and its changes.

use aws_sdk_lambda::primitives::Blob;
use localcloud::{Config, RunError};
use tokio::net::TcpListener;

use super::{cloud, create, invoke, package};
use crate::cloud::{Cloud, code as code_of, eventually};

const ONE: &str = "def handle(event, request_id):\n    return 'one'";
const TWO: &str = "def handle(event, request_id):\n    return 'two'";

/// Waits until there are so many folders of code.
async fn folders(cloud: &Cloud, count: usize) {
    let folder = cloud.data_folder().join("functions");
    eventually(&format!("{count} folders of code"), || async {
        let folders = std::fs::read_dir(&folder).unwrap().count();
        (folders == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn code_is_removed_once_it_is_replaced_or_deleted() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    create(&lambda, "f", ONE).send().await.unwrap();
    assert_eq!(invoke(&lambda, "f", "{}").await.unwrap(), "one");
    let update = lambda.update_function_code().function_name("f");
    let update = update.zip_file(Blob::new(package(TWO)));
    update.send().await.unwrap();
    folders(&cloud, 1).await;
    assert_eq!(invoke(&lambda, "f", "{}").await.unwrap(), "two");
    let delete = lambda.delete_function().function_name("f");
    delete.send().await.unwrap();
    folders(&cloud, 0).await;
    cloud.stop().await;
}

#[tokio::test]
async fn a_dry_run_and_a_wrong_revision_change_no_code() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    let created = create(&lambda, "f", ONE).send().await.unwrap();
    let revision = created.revision_id().unwrap();
    let update = || {
        let update = lambda.update_function_code().function_name("f");
        update.zip_file(Blob::new(package(TWO)))
    };
    update().dry_run(true).send().await.unwrap();
    let wrong = update().revision_id("wrong").send().await.unwrap_err();
    assert_eq!(code_of(wrong), "PreconditionFailedException");
    let configure = lambda.update_function_configuration().function_name("f");
    let wrong = configure.revision_id("wrong").memory_size(256).send().await;
    assert_eq!(code_of(wrong.unwrap_err()), "PreconditionFailedException");
    assert_eq!(invoke(&lambda, "f", "{}").await.unwrap(), "one");
    folders(&cloud, 1).await;
    update().revision_id(revision).send().await.unwrap();
    assert_eq!(invoke(&lambda, "f", "{}").await.unwrap(), "two");
    cloud.stop().await;
}

#[tokio::test]
async fn a_second_localcloud_leaves_the_code_of_the_first() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    create(&lambda, "f", ONE).send().await.unwrap();
    let config = Config {
        data: Some(cloud.data_folder().to_owned()),
        ..Config::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = localcloud::run(config, listener, std::future::pending()).await;
    assert!(matches!(refused, Err(RunError::Store(_))), "{refused:?}");
    assert_eq!(invoke(&lambda, "f", "{}").await.unwrap(), "one");
    cloud.stop().await;
}

#[tokio::test]
async fn a_function_has_no_code_signing() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    create(&lambda, "f", ONE).send().await.unwrap();
    let get = |name: &str| {
        let get = lambda.get_function_code_signing_config();
        get.function_name(name).send()
    };
    assert_eq!(get("f").await.unwrap().function_name(), "f");
    let missing = get("missing").await.unwrap_err();
    assert_eq!(code_of(missing), "ResourceNotFoundException");
    cloud.stop().await;
}
