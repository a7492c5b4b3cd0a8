//! Instances as processes: what they are given, and how they end.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use aws_sdk_ec2::types::{InstanceStateName, ShutdownBehavior};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use localcloud::Config;

use crate::cloud::{Cloud, code, eventually, image};
use crate::instances::{
    PARENT, any_alive, in_state, is_alive, launch, launched, process_ids, run, start, stop,
    terminate,
};

/// As `PARENT`, but both processes ignore SIGTERM.
const STUBBORN: &str = "trap '' TERM; sleep 1000 & echo ids $$ $!; while :; do wait; done";

async fn stubborn_cloud(stop_grace: Duration) -> Cloud {
    Cloud::with(Config {
        images: vec![image("ami-test", STUBBORN)],
        stop_grace,
        ..Config::default()
    })
    .await
}

#[tokio::test]
async fn an_instance_gets_its_identity_user_data_and_the_images_environment() {
    let script = "echo id=$EC2_INSTANCE_ID image=$FROM_IMAGE path=${PATH:+inherited}; cat \"$EC2_USER_DATA_FILE\"; exec sleep 1000";
    let cloud = Cloud::with_image(script).await;
    let ec2 = cloud.ec2();
    // Base64 of "QUEUE=q\nKEY='a b'\n".
    let launching = run(&ec2, 1).user_data("UVVFVUU9cQpLRVk9J2EgYicK");
    let id = launched(launching).await.remove(0);
    let expected = format!("id={id} image=yes path=inherited\nQUEUE=q\nKEY='a b'\n");
    assert_eq!(cloud.logged(&id, "KEY='a b'\n").await, expected);
    let without = launch(&ec2).await;
    in_state(&ec2, &without, InstanceStateName::Running).await;
    let user_data = std::fs::read(cloud.folder_of(&without).join("user-data")).unwrap();
    assert_eq!(user_data, b"");
    cloud.stop().await;
}

#[tokio::test]
async fn a_stopped_instance_is_gone_with_its_children_and_starts_again() {
    let cloud = Cloud::with_image(PARENT).await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    let log = cloud.console_log(&id);
    let first = process_ids(&log).await;
    in_state(&ec2, &id, InstanceStateName::Running).await;

    let stopping = stop(&ec2, &id).await.unwrap();
    let change = &stopping.stopping_instances()[0];
    let (previous, current) = (change.previous_state(), change.current_state());
    let running = InstanceStateName::Running;
    assert_eq!(previous.unwrap().name(), Some(&running));
    let expected = InstanceStateName::Stopping;
    assert_eq!(current.unwrap().name(), Some(&expected));
    let stopped = in_state(&ec2, &id, InstanceStateName::Stopped).await;
    let reason = stopped.state_reason().unwrap();
    assert_eq!(reason.code(), Some("Client.UserInitiatedShutdown"));
    assert!(!any_alive(&first), "stopped means gone");
    stop(&ec2, &id)
        .await
        .expect("a stopped instance can be stopped");

    let started = start(&ec2, &id).await.unwrap();
    let state = started.starting_instances()[0].current_state().unwrap();
    assert_eq!(state.name(), Some(&InstanceStateName::Pending));
    in_state(&ec2, &id, InstanceStateName::Running).await;
    let second = eventually("the second boot writes to the same log", || async {
        let ids = process_ids(&log).await;
        (ids != first).then_some(ids)
    })
    .await;
    assert!(second.iter().copied().all(is_alive));

    terminate(&ec2, &id).await.unwrap();
    in_state(&ec2, &id, InstanceStateName::Terminated).await;
    assert!(!any_alive(&second));
    let refused = start(&ec2, &id).await.unwrap_err();
    assert_eq!(code(refused), "IncorrectInstanceState");
    let refused = stop(&ec2, &id).await.unwrap_err();
    assert_eq!(code(refused), "IncorrectInstanceState");
    let again = terminate(&ec2, &id).await;
    again.expect("a terminated instance can be terminated");
    cloud.stop().await;
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_after_its_grace() {
    let grace = Duration::from_millis(500);
    let cloud = stubborn_cloud(grace).await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    let processes = process_ids(&cloud.console_log(&id)).await;
    in_state(&ec2, &id, InstanceStateName::Running).await;
    let asked = Instant::now();
    stop(&ec2, &id).await.unwrap();
    let refused = start(&ec2, &id).await.unwrap_err();
    assert_eq!(code(refused), "IncorrectInstanceState");
    in_state(&ec2, &id, InstanceStateName::Stopped).await;
    assert!(asked.elapsed() >= grace);
    assert!(!any_alive(&processes));
    cloud.stop().await;
}

#[tokio::test]
async fn a_forced_stop_gives_no_grace() {
    let cloud = stubborn_cloud(Duration::from_secs(600)).await;
    let ec2 = cloud.ec2();
    for stop_first in [false, true] {
        let id = launch(&ec2).await;
        let processes = process_ids(&cloud.console_log(&id)).await;
        in_state(&ec2, &id, InstanceStateName::Running).await;
        if stop_first {
            stop(&ec2, &id).await.unwrap();
        }
        let force = ec2.stop_instances().instance_ids(&id).force(true);
        force.send().await.unwrap();
        in_state(&ec2, &id, InstanceStateName::Stopped).await;
        assert!(!any_alive(&processes));
    }
    cloud.stop().await;
}

#[tokio::test]
async fn an_instance_whose_process_ends_is_stopped_with_its_other_processes() {
    let cloud = Cloud::with_image("sleep 1000 & echo ids $$ $!; exit 3").await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    let stopped = in_state(&ec2, &id, InstanceStateName::Stopped).await;
    let reason = stopped.state_reason().unwrap();
    assert_eq!(reason.code(), Some("Client.InstanceInitiatedShutdown"));
    let message = reason.message().unwrap();
    assert!(message.contains("exit code 3"), "{message}");
    assert!(!any_alive(&process_ids(&cloud.console_log(&id)).await));

    let terminates = run(&ec2, 1).instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate);
    let id = launched(terminates).await.remove(0);
    in_state(&ec2, &id, InstanceStateName::Terminated).await;
    cloud.stop().await;
}

#[tokio::test]
async fn a_missing_command_is_named_in_the_log_and_the_reason() {
    let mut broken = image("ami-test", "");
    broken.command = vec!["/absent/program".to_owned()];
    let cloud = Cloud::with(Config {
        images: vec![broken],
        ..Config::default()
    })
    .await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    let stopped = in_state(&ec2, &id, InstanceStateName::Stopped).await;
    let message = stopped.state_reason().unwrap().message().unwrap();
    assert!(message.contains("exit code 127"), "{message}");
    let log = std::fs::read_to_string(cloud.console_log(&id)).unwrap();
    assert!(log.contains("/absent/program"), "{log}");
    cloud.stop().await;
}

#[tokio::test]
async fn a_reboot_runs_the_process_anew() {
    let cloud = Cloud::with_image(PARENT).await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    let log = cloud.console_log(&id);
    let first = process_ids(&log).await;
    in_state(&ec2, &id, InstanceStateName::Running).await;
    for _ in 0..2 {
        let before = process_ids(&log).await;
        let reboot = ec2.reboot_instances().instance_ids(&id);
        reboot.send().await.unwrap();
        eventually("it runs again", || async {
            (process_ids(&log).await != before).then_some(())
        })
        .await;
        assert!(!any_alive(&before));
    }
    assert!(!any_alive(&first));
    in_state(&ec2, &id, InstanceStateName::Running).await;
    cloud.stop().await;
}

#[tokio::test]
async fn a_shutdown_stops_every_instance_and_refuses_launches() {
    let slow = "trap 'sleep 1; exit 0' TERM; sleep 1000 & echo ids $$ $!; wait";
    let cloud = Cloud::with_image(slow).await;
    let (ec2, once) = (cloud.ec2(), cloud.ec2_without_retries());
    let mut processes = Vec::new();
    for _ in 0..3 {
        let id = launch(&ec2).await;
        processes.extend(process_ids(&cloud.console_log(&id)).await);
    }
    assert!(processes.iter().copied().all(is_alive));
    let ending = tokio::spawn(cloud.stop());
    let refused = eventually("a launch is refused", || async {
        run(&once, 1).send().await.err()
    })
    .await;
    let refused = format!("{refused:?}");
    assert!(refused.contains("shutting down"), "{refused}");
    ending.await.unwrap();
    assert!(!any_alive(&processes));
}

/// A shell once read the user data of the stack's images.
#[tokio::test]
async fn user_data_sets_variables_and_runs_nothing() {
    const SHOWS: &str =
        r#"echo "shows [$MUSTER_A] [$MUSTER_B] [$FROM_IMAGE] [$PWNED]"; exec sleep 1000"#;
    let mut image = image("ami-test", SHOWS);
    image.user_data_env = ["MUSTER_", "FROM_"].map(str::to_owned).to_vec();
    let cloud = Cloud::with(Config {
        images: vec![image],
        ..Config::default()
    })
    .await;
    let marker = cloud.folder_of("marker");
    let touch = format!("touch {}", marker.display());
    let user_data = format!(
        "MUSTER_A=it's $({touch})\nMUSTER_B='a b'; {touch}\n{touch}\nPWNED=1\nFROM_IMAGE=no\n"
    );
    let launching = run(&cloud.ec2(), 1).user_data(STANDARD.encode(user_data));
    let id = launched(launching).await.remove(0);
    let log = cloud.logged(&id, "shows").await;
    let shown = format!("shows [it's $({touch})] ['a b'; {touch}] [yes] []");
    assert!(log.contains(&shown), "{log}");
    assert!(!marker.exists());
    for line in [3, 4] {
        let named = format!("line {line} of the user data");
        assert!(log.contains(&named), "{log}");
    }
    // User data may contain secrets.
    let file = std::fs::metadata(cloud.folder_of(&id).join("user-data")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}
