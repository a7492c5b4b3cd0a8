//! Leader election among several scalers.

use std::time::Duration;

use platform::fleet::PowerState;
use platform::objects::{Condition, Metadata, ObjectError, Swap};
use platform::tls::PeerTlsArgs;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{InstanceState, WorkerReport, WorkerState};
use scaler::lease::record::{Holder, LeaseRecord};
use tonic::transport::Channel;

use crate::stage::{Stage, TIMEOUT, eventually, status_of};
use crate::wait::{start_one, until_listed, until_seen};
use crate::worker::Worker;

async fn reason(scaler: &Channel) -> String {
    status_of(scaler).await.plan.unwrap_or_default().reason
}

async fn leads(scaler: &Channel) -> bool {
    let reason = reason(scaler).await;
    !reason.is_empty() && !reason.starts_with("standing by")
}

async fn launches_are_held(scaler: &Channel) -> bool {
    let observation = status_of(scaler).await.observation.unwrap_or_default();
    let held = observation.held.unwrap_or_default();
    held.launch.is_some()
}

/// Waits until the stage's scaler leads and a second one knows it.
async fn stage_with_rival(lease_time: Duration) -> (Stage, Channel) {
    let stage = Stage::with_lease_time(lease_time).await;
    eventually("the first leads", async || leads(&stage.scaler).await).await;
    let rival = stage.rival().await.scaler;
    let expected = format!("standing by: {} leads", stage.address());
    eventually("the second stands by", async || {
        reason(&rival).await == expected
    })
    .await;
    (stage, rival)
}

#[tokio::test]
async fn a_standby_takes_over_when_the_leader_dies() {
    let (mut stage, rival) = stage_with_rival(Duration::from_secs(2)).await;
    stage.demand(2);
    until_listed(&stage, PowerState::Running, 2).await;
    assert_eq!(stage.calls("RunInstances").await, 1);
    stage.kill_scaler();
    eventually("the second leads", async || leads(&rival).await).await;
    stage.demand(3);
    until_listed(&stage, PowerState::Running, 3).await;
    assert_eq!(stage.instances().await.len(), 3);
}

#[tokio::test]
async fn a_standby_takes_over_at_once_when_the_leader_shuts_down() {
    // Longer than the test waits.
    let (mut stage, rival) = stage_with_rival(Duration::from_secs(600)).await;
    stage.stop_scaler().await;
    eventually("the second leads", async || leads(&rival).await).await;
    stage.demand(1);
    until_listed(&stage, PowerState::Running, 1).await;
}

#[tokio::test]
async fn a_scaler_that_is_killed_and_started_again_leads_at_once() {
    let mut stage = Stage::set(&["--lease-time", "10m"]).await;
    eventually("it leads", async || leads(&stage.scaler).await).await;
    assert!(!launches_are_held(&stage.scaler).await);
    stage.kill_scaler();
    stage.start_scaler().await;
    // By a new connection: in a test the former scaler's stay open.
    let url = format!("http://{}", stage.address());
    let again = platform::grpc::channel(&url, &PeerTlsArgs::default()).unwrap();
    eventually("it leads again", async || leads(&again).await).await;
    // The killed one may have launched instances that are not listed yet.
    assert!(launches_are_held(&again).await);
    stage.demand(1);
    until_listed(&stage, PowerState::Running, 1).await;
}

#[tokio::test]
async fn a_standby_refuses_workers() {
    let (stage, rival) = stage_with_rival(Duration::from_secs(600)).await;
    let report = WorkerReport {
        instance_id: "i-1".to_owned(),
        state: WorkerState::Idle.into(),
        ..WorkerReport::default()
    };
    let stream = stage.proven(tokio_stream::iter([report])).await;
    let attending = ScalerClient::new(rival).attend(stream).await;
    let refusal = attending.expect_err("it is refused");
    assert_eq!(refusal.code(), tonic::Code::Unavailable);
    let expected = format!("standing by: {} leads", stage.address());
    assert_eq!(refusal.message(), expected);
}

#[tokio::test]
async fn a_leader_that_loses_the_lease_ends_the_streams_and_stands_by() {
    let stage = Stage::with_lease_time(Duration::from_secs(3)).await;
    let id = start_one(&stage).await;
    let mut worker = Worker::attend(&stage, &id, WorkerState::Idle).await;
    until_seen(&stage, InstanceState::Idle, 1).await;
    // An operator takes the lease away.
    let thief = LeaseRecord {
        holder: Holder {
            id: "thief".to_owned(),
            address: "10.0.0.9:50052".to_owned(),
            socket: None,
        },
        renewals: 1,
        lease_time_ms: 5000,
        released: false,
    };
    let bucket = stage.bucket();
    let body = thief.encode().into();
    bucket
        .put("lease.json", body, Metadata::new())
        .await
        .unwrap();
    eventually("it stands by", async || {
        reason(&stage.scaler).await == "standing by: 10.0.0.9:50052 leads"
    })
    .await;
    worker.wait_for_end().await;
    let launched = stage.calls("RunInstances").await;
    stage.demand(5);
    let begun = tokio::time::Instant::now();
    eventually("the thief's lease lapses", async || {
        leads(&stage.scaler).await
    })
    .await;
    assert!(begun.elapsed() < TIMEOUT && launched == 1);
    until_listed(&stage, PowerState::Running, 5).await;
}

#[tokio::test]
async fn a_scaler_without_lease_and_with_a_given_token_creates_no_bucket() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "given").unwrap();
    let token_file = format!("--fleet-token-file={}", token.path().display());
    let stage = Stage::set(&["--lease=off", &token_file]).await;
    stage.demand(1);
    until_listed(&stage, PowerState::Running, 1).await;
    assert_eq!(stage.calls("CreateBucket").await, 0);
}

#[tokio::test]
async fn exactly_one_of_many_concurrent_swaps_succeeds() {
    let stage = Stage::without_scaler(&[]).await;
    let bucket = stage.bucket();
    let missing = bucket.get_tagged("rounds").await;
    assert!(matches!(missing, Err(ObjectError::NoBucket)), "{missing:?}");
    bucket.ensure().await.unwrap();
    assert_eq!(bucket.get_tagged("rounds").await.unwrap(), None);
    let gone = Condition::Unchanged("\"none\"".to_owned());
    let refused = bucket.swap("rounds", "x".into(), &gone).await.unwrap();
    assert_eq!(refused, Swap::Refused);
    let mut condition = Condition::Absent;
    for round in 0..5 {
        let swaps = (0..10).map(|rival| {
            let body = format!("{round} {rival}").into_bytes().into();
            bucket.swap("rounds", body, &condition)
        });
        let done = futures::future::try_join_all(swaps).await.unwrap();
        let stored: Vec<_> = done
            .into_iter()
            .filter_map(|swap| match swap {
                Swap::Stored(etag) => Some(etag),
                Swap::Refused => None,
            })
            .collect();
        let [etag] = &stored[..] else {
            panic!("{stored:?}")
        };
        let found = bucket.get_tagged("rounds").await.unwrap().unwrap();
        assert_eq!(found.etag, *etag);
        assert!(found.body.starts_with(round.to_string().as_bytes()));
        condition = Condition::Unchanged(etag.clone());
    }
}
