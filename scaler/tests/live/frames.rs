//! Frames of clips as demand of lower priority.

use platform::fleet::PowerState;
use proto::v1::InstanceState;

use crate::stage::eventually;
use crate::wait::{until_listed, until_seen};
use crate::worker::stage_with_workers;

#[tokio::test]
async fn frames_start_workers_up_to_their_bound_and_photos_start_the_others() {
    let arguments = ["--max-workers", "6", "--video-max-workers", "2"];
    let (stage, _workers) = stage_with_workers(&arguments).await;
    stage.frames(1_000);
    until_seen(&stage, InstanceState::Idle, 2).await;
    let status = stage.status().await;
    let plan = status.plan.unwrap();
    assert_eq!(plan.desired_workers, 2, "{plan:?}");
    assert!(
        plan.reason
            .contains("1000 frames of clips for at most 2 workers"),
        "{plan:?}"
    );
    let observation = status.observation.unwrap();
    assert_eq!(observation.front.unwrap().waiting_frames, 1_000);
    let policy = status.policy.unwrap();
    assert_eq!(policy.video_max_workers, Some(2));

    // Photos get as many as without frames.
    stage.demand(5);
    until_seen(&stage, InstanceState::Idle, 5).await;
    stage.demand(0);
    eventually("the workers that only photos needed go", async || {
        stage.seen(InstanceState::Idle).await == 2
    })
    .await;
    stage.frames(0);
    until_listed(&stage, PowerState::Stopped, 5).await;
    let totals = stage.totals().await;
    assert_eq!(
        (totals.busy_workers_stopped, totals.silent_workers_stopped),
        (0, 0)
    );
}

#[tokio::test]
async fn a_worker_that_has_frames_is_not_stopped_while_frames_wait() {
    let (stage, _workers) = stage_with_workers(&["--max-workers", "4"]).await;
    stage.frames(1);
    until_seen(&stage, InstanceState::Idle, 1).await;
    let launched = stage.calls("RunInstances").await;
    // The last of many frames keeps the one worker, and starts none.
    let plan = stage.status().await.plan.unwrap();
    assert_eq!(plan.desired_workers, 1, "{plan:?}");
    assert_eq!((launched, stage.calls("StopInstances").await), (1, 0));
    stage.frames(0);
    until_listed(&stage, PowerState::Stopped, 1).await;
}
