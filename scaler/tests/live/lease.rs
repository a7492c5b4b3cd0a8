use std::time::Duration;

use platform::fleet::PowerState;
use platform::objects::{Condition, Metadata, ObjectError, Swap};
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{InstanceState, WorkerReport, WorkerState};
use scaler::lease::record::{Holder, Record};
use tonic::transport::Channel;

use crate::stage::{Stage, TIMEOUT, eventually, status_of};
use crate::worker::Worker;

async fn reason(scaler: &Channel) -> String {
    status_of(scaler).await.plan.unwrap_or_default().reason
}

async fn leads(scaler: &Channel) -> bool {
    let reason = reason(scaler).await;
    !reason.is_empty() && !reason.starts_with("standing by")
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
async fn one_leads_and_the_other_takes_over_when_it_dies() {
    let (mut stage, rival) = stage_with_rival(Duration::from_secs(2)).await;
    stage.demand(2);
    eventually("2 run", async || {
        stage.count(PowerState::Running).await == 2
    })
    .await;
    assert_eq!(stage.calls("RunInstances").await, 1);
    stage.kill_scaler();
    eventually("the second leads", async || leads(&rival).await).await;
    stage.demand(3);
    eventually("3 run", async || {
        stage.count(PowerState::Running).await == 3
    })
    .await;
    assert_eq!(stage.instances().await.len(), 3);
}

#[tokio::test]
async fn the_other_takes_over_at_once_when_the_leader_ends_in_order() {
    // Far longer than the test waits.
    let (mut stage, rival) = stage_with_rival(Duration::from_secs(600)).await;
    stage.stop_scaler().await;
    eventually("the second leads", async || leads(&rival).await).await;
    stage.demand(1);
    eventually("1 runs", async || {
        stage.count(PowerState::Running).await == 1
    })
    .await;
}

#[tokio::test]
async fn a_scaler_that_is_killed_and_started_again_leads_at_once() {
    let mut stage = Stage::set(&["--lease-time", "10m"]).await;
    eventually("it leads", async || leads(&stage.scaler).await).await;
    stage.kill_scaler();
    stage.start_scaler().await;
    stage.demand(1);
    eventually("1 runs", async || {
        stage.count(PowerState::Running).await == 1
    })
    .await;
}

#[tokio::test]
async fn a_standby_turns_workers_away() {
    let (stage, rival) = stage_with_rival(Duration::from_secs(600)).await;
    let report = WorkerReport {
        instance_id: "i-1".to_owned(),
        state: WorkerState::Idle.into(),
        ..WorkerReport::default()
    };
    let stream = stage.proven(tokio_stream::iter([report])).await;
    let attending = ScalerClient::new(rival).attend(stream).await;
    let refusal = attending.expect_err("it is turned away");
    assert_eq!(refusal.code(), tonic::Code::Unavailable);
    let expected = format!("standing by: {} leads", stage.address());
    assert_eq!(refusal.message(), expected);
}

#[tokio::test]
async fn a_leader_that_loses_the_lease_lets_its_workers_go_and_does_nothing() {
    let stage = Stage::with_lease_time(Duration::from_secs(3)).await;
    stage.demand(1);
    eventually("one runs", async || {
        stage.count(PowerState::Running).await == 1
    })
    .await;
    let id = stage.instances().await[0].id.clone();
    let mut worker = Worker::attend(&stage, &id, WorkerState::Idle).await;
    eventually("it is idle", async || {
        stage.seen(InstanceState::Idle).await == 1
    })
    .await;
    // An operator takes the lease away.
    let thief = Record {
        holder: Holder {
            id: "thief".to_owned(),
            address: "10.0.0.9:50052".to_owned(),
            place: None,
        },
        renewals: 1,
        lease_time_ms: 5000,
        released: false,
    };
    let bucket = stage.aws.objects("muster-scaler-bucket");
    let body = thief.encode().into();
    bucket
        .put("lease.json", body, Metadata::new())
        .await
        .unwrap();
    eventually("it stands by", async || {
        reason(&stage.scaler).await == "standing by: 10.0.0.9:50052 leads"
    })
    .await;
    worker.is_left().await;
    let launched = stage.calls("RunInstances").await;
    stage.demand(5);
    let begun = tokio::time::Instant::now();
    eventually("the thief's lease lapses", async || {
        leads(&stage.scaler).await
    })
    .await;
    assert!(begun.elapsed() < TIMEOUT && launched == 1);
    eventually("it acts again", async || {
        stage.count(PowerState::Running).await == 5
    })
    .await;
}

#[tokio::test]
async fn with_neither_lease_nor_token_to_keep_a_scaler_acts_and_leaves_no_bucket() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "given").unwrap();
    let token_file = format!("--fleet-token-file={}", token.path().display());
    let stage = Stage::set(&["--lease=off", &token_file]).await;
    stage.demand(1);
    eventually("1 runs", async || {
        stage.count(PowerState::Running).await == 1
    })
    .await;
    assert_eq!(stage.calls("CreateBucket").await, 0);
}

#[tokio::test]
async fn of_many_swaps_of_one_version_exactly_one_succeeds() {
    let stage = Stage::without_scaler(&[]).await;
    let bucket = stage.aws.objects("muster-scaler-bucket");
    let missing = bucket.get_tagged("turns").await;
    assert!(matches!(missing, Err(ObjectError::NoBucket)), "{missing:?}");
    bucket.ensure().await.unwrap();
    assert_eq!(bucket.get_tagged("turns").await.unwrap(), None);
    let gone = Condition::Unchanged("\"none\"".to_owned());
    let refused = bucket.swap("turns", "x".into(), &gone).await.unwrap();
    assert_eq!(refused, Swap::Refused);
    let mut condition = Condition::Absent;
    for turn in 0..5 {
        let swaps = (0..10).map(|rival| {
            let body = format!("{turn} {rival}").into_bytes().into();
            bucket.swap("turns", body, &condition)
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
        let found = bucket.get_tagged("turns").await.unwrap().unwrap();
        assert_eq!(found.etag, *etag);
        assert!(found.body.starts_with(turn.to_string().as_bytes()));
        condition = Condition::Unchanged(etag.clone());
    }
}
