//! Instances as processes: what they are given, and how they end.

use std::path::Path;
use std::time::{Duration, Instant};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Instance, InstanceStateName, ShutdownBehavior};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use localcloud::Config;

use crate::cloud::{Cloud, code, eventually, image};

/// Writes its process id, and that of a child in the background, and stays.
const PARENT: &str = "sleep 1000 & echo ids $$ $!; wait";
/// The same, and neither of them minds SIGTERM.
const STUBBORN: &str = "trap '' TERM; sleep 1000 & echo ids $$ $!; while :; do wait; done";

async fn launch(ec2: &Client) -> String {
    let answer = ec2
        .run_instances()
        .image_id("ami-test")
        .min_count(1)
        .max_count(1)
        .send()
        .await
        .unwrap();
    answer.instances()[0].instance_id().unwrap().to_owned()
}

pub async fn describe(ec2: &Client, id: &str) -> Instance {
    let answer = ec2
        .describe_instances()
        .instance_ids(id)
        .send()
        .await
        .unwrap();
    answer.reservations()[0].instances()[0].clone()
}

pub async fn in_state(ec2: &Client, id: &str, state: InstanceStateName) -> Instance {
    eventually(&format!("{id} is {state}"), || async {
        let instance = describe(ec2, id).await;
        (instance.state()?.name() == Some(&state)).then_some(instance)
    })
    .await
}

/// The process ids that the instance's script wrote, once it has.
pub async fn process_ids(console_log: &Path) -> Vec<u32> {
    eventually("the script has written its process ids", || async {
        let log = std::fs::read_to_string(console_log).ok()?;
        let ids = log
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("ids "))?;
        let ids: Vec<u32> = ids.split(' ').map(|id| id.parse().unwrap()).collect();
        (ids.len() == 2).then_some(ids)
    })
    .await
}

/// Whether a process runs; one that has ended and only waits to be reaped does not.
pub fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X']))
}

#[tokio::test]
async fn an_instance_gets_its_identity_user_data_and_the_images_environment() {
    let script = "echo id=$EC2_INSTANCE_ID image=$FROM_IMAGE path=${PATH:+inherited}; cat \"$EC2_USER_DATA_FILE\"; exec sleep 1000";
    let cloud = Cloud::with_image(script).await;
    let ec2 = cloud.ec2();
    let request = ec2
        .run_instances()
        .image_id("ami-test")
        .min_count(1)
        .max_count(1);
    // Base64 of "QUEUE=q\nKEY='a b'\n".
    let answer = request
        .user_data("UVVFVUU9cQpLRVk9J2EgYicK")
        .send()
        .await
        .unwrap();
    let id = answer.instances()[0].instance_id().unwrap();
    let expected = format!("id={id} image=yes path=inherited\nQUEUE=q\nKEY='a b'\n");
    eventually("the instance has written its log", || async {
        let log = std::fs::read_to_string(cloud.folder_of(id).join("console.log")).ok()?;
        (log == expected).then_some(())
    })
    .await;
    let without = launch(&ec2).await;
    in_state(&ec2, &without, InstanceStateName::Running).await;
    assert_eq!(
        std::fs::read(cloud.folder_of(&without).join("user-data")).unwrap(),
        b""
    );
    cloud.stop().await;
}

#[tokio::test]
async fn a_stopped_instance_is_gone_with_its_children_and_starts_again() {
    let cloud = Cloud::with_image(PARENT).await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    let log = cloud.folder_of(&id).join("console.log");
    let first = process_ids(&log).await;
    in_state(&ec2, &id, InstanceStateName::Running).await;

    let stopping = ec2.stop_instances().instance_ids(&id).send().await.unwrap();
    let change = &stopping.stopping_instances()[0];
    assert_eq!(
        change.previous_state().unwrap().name(),
        Some(&InstanceStateName::Running)
    );
    assert_eq!(
        change.current_state().unwrap().name(),
        Some(&InstanceStateName::Stopping)
    );
    let stopped = in_state(&ec2, &id, InstanceStateName::Stopped).await;
    assert_eq!(
        stopped.state_reason().unwrap().code(),
        Some("Client.UserInitiatedShutdown")
    );
    assert!(!first.iter().copied().any(is_alive), "stopped means gone");
    ec2.stop_instances()
        .instance_ids(&id)
        .send()
        .await
        .expect("stopping a stopped instance is fine");

    let started = ec2
        .start_instances()
        .instance_ids(&id)
        .send()
        .await
        .unwrap();
    let change = &started.starting_instances()[0];
    assert_eq!(
        change.current_state().unwrap().name(),
        Some(&InstanceStateName::Pending)
    );
    in_state(&ec2, &id, InstanceStateName::Running).await;
    let second = eventually("the second boot has written to the same log", || async {
        let ids = process_ids(&log).await;
        (ids != first).then_some(ids)
    })
    .await;
    assert!(second.iter().copied().all(is_alive));

    ec2.terminate_instances()
        .instance_ids(&id)
        .send()
        .await
        .unwrap();
    in_state(&ec2, &id, InstanceStateName::Terminated).await;
    assert!(!second.iter().copied().any(is_alive));
    assert_eq!(
        code(
            ec2.start_instances()
                .instance_ids(&id)
                .send()
                .await
                .unwrap_err()
        ),
        "IncorrectInstanceState"
    );
    assert_eq!(
        code(
            ec2.stop_instances()
                .instance_ids(&id)
                .send()
                .await
                .unwrap_err()
        ),
        "IncorrectInstanceState"
    );
    ec2.terminate_instances()
        .instance_ids(&id)
        .send()
        .await
        .expect("terminating twice is fine");
    cloud.stop().await;
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_is_killed_when_its_grace_is_over() {
    let grace = Duration::from_millis(500);
    let images = vec![image("ami-test", STUBBORN)];
    let cloud = Cloud::with(Config {
        images,
        stop_grace: grace,
        ..Config::default()
    })
    .await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    let processes = process_ids(&cloud.folder_of(&id).join("console.log")).await;
    in_state(&ec2, &id, InstanceStateName::Running).await;
    let asked = Instant::now();
    ec2.stop_instances().instance_ids(&id).send().await.unwrap();
    assert_eq!(
        code(
            ec2.start_instances()
                .instance_ids(&id)
                .send()
                .await
                .unwrap_err()
        ),
        "IncorrectInstanceState"
    );
    in_state(&ec2, &id, InstanceStateName::Stopped).await;
    assert!(asked.elapsed() >= grace, "it had its grace");
    assert!(!processes.into_iter().any(is_alive));
    cloud.stop().await;
}

#[tokio::test]
async fn a_forced_stop_gives_no_grace() {
    let images = vec![image("ami-test", STUBBORN)];
    let cloud = Cloud::with(Config {
        images,
        stop_grace: Duration::from_secs(600),
        ..Config::default()
    })
    .await;
    let ec2 = cloud.ec2();
    for stop_first in [false, true] {
        let id = launch(&ec2).await;
        let processes = process_ids(&cloud.folder_of(&id).join("console.log")).await;
        in_state(&ec2, &id, InstanceStateName::Running).await;
        if stop_first {
            ec2.stop_instances().instance_ids(&id).send().await.unwrap();
        }
        ec2.stop_instances()
            .instance_ids(&id)
            .force(true)
            .send()
            .await
            .unwrap();
        in_state(&ec2, &id, InstanceStateName::Stopped).await;
        assert!(!processes.into_iter().any(is_alive));
    }
    cloud.stop().await;
}

#[tokio::test]
async fn an_instance_whose_process_ends_is_stopped_and_what_it_left_is_ended() {
    let cloud = Cloud::with_image("sleep 1000 & echo ids $$ $!; exit 3").await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    let stopped = in_state(&ec2, &id, InstanceStateName::Stopped).await;
    let reason = stopped.state_reason().unwrap();
    assert_eq!(reason.code(), Some("Client.InstanceInitiatedShutdown"));
    assert!(
        reason.message().unwrap().contains("exit code 3"),
        "{reason:?}"
    );
    assert!(
        !process_ids(&cloud.folder_of(&id).join("console.log"))
            .await
            .into_iter()
            .any(is_alive)
    );

    let request = ec2
        .run_instances()
        .image_id("ami-test")
        .min_count(1)
        .max_count(1);
    let request = request.instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate);
    let answer = request.send().await.unwrap();
    in_state(
        &ec2,
        answer.instances()[0].instance_id().unwrap(),
        InstanceStateName::Terminated,
    )
    .await;
    cloud.stop().await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_says_so_in_the_log_and_the_reason() {
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
    assert!(
        stopped
            .state_reason()
            .unwrap()
            .message()
            .unwrap()
            .contains("exit code 127")
    );
    let log = std::fs::read_to_string(cloud.folder_of(&id).join("console.log")).unwrap();
    assert!(log.contains("/absent/program"), "{log}");
    cloud.stop().await;
}

#[tokio::test]
async fn a_reboot_runs_the_process_anew() {
    let cloud = Cloud::with_image(PARENT).await;
    let ec2 = cloud.ec2();
    let id = launch(&ec2).await;
    let log = cloud.folder_of(&id).join("console.log");
    let first = process_ids(&log).await;
    in_state(&ec2, &id, InstanceStateName::Running).await;
    for _ in 0..2 {
        let before = process_ids(&log).await;
        ec2.reboot_instances()
            .instance_ids(&id)
            .send()
            .await
            .unwrap();
        eventually("it runs again", || async {
            (process_ids(&log).await != before).then_some(())
        })
        .await;
        assert!(!before.into_iter().any(is_alive));
    }
    assert!(!first.into_iter().any(is_alive));
    in_state(&ec2, &id, InstanceStateName::Running).await;
    cloud.stop().await;
}

#[tokio::test]
async fn shutting_down_ends_every_instance_and_refuses_launches_meanwhile() {
    let images = vec![image(
        "ami-test",
        "trap 'sleep 1; exit 0' TERM; sleep 1000 & echo ids $$ $!; wait",
    )];
    let cloud = Cloud::with(Config {
        images,
        ..Config::default()
    })
    .await;
    let ec2 = cloud.ec2();
    let mut processes = Vec::new();
    for _ in 0..3 {
        let id = launch(&ec2).await;
        processes.extend(process_ids(&cloud.folder_of(&id).join("console.log")).await);
    }
    assert!(processes.iter().copied().all(is_alive));
    let ending = tokio::spawn(cloud.stop());
    // The SDK repeats what was refused as unavailable, so a single refusal is looked for.
    let refused = ec2
        .run_instances()
        .image_id("ami-test")
        .min_count(1)
        .max_count(1);
    let once = aws_sdk_ec2::config::Builder::new()
        .retry_config(aws_sdk_ec2::config::retry::RetryConfig::disabled());
    let refused = eventually("a launch is refused", || async {
        refused
            .clone()
            .customize()
            .config_override(once.clone())
            .send()
            .await
            .err()
    });
    let refused = refused.await;
    assert!(
        format!("{refused:?}").contains("shutting down"),
        "{refused:?}"
    );
    ending.await.unwrap();
    assert!(!processes.into_iter().any(is_alive));
}

/// The stack's images had a shell read it.
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
    let ec2 = cloud.ec2();
    let launched = ec2
        .run_instances()
        .image_id("ami-test")
        .min_count(1)
        .max_count(1)
        .user_data(STANDARD.encode(user_data))
        .send()
        .await
        .unwrap();
    let folder = cloud.folder_of(launched.instances()[0].instance_id().unwrap());
    let log = eventually("it shows its environment", || async {
        let log = std::fs::read_to_string(folder.join("console.log")).ok()?;
        log.contains("shows").then_some(log)
    })
    .await;
    let shown = format!("shows [it's $({touch})] ['a b'; {touch}] [yes] []");
    assert!(log.contains(&shown), "{log}");
    assert!(!marker.exists());
    for line in [3, 4] {
        let told = format!("line {line} of the user data");
        assert!(log.contains(&told), "{log}");
    }
    // It may hold secrets.
    use std::os::unix::fs::PermissionsExt;
    let file = std::fs::metadata(folder.join("user-data")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}
