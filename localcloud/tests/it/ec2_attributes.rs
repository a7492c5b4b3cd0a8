//! Attributes of instances, protection, and the calls that instances are in the wrong state for.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    AttributeBooleanValue, AttributeValue, InstanceAttributeName, InstanceStateName,
    SecureBlobAttributeValue, ShutdownBehavior,
};
use aws_sdk_s3::primitives::Blob;

use crate::cloud::{Cloud, code, eventually};
use crate::ec2::{launched, run, running};
use crate::processes::{describe, in_state};

const SLEEPER: &str = "cat \"$EC2_USER_DATA_FILE\"; exec sleep 1000";

fn flag(value: bool) -> AttributeBooleanValue {
    AttributeBooleanValue::builder().value(value).build()
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::builder().value(value).build()
}

async fn cloud_and_instance() -> (Cloud, Client, String) {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let id = launched(run(&ec2, 1)).await.remove(0);
    running(&ec2, 1).await;
    (cloud, ec2, id)
}

#[tokio::test]
async fn a_protected_instance_is_neither_terminated_nor_stopped() {
    let cloud = Cloud::with_image(SLEEPER).await;
    let ec2 = cloud.ec2();
    let launch = run(&ec2, 1)
        .disable_api_termination(true)
        .disable_api_stop(true);
    let id = launched(launch).await.remove(0);
    let other = launched(run(&ec2, 1)).await.remove(0);
    running(&ec2, 2).await;
    let terminate = || {
        let ids = ec2.terminate_instances().instance_ids(&id);
        ids.instance_ids(&other).send()
    };
    assert_eq!(
        code(terminate().await.unwrap_err()),
        "OperationNotPermitted"
    );
    let stop = || ec2.stop_instances().instance_ids(&id).send();
    assert_eq!(code(stop().await.unwrap_err()), "OperationNotPermitted");
    running(&ec2, 2).await;
    let asked = ec2
        .describe_instance_attribute()
        .instance_id(&id)
        .attribute(InstanceAttributeName::DisableApiTermination);
    let asked = asked.send().await.unwrap();
    assert_eq!(asked.disable_api_termination().unwrap().value(), Some(true));
    let modify = || ec2.modify_instance_attribute().instance_id(&id);
    modify().disable_api_stop(flag(false)).send().await.unwrap();
    stop().await.unwrap();
    let unprotect = modify().disable_api_termination(flag(false));
    unprotect.send().await.unwrap();
    terminate().await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Terminated).await;
    // A second time changes nothing, and the identifiers may come twice.
    let again = ec2
        .terminate_instances()
        .instance_ids(&id)
        .instance_ids(&id);
    let again = again.send().await.unwrap();
    assert_eq!(again.terminating_instances().len(), 1);
    cloud.stop().await;
}

#[tokio::test]
async fn type_and_user_data_change_while_the_instance_is_stopped() {
    let (cloud, ec2, id) = cloud_and_instance().await;
    let modify = || ec2.modify_instance_attribute().instance_id(&id);
    let data = |text: &str| {
        SecureBlobAttributeValue::builder()
            .value(Blob::new(text))
            .build()
    };
    for refused in [
        modify().instance_type(text("t3.large")).send().await,
        modify().user_data(data("B=2")).send().await,
    ] {
        assert_eq!(code(refused.unwrap_err()), "IncorrectInstanceState");
    }
    let stop = ec2.stop_instances().instance_ids(&id);
    stop.send().await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Stopped).await;
    let larger = modify().instance_type(text("t3.large"));
    larger.send().await.unwrap();
    modify().user_data(data("B=2")).send().await.unwrap();
    let asked = ec2
        .describe_instance_attribute()
        .instance_id(&id)
        .attribute(InstanceAttributeName::UserData);
    let asked = asked.send().await.unwrap();
    // Base64 of "B=2".
    assert_eq!(asked.user_data().unwrap().value(), Some("Qj0y"));
    let start = ec2.start_instances().instance_ids(&id);
    start.send().await.unwrap();
    let instance = in_state(&ec2, &id, InstanceStateName::Running).await;
    assert_eq!(instance.instance_type().unwrap().as_str(), "t3.large");
    let log = cloud.folder_of(&id).join("console.log");
    crate::cloud::eventually("it has read its new user data", || async {
        let log = std::fs::read_to_string(&log).ok()?;
        log.contains("B=2").then_some(())
    })
    .await;
    cloud.stop().await;
}

#[tokio::test]
async fn an_instance_that_is_to_be_terminated_on_shutdown_is() {
    let cloud =
        Cloud::with_image("while [ ! -e \"$EC2_USER_DATA_FILE.end\" ]; do sleep 0.05; done").await;
    let ec2 = cloud.ec2();
    let id = launched(run(&ec2, 1)).await.remove(0);
    running(&ec2, 1).await;
    let modify = || ec2.modify_instance_attribute().instance_id(&id);
    let terminate = modify().instance_initiated_shutdown_behavior(text("terminate"));
    terminate.send().await.unwrap();
    let asked = ec2
        .describe_instance_attribute()
        .instance_id(&id)
        .attribute(InstanceAttributeName::InstanceInitiatedShutdownBehavior);
    let asked = asked.send().await.unwrap();
    assert_eq!(
        asked
            .instance_initiated_shutdown_behavior()
            .unwrap()
            .value(),
        Some(ShutdownBehavior::Terminate.as_str())
    );
    std::fs::write(cloud.folder_of(&id).join("user-data.end"), "").unwrap();
    in_state(&ec2, &id, InstanceStateName::Terminated).await;
    cloud.stop().await;
}

#[tokio::test]
async fn changes_that_make_no_sense_are_refused() {
    let (cloud, ec2, id) = cloud_and_instance().await;
    let modify = || ec2.modify_instance_attribute().instance_id(&id);
    for (refused, expected) in [
        (modify().send().await, "InvalidParameterCombination"),
        (
            modify()
                .disable_api_stop(flag(true))
                .disable_api_termination(flag(true))
                .send()
                .await,
            "InvalidParameterCombination",
        ),
        (
            modify()
                .instance_initiated_shutdown_behavior(text("explode"))
                .send()
                .await,
            "InvalidParameterValue",
        ),
        (
            modify().source_dest_check(flag(false)).send().await,
            "UnsupportedOperation",
        ),
        (
            ec2.modify_instance_attribute()
                .instance_id("i-0123456789abcdef0")
                .disable_api_stop(flag(true))
                .send()
                .await,
            "InvalidInstanceID.NotFound",
        ),
    ] {
        assert_eq!(code(refused.unwrap_err()), expected);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn instances_in_the_wrong_state_stay_as_they_are() {
    let cloud = Cloud::with_image("trap '' TERM; echo trapped; while :; do sleep 1000; done").await;
    let ec2 = cloud.ec2();
    let id = launched(run(&ec2, 1)).await.remove(0);
    running(&ec2, 1).await;
    let log = cloud.folder_of(&id).join("console.log");
    eventually("it does not mind SIGTERM", || async {
        let log = std::fs::read_to_string(&log).ok()?;
        log.contains("trapped").then_some(())
    })
    .await;
    let hibernate = ec2.stop_instances().instance_ids(&id).hibernate(true);
    assert_eq!(
        code(hibernate.send().await.unwrap_err()),
        "UnsupportedHibernationConfiguration"
    );
    let stop = || ec2.stop_instances().instance_ids(&id);
    stop().send().await.unwrap();
    let start = || ec2.start_instances().instance_ids(&id).send();
    let reboot = || ec2.reboot_instances().instance_ids(&id).send();
    assert_eq!(
        code(start().await.unwrap_err()),
        "IncorrectInstanceState",
        "it is stopping"
    );
    assert_eq!(code(reboot().await.unwrap_err()), "IncorrectInstanceState");
    let again = stop().send().await.unwrap();
    let again = again.stopping_instances()[0].previous_state();
    assert_eq!(
        again.unwrap().name(),
        Some(&InstanceStateName::Stopping),
        "stopping it again is no error"
    );
    stop().force(true).send().await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Stopped).await;
    let malformed = ec2.start_instances().instance_ids("i-0123456789abcdef0");
    let malformed = malformed.instance_ids("i-XYZ").send().await;
    assert_eq!(
        code(malformed.unwrap_err()),
        "InvalidInstanceID.Malformed",
        "form comes before existence"
    );
    let mixed = ec2.start_instances().instance_ids(&id);
    let mixed = mixed.instance_ids("i-0123456789abcdef0").send().await;
    assert_eq!(code(mixed.unwrap_err()), "InvalidInstanceID.NotFound");
    let stopped = describe(&ec2, &id).await;
    assert_eq!(
        stopped.state().unwrap().name(),
        Some(&InstanceStateName::Stopped)
    );
    cloud.stop().await;
}
