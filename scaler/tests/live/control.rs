//! Operators change bounds, pause and resume.

use std::sync::Arc;

use platform::fleet::PowerState;
use proto::v1::scaler_client::ScalerClient;
use proto::v1::{PauseRequest, ResumeRequest, ScalerStatus, SetBoundsRequest};
use tonic::{Code, Request, Status};

use crate::explaining::printed;
use crate::stage::{Stage, eventually};
use crate::wait::until_listed;
use crate::worker::run_workers;

const TOKEN: &str = "correct-horse";

/// A scaler with a token, and the file that holds it.
async fn set(arguments: &[&str]) -> (Stage, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{TOKEN}\n")).unwrap();
    let mut all = vec!["--token-file", file.path().to_str().unwrap()];
    all.extend(arguments);
    let stage = Stage::set(&all).await;
    stage.status().await;
    (stage, file)
}

fn with_token<T>(request: T, token: &str) -> Request<T> {
    let mut request = Request::new(request);
    let authorization = format!("Bearer {token}").parse().unwrap();
    request
        .metadata_mut()
        .insert("authorization", authorization);
    request
}

async fn set_bounds(stage: &Stage, request: SetBoundsRequest) -> Result<ScalerStatus, Status> {
    let mut client = ScalerClient::new(stage.scaler.clone());
    let reply = client.set_bounds(with_token(request, TOKEN)).await;
    reply.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_lower_maximum_stops_workers_and_a_higher_one_starts_them_again() {
    let (stage, _file) = set(&[
        "--policy",
        "step",
        "--max-workers",
        "4",
        "--idle-time",
        "100ms",
    ])
    .await;
    let stage = Arc::new(stage);
    stage.create_queue().await;
    let _workers = run_workers(&stage);
    stage.demand(10);
    let running = async |count| stage.count(PowerState::Running).await == count;
    eventually("4 run", async || running(4).await).await;
    let max_workers = Some(1);
    let status = set_bounds(
        &stage,
        SetBoundsRequest {
            max_workers,
            ..SetBoundsRequest::default()
        },
    )
    .await
    .unwrap();
    assert_eq!(status.bounds.unwrap().max_workers, 1);
    assert_eq!(status.plan.unwrap().desired_workers, 1);
    eventually("1 is left", async || running(1).await).await;
    let wrong = SetBoundsRequest {
        min_workers: Some(2),
        ..SetBoundsRequest::default()
    };
    let refused = set_bounds(&stage, wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert_eq!(stage.status().await.bounds.unwrap().min_workers, 0);
    let max_workers = Some(3);
    let higher = SetBoundsRequest {
        max_workers,
        ..SetBoundsRequest::default()
    };
    set_bounds(&stage, higher).await.unwrap();
    eventually("3 run", async || running(3).await).await;
}

#[tokio::test]
async fn a_paused_scaler_does_nothing_until_it_is_resumed() {
    let (stage, file) = set(&[]).await;
    let order = |command: &str| {
        let words = [command, "--scaler", &stage.url, "--token-file"];
        let mut words: Vec<String> = words.map(str::to_owned).to_vec();
        words.push(file.path().to_str().unwrap().to_owned());
        words
    };
    let run = async |words: Vec<String>| {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        printed(&words).await
    };
    let mut pause = order("pause");
    pause.extend(["--by".to_owned(), "a test".to_owned()]);
    let reply = run(pause).await;
    assert!(reply.contains("paused by a test"), "{reply}");
    stage.demand(3);
    let status = async || stage.status().await;
    let seen = async || status().await.observation.unwrap().unanswered;
    eventually("the demand is seen", async || seen().await == Some(3)).await;
    let before = status().await.sequence;
    eventually("it has decided again", async || {
        status().await.sequence > before + 3
    })
    .await;
    let paused = status().await;
    assert_eq!(paused.paused_by.as_deref(), Some("a test"));
    assert_eq!(paused.totals.unwrap().launched, 0);
    assert_eq!(stage.calls("RunInstances").await, 0);
    let reply = run(order("resume")).await;
    assert!(reply.contains("launch 3"), "{reply}");
    until_listed(&stage, PowerState::Running, 3).await;
    assert_eq!(status().await.paused_by, None);
}

#[tokio::test]
async fn changes_are_refused_without_the_token() {
    let (stage, _file) = set(&[]).await;
    let mut client = ScalerClient::new(stage.scaler.clone());
    let pause = || PauseRequest { by: String::new() };
    let refused = client.pause(pause()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = client
        .pause(with_token(pause(), "guess"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = client.resume(ResumeRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = client.set_bounds(SetBoundsRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(stage.status().await.paused_by, None);
}

#[tokio::test]
async fn a_scaler_without_a_token_permits_no_changes() {
    let stage = Stage::set(&[]).await;
    stage.status().await;
    let mut client = ScalerClient::new(stage.scaler.clone());
    let pause = PauseRequest { by: String::new() };
    let refused = client.pause(with_token(pause, TOKEN)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("--token-file"), "{refused}");
    let refused = set_bounds(&stage, SetBoundsRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(stage.status().await.paused_by, None);
}
