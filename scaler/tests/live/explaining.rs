//! Status, watchers, lists of decisions, and replays.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Parser;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{InstanceState, ListDecisionsRequest, ScalerStatus, WatchStatusRequest};
use scaler::cli::Cli;
use scaler::decision_log::replay::Replay;
use tokio::io::{AsyncBufReadExt, BufReader};
use tonic::Streaming;

use crate::stage::{Stage, TIMEOUT, eventually};
use crate::wait::until_seen;

async fn watch(stage: &Stage, every: bool) -> Streaming<ScalerStatus> {
    let request = WatchStatusRequest {
        every,
        interval: None,
    };
    try_watch(stage, request).await.unwrap()
}

async fn try_watch(
    stage: &Stage,
    request: WatchStatusRequest,
) -> Result<Streaming<ScalerStatus>, tonic::Status> {
    stage.status().await;
    let mut client = ScalerClient::new(stage.scaler.clone());
    let watched = client.watch_status(request).await?;
    Ok(watched.into_inner())
}

/// A request as displays make it.
fn display(milliseconds: i32) -> WatchStatusRequest {
    WatchStatusRequest {
        every: false,
        interval: Some(prost_types::Duration {
            seconds: 0,
            nanos: milliseconds * 1_000_000,
        }),
    }
}

async fn next(statuses: &mut Streaming<ScalerStatus>) -> ScalerStatus {
    let next = tokio::time::timeout(TIMEOUT, statuses.message());
    next.await
        .expect("a status comes")
        .unwrap()
        .expect("the stream lives")
}

pub async fn list(stage: &Stage, request: ListDecisionsRequest) -> Vec<ScalerStatus> {
    let mut client = ScalerClient::new(stage.scaler.clone());
    let listed = client.list_decisions(request).await;
    listed.unwrap().into_inner().decisions
}

#[tokio::test]
async fn a_scale_out_is_explained_with_everything_it_was_made_from() {
    let stage = Stage::set(&["--policy", "step", "--max-workers", "2"]).await;
    let mut statuses = watch(&stage, false).await;
    stage.demand(7);
    let launching = loop {
        let status = next(&mut statuses).await;
        if status.plan.as_ref().unwrap().launch > 0 {
            break status;
        }
    };
    let reason = "7 requests unanswered, so 2 wanted, the maximum, 0 there: launch 2";
    let plan = launching.plan.as_ref().unwrap();
    assert_eq!(
        (plan.policy.as_str(), plan.reason.as_str()),
        ("step", reason)
    );
    let observation = launching.observation.as_ref().unwrap();
    let front = observation.front.unwrap();
    assert_eq!(front.unanswered, 7);
    assert!(front.at.is_some() && observation.described_at.is_some());
    assert_eq!(launching.estimates.unwrap().boot.unwrap().samples, 0);
    assert_eq!(launching.bounds.unwrap().max_workers, 2);
    assert!(launching.policy.as_ref().unwrap().price_per_hour > 0.0);

    eventually("it is listed", async || {
        let listed = list(&stage, ListDecisionsRequest::default()).await;
        listed.contains(&launching)
    })
    .await;
    let listed = list(&stage, ListDecisionsRequest::default()).await;
    assert!(listed.is_sorted_by_key(|it| it.sequence));
    let newest = ListDecisionsRequest {
        limit: 1,
        since: None,
    };
    assert_eq!(list(&stage, newest).await.len(), 1);
    let later = ListDecisionsRequest {
        limit: 0,
        since: launching.at,
    };
    let later = list(&stage, later).await;
    assert!(later.iter().all(|it| it.sequence > launching.sequence));
}

#[tokio::test]
async fn a_display_receives_decisions_that_change_nothing_at_its_interval() {
    let stage = Stage::set(&["--max-workers", "1"]).await;
    stage.create_queue().await;
    stage.demand(1);
    until_seen(&stage, InstanceState::Booting, 1).await;
    let mut statuses = try_watch(&stage, display(300)).await.unwrap();
    let began = Instant::now();
    let (mut last, mut received) = (next(&mut statuses).await, 1);
    let mut unchanged = 0;
    while unchanged < 3 {
        // Each change of the demand brings a decision, and none changes the plan.
        stage.demand(2 + received % 2);
        let status = next(&mut statuses).await;
        assert!(status.sequence > last.sequence);
        assert_eq!(status.memory, "");
        let (before, after) = (last.plan.unwrap(), status.plan.clone().unwrap());
        let same = before.desired_workers == after.desired_workers;
        unchanged += usize::from(same && after.launch == 0 && after.start.is_empty());
        (last, received) = (status, received + 1);
    }
    // The network may delay one status and not the next one.
    let least = Duration::from_millis(300) * (received as u32 - 2);
    assert!(began.elapsed() >= least, "{received} statuses");
    assert_eq!(last.observation.unwrap().instances.len(), 1);

    for request in [
        display(49),
        WatchStatusRequest {
            every: true,
            ..display(100)
        },
    ] {
        let refused = try_watch(&stage, request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    }
}

#[tokio::test]
async fn a_watcher_of_every_decision_misses_none_and_can_replay_them() {
    let stage = Stage::set(&["--max-workers", "3", "--idle-time", "100ms"]).await;
    stage.create_queue().await;
    stage.demand(1);
    until_seen(&stage, InstanceState::Booting, 1).await;
    // The recording begins in the middle.
    let mut statuses = watch(&stage, true).await;
    stage.demand(5);
    let mut recording = Vec::new();
    let mut settled = 0;
    while settled < 5 {
        let status = next(&mut statuses).await;
        let launched = status.totals.unwrap().launched;
        if launched == 3 {
            stage.demand(0);
        }
        let idle = status.plan.as_ref().unwrap().desired_workers == 0;
        settled += usize::from(launched == 3 && idle);
        recording.push(proto::encode(&status));
    }
    let mut replay = Replay::default();
    let mut last = None;
    for line in &recording {
        let status: ScalerStatus = proto::decode(line).unwrap();
        assert!(last.is_none_or(|last: u64| last + 1 == status.sequence));
        assert_eq!(last.is_none(), status.memory.contains(r#""memory":{"#));
        last = Some(status.sequence);
        let replayed = replay.next(&status, |_| {}).unwrap().unwrap();
        assert_eq!(replayed.recorded, replayed.replayed, "{line}");
    }
    let summary = replay.summary();
    assert_eq!((summary.different, summary.gaps), (0, 0));
    assert!(summary.decisions >= 5 && summary.recorded_most == 3);
}

#[tokio::test]
async fn the_command_line_records_and_replays() {
    let stage = Stage::set(&["--max-workers", "3"]).await;
    stage.status().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recording.jsonl");
    let mut watching = tokio::process::Command::new(env!("CARGO_BIN_EXE_scaler"))
        .args(["watch", "--every", "--json", "--scaler", &stage.url])
        .stdout(std::fs::File::create(&file).unwrap())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually("it records", async || read(&file).contains('\n')).await;
    stage.demand(2);
    eventually("the launch is recorded", async || {
        read(&file).contains(r#""launch":2"#)
    })
    .await;
    watching.kill().await.unwrap();
    // The last line may be cut off.
    let whole = read(&file);
    let whole = whole.rsplit_once('\n').unwrap().0;
    std::fs::write(&file, whole).unwrap();

    let same = replayed(&file, &[]).await;
    assert!(same.contains(" 0 of them different"), "{same}");
    assert!(!same.contains("gaps"), "{same}");
    let fewer = replayed(&file, &["--max-workers", "1"]).await;
    assert!(fewer.contains("recorded 2 wanted"), "{fewer}");
    assert!(fewer.contains("replayed 1 wanted"), "{fewer}");
    assert!(!fewer.contains(" 0 of them different"), "{fewer}");
}

#[tokio::test]
async fn a_watch_that_the_scaler_ends_says_so() {
    let mut stage = Stage::set(&[]).await;
    stage.status().await;
    let mut watching = tokio::process::Command::new(env!("CARGO_BIN_EXE_scaler"))
        .args(["watch", "--every", "--scaler", &stage.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(TIMEOUT, lines.next_line()).await;
    assert!(first.unwrap().unwrap().is_some());
    // Its pipe must not fill up.
    let rest = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    stage.stop_scaler().await;
    let ended = tokio::time::timeout(TIMEOUT, watching.wait_with_output());
    let ended = ended.await.unwrap().unwrap();
    rest.await.unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("ended the stream"), "{said}");
    assert_eq!(ended.status.code(), Some(1), "{said}");
}

#[tokio::test]
async fn the_command_line_prints_status_and_decisions() {
    let stage = Stage::set(&["--policy", "step"]).await;
    stage.demand(1);
    until_seen(&stage, InstanceState::Booting, 1).await;
    eventually("it is named", async || {
        let observation = stage.status().await.observation.unwrap();
        observation.instances.iter().all(|it| it.number.is_some())
    })
    .await;
    let status = printed(&["status", "--scaler", &stage.url]).await;
    for part in [
        "step, 0 to 15 workers",
        "1 unanswered",
        "app-tier-instance-1",
        "since the start",
    ] {
        assert!(status.contains(part), "{part} in {status}");
    }
    assert!(!status.contains("$0.00 since"), "{status}");
    assert!(!status.contains('\u{1b}'), "colors without a terminal");
    let decisions = printed(&["decisions", "--scaler", &stage.url]).await;
    assert!(decisions.contains("0 there: launch 1"));
    let json = printed(&["status", "--json", "--scaler", &stage.url]).await;
    let read: ScalerStatus = proto::decode(json.trim()).unwrap();
    assert!(read.sequence > 0);
    // Commands without effect are refused.
    assert!(Cli::try_parse_from(["scaler", "decisions", "--limit", "0"]).is_err());
    assert!(Cli::try_parse_from(["scaler", "bounds"]).is_err());
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

async fn replayed(file: &Path, arguments: &[&str]) -> String {
    let mut all = vec!["replay", file.to_str().unwrap()];
    all.extend(arguments);
    printed(&all).await
}

/// Runs the program, and returns its output.
pub async fn printed(arguments: &[&str]) -> String {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_scaler"))
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}
