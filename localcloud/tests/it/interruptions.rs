//! Spot interruptions: their notice and their effect.

use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{
    InstanceInterruptionBehavior, InstanceMarketOptionsRequest, InstanceStateName, MarketType,
    SpotInstanceType, SpotMarketOptions,
};
use localcloud::Ec2Faults;
use serde_json::{Value, json};

use crate::cloud::{Cloud, eventually, raw, request};
use crate::instances::{ABSENT, in_state, launch, launched, run, start};
use crate::metadata::{LOGS_ENDPOINT, endpoint_of, imds, read};

fn spot(persistent: bool) -> InstanceMarketOptionsRequest {
    let options = SpotMarketOptions::builder();
    let options = if persistent {
        options
            .spot_instance_type(SpotInstanceType::Persistent)
            .instance_interruption_behavior(InstanceInterruptionBehavior::Stop)
    } else {
        options
    };
    InstanceMarketOptionsRequest::builder()
        .market_type(MarketType::Spot)
        .spot_options(options.build())
        .build()
}

async fn launch_spot(ec2: &Client, persistent: bool) -> String {
    let launch = run(ec2, 1).instance_market_options(spot(persistent));
    launched(launch).await.remove(0)
}

async fn interrupt(cloud: &Cloud, interruption: Value) -> (u16, Value) {
    let path = "/_localcloud/ec2/interruptions";
    let post = request("POST", path, "", &interruption.to_string());
    let (status, body) = raw(&cloud.endpoint, &post).await;
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn a_spot_instance_gets_a_notice_before_it_is_terminated() {
    let cloud = Cloud::with_image(LOGS_ENDPOINT).await;
    let ec2 = cloud.ec2();
    let id = launch_spot(&ec2, false).await;
    let imds = imds(&endpoint_of(&cloud, &id).await);
    let action = "/latest/meta-data/spot/instance-action";
    assert_eq!(read(&imds, action).await, None);
    assert_eq!(
        read(&imds, "/latest/meta-data/instance-life-cycle").await,
        Some("spot".to_owned())
    );
    let (status, announced) = interrupt(&cloud, json!({ "instance_id": id })).await;
    assert_eq!((status, &announced["action"]), (200, &json!("terminate")));
    let notice: Value = serde_json::from_str(&read(&imds, action).await.unwrap()).unwrap();
    assert_eq!(
        notice,
        json!({ "action": "terminate", "time": announced["time"] })
    );
    assert_eq!(
        read(&imds, "/latest/meta-data/spot/termination-time").await,
        announced["time"].as_str().map(str::to_owned)
    );
    let rebalance = read(&imds, "/latest/meta-data/events/recommendations/rebalance").await;
    assert!(rebalance.unwrap().contains("noticeTime"));
    // A later notice replaces the first, which would take two minutes.
    let soon = json!({ "instance_id": id, "action": "terminate", "notice_ms": 50 });
    assert_eq!(interrupt(&cloud, soon).await.0, 200);
    let gone = in_state(&ec2, &id, InstanceStateName::Terminated).await;
    assert_eq!(
        gone.state_reason().unwrap().code(),
        Some("Server.SpotInstanceTermination")
    );
    cloud.stop().await;
}

#[tokio::test]
async fn a_persistent_spot_instance_is_stopped_and_can_be_started_again() {
    let cloud = Cloud::with_image(LOGS_ENDPOINT).await;
    let ec2 = cloud.ec2();
    let id = launch_spot(&ec2, true).await;
    in_state(&ec2, &id, InstanceStateName::Running).await;
    // The first run must log before it is stopped.
    endpoint_of(&cloud, &id).await;
    let (status, announced) = interrupt(&cloud, json!({ "instance_id": id, "notice_ms": 0 })).await;
    assert_eq!((status, &announced["action"]), (200, &json!("stop")));
    let stopped = in_state(&ec2, &id, InstanceStateName::Stopped).await;
    assert_eq!(
        stopped.state_reason().unwrap().code(),
        Some("Server.SpotInstanceShutdown")
    );
    start(&ec2, &id).await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Running).await;
    eventually("it runs again", || async {
        let log = std::fs::read_to_string(cloud.console_log(&id)).unwrap();
        (log.matches("metadata http").count() == 2).then_some(())
    })
    .await;
    let imds = imds(&endpoint_of(&cloud, &id).await);
    assert_eq!(
        read(&imds, "/latest/meta-data/spot/instance-action").await,
        None,
        "the notice was for the previous run"
    );
    cloud.stop().await;
}

#[tokio::test]
async fn an_impossible_interruption_is_refused() {
    let cloud = Cloud::with_image(LOGS_ENDPOINT).await;
    let ec2 = cloud.ec2();
    let on_demand = launch(&ec2).await;
    let one_time = launch_spot(&ec2, false).await;
    for (request, expected) in [
        (json!({ "instance_id": on_demand }), "UnsupportedOperation"),
        (
            json!({ "instance_id": one_time, "action": "stop" }),
            "UnsupportedOperation",
        ),
        (
            json!({ "instance_id": ABSENT }),
            "InvalidInstanceID.NotFound",
        ),
        (json!({ "instance_id": one_time, "action": "sell" }), "sell"),
    ] {
        let (status, reply) = interrupt(&cloud, request.clone()).await;
        let reason = reply["error"].as_str().unwrap();
        assert_eq!(status, 400, "{request}");
        assert!(reason.contains(expected), "{request}: {reason}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn injected_interruptions_affect_only_spot_instances() {
    let faults = Ec2Faults {
        spot_interruption: 1.0,
        spot_interruption_after: Duration::from_millis(100),
        spot_notice: Duration::from_millis(100),
        ..Ec2Faults::default()
    };
    let cloud = Cloud::with_ec2_faults(LOGS_ENDPOINT, faults).await;
    let ec2 = cloud.ec2();
    let on_demand = launch(&ec2).await;
    let spot = launch_spot(&ec2, false).await;
    let gone = in_state(&ec2, &spot, InstanceStateName::Terminated).await;
    assert_eq!(
        gone.state_reason().unwrap().code(),
        Some("Server.SpotInstanceTermination")
    );
    in_state(&ec2, &on_demand, InstanceStateName::Running).await;
    cloud.stop().await;
}
