//! Attributes of instances, protection, and calls for instances in the wrong state.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::operation::describe_instance_attribute::DescribeInstanceAttributeOutput;
use aws_sdk_ec2::types::{
    AttributeBooleanValue, AttributeValue, InstanceAttributeName, InstanceStateName,
    SecureBlobAttributeValue, ShutdownBehavior,
};
use aws_sdk_s3::primitives::Blob;

use crate::cloud::{Cloud, code};
use crate::instances::{ABSENT, describe, in_state, launch, launched, run, running, start, stop};

const READER: &str = "cat \"$EC2_USER_DATA_FILE\"; exec sleep 1000";

fn flag(value: bool) -> AttributeBooleanValue {
    AttributeBooleanValue::builder().value(value).build()
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::builder().value(value).build()
}

async fn attribute(
    ec2: &Client,
    id: &str,
    name: InstanceAttributeName,
) -> DescribeInstanceAttributeOutput {
    let described = ec2.describe_instance_attribute().instance_id(id);
    described.attribute(name).send().await.unwrap()
}

async fn cloud_and_instance() -> (Cloud, Client, String) {
    let cloud = Cloud::with_image(READER).await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    running(&ec2, 1).await;
    (cloud, ec2, id)
}

#[tokio::test]
async fn a_protected_instance_is_neither_terminated_nor_stopped() {
    let (cloud, ec2, other) = cloud_and_instance().await;
    let protected = run(&ec2, 1)
        .disable_api_termination(true)
        .disable_api_stop(true);
    let id = launched(protected).await.remove(0);
    running(&ec2, 2).await;
    let terminate_both = || {
        let ids = ec2.terminate_instances().instance_ids(&id);
        ids.instance_ids(&other).send()
    };
    let refused = terminate_both().await.unwrap_err();
    assert_eq!(code(refused), "OperationNotPermitted");
    let refused = stop(&ec2, &id).await.unwrap_err();
    assert_eq!(code(refused), "OperationNotPermitted");
    running(&ec2, 2).await;
    let found = attribute(&ec2, &id, InstanceAttributeName::DisableApiTermination).await;
    assert_eq!(found.disable_api_termination().unwrap().value(), Some(true));
    let modify = || ec2.modify_instance_attribute().instance_id(&id);
    modify().disable_api_stop(flag(false)).send().await.unwrap();
    stop(&ec2, &id).await.unwrap();
    let unprotect = modify().disable_api_termination(flag(false));
    unprotect.send().await.unwrap();
    terminate_both().await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Terminated).await;
    // A second call changes nothing, and its identifiers may repeat.
    let again = ec2.terminate_instances().instance_ids(&id);
    let again = again.instance_ids(&id).send().await.unwrap();
    assert_eq!(again.terminating_instances().len(), 1);
    cloud.stop().await;
}

#[tokio::test]
async fn type_and_user_data_change_while_the_instance_is_stopped() {
    let (cloud, ec2, id) = cloud_and_instance().await;
    let modify = || ec2.modify_instance_attribute().instance_id(&id);
    let data = SecureBlobAttributeValue::builder()
        .value(Blob::new("B=2"))
        .build();
    for refused in [
        modify().instance_type(text("t3.large")).send().await,
        modify().user_data(data.clone()).send().await,
    ] {
        assert_eq!(code(refused.unwrap_err()), "IncorrectInstanceState");
    }
    stop(&ec2, &id).await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Stopped).await;
    let larger = modify().instance_type(text("t3.large"));
    larger.send().await.unwrap();
    modify().user_data(data).send().await.unwrap();
    let found = attribute(&ec2, &id, InstanceAttributeName::UserData).await;
    // Base64 of "B=2".
    assert_eq!(found.user_data().unwrap().value(), Some("Qj0y"));
    start(&ec2, &id).await.unwrap();
    let instance = in_state(&ec2, &id, InstanceStateName::Running).await;
    assert_eq!(instance.instance_type().unwrap().as_str(), "t3.large");
    cloud.logged(&id, "B=2").await;
    cloud.stop().await;
}

#[tokio::test]
async fn the_shutdown_behavior_terminates_an_instance_whose_process_ends() {
    let waits = "while [ ! -e \"$EC2_USER_DATA_FILE.end\" ]; do sleep 0.05; done";
    let cloud = Cloud::with_image(waits).await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    running(&ec2, 1).await;
    let modify = ec2.modify_instance_attribute().instance_id(&id);
    let terminate = modify.instance_initiated_shutdown_behavior(text("terminate"));
    terminate.send().await.unwrap();
    let name = InstanceAttributeName::InstanceInitiatedShutdownBehavior;
    let found = attribute(&ec2, &id, name).await;
    let behavior = found.instance_initiated_shutdown_behavior().unwrap();
    let expected = ShutdownBehavior::Terminate.as_str();
    assert_eq!(behavior.value(), Some(expected));
    std::fs::write(cloud.folder_of(&id).join("user-data.end"), "").unwrap();
    in_state(&ec2, &id, InstanceStateName::Terminated).await;
    cloud.stop().await;
}

#[tokio::test]
async fn invalid_modifications_are_refused() {
    let (cloud, ec2, id) = cloud_and_instance().await;
    let modify = || ec2.modify_instance_attribute().instance_id(&id);
    let two = modify()
        .disable_api_stop(flag(true))
        .disable_api_termination(flag(true));
    let explode = modify().instance_initiated_shutdown_behavior(text("explode"));
    let fixed = modify().source_dest_check(flag(false));
    let absent = modify().instance_id(ABSENT).disable_api_stop(flag(true));
    for (call, expected) in [
        (modify(), "InvalidParameterCombination"),
        (two, "InvalidParameterCombination"),
        (explode, "InvalidParameterValue"),
        (fixed, "UnsupportedOperation"),
        (absent, "InvalidInstanceID.NotFound"),
    ] {
        assert_eq!(code(call.send().await.unwrap_err()), expected);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn instances_in_the_wrong_state_stay_as_they_are() {
    let cloud = Cloud::with_image("trap '' TERM; echo trapped; while :; do sleep 1000; done").await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    running(&ec2, 1).await;
    cloud.logged(&id, "trapped").await;
    let stop_with = || ec2.stop_instances().instance_ids(&id);
    let hibernate = stop_with().hibernate(true).send().await.unwrap_err();
    assert_eq!(code(hibernate), "UnsupportedHibernationConfiguration");
    stop(&ec2, &id).await.unwrap();
    let refused = start(&ec2, &id).await.unwrap_err();
    assert_eq!(code(refused), "IncorrectInstanceState", "it is stopping");
    let reboot = ec2.reboot_instances().instance_ids(&id).send().await;
    assert_eq!(code(reboot.unwrap_err()), "IncorrectInstanceState");
    let again = stop(&ec2, &id).await.expect("a second stop is no error");
    let previous = again.stopping_instances()[0].previous_state().unwrap();
    assert_eq!(previous.name(), Some(&InstanceStateName::Stopping));
    stop_with().force(true).send().await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Stopped).await;
    let malformed = ec2.start_instances().instance_ids(ABSENT);
    let malformed = malformed.instance_ids("i-XYZ").send().await;
    assert_eq!(
        code(malformed.unwrap_err()),
        "InvalidInstanceID.Malformed",
        "the form is checked before the existence"
    );
    let mixed = ec2.start_instances().instance_ids(&id);
    let mixed = mixed.instance_ids(ABSENT).send().await;
    assert_eq!(code(mixed.unwrap_err()), "InvalidInstanceID.NotFound");
    let stopped = describe(&ec2, &id).await;
    let state = stopped.state().unwrap().name();
    assert_eq!(state, Some(&InstanceStateName::Stopped));
    cloud.stop().await;
}
