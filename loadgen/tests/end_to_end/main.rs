//! The whole system on a local cloud. Needs the programs (`make test` builds them) and the files of `make setup`.

#![allow(clippy::unwrap_used)]

mod grading;
mod least_privilege;
mod stack;
mod web_instance;

use std::collections::BTreeSet;
use std::time::Duration;

use platform::fleet::PowerState;
use stack::{Stack, assert_recognized, eventually, photos, process_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_answered_and_the_fleet_scales_from_zero_and_back() {
    let stack = Stack::start(3).await;
    assert_eq!(stack.workers().await, []);
    let (burst, people) = photos(25);
    let answers = stack.post_all(&burst).await;
    assert_recognized(&burst, &people, &answers);
    stack.until_no_worker_runs().await;
    assert_eq!(
        stack.workers().await.len(),
        3,
        "one instance for each request, up to the maximum"
    );

    let names: BTreeSet<_> = stack
        .workers()
        .await
        .into_iter()
        .map(|worker| worker.name)
        .collect();
    let expected: BTreeSet<_> = (1..=3).map(|n| format!("app-tier-instance-{n}")).collect();
    assert_eq!(names, expected);
    let totals = stack.scaler_status().await.totals.unwrap();
    assert_eq!((totals.launched, totals.busy_workers_stopped), (3, 0));

    let stored = stack
        .aws
        .objects(stack.names.in_bucket())
        .keys()
        .await
        .unwrap();
    assert_eq!(stored.len(), 25);
    let results = stack.aws.objects(stack.names.out_bucket());
    assert_eq!(results.keys().await.unwrap().len(), 25);
    let result = results.get("test_07").await.unwrap();
    assert_eq!(result, format!("test_07:{}", people[7]).as_bytes());
    eventually("no message is left", async || stack.messages().await == 0).await;

    // Stopped instances serve the second burst.
    let again: Vec<_> = burst[..6]
        .iter()
        .map(|(name, photo)| (format!("again_{name}"), photo.clone()))
        .collect();
    let answers = stack.post_all(&again).await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    stack.until_no_worker_runs().await;
    let totals = stack.scaler_status().await.totals.unwrap();
    assert_eq!(
        totals.launched, 3,
        "nothing is launched while there are stopped instances"
    );
    assert!(totals.started >= 1);
    assert_eq!(totals.busy_workers_stopped, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_loses_no_request() {
    let stack = Stack::start(2).await;
    let (burst, people) = photos(30);
    let killing = async {
        let mut victim = None;
        eventually("a worker is busy and the queue is full", async || {
            let in_flight = stack.messages().await > 10;
            let running = stack.workers().await;
            victim = running.iter().find_map(|worker| process_of(&worker.id));
            in_flight
                && stack
                    .scaler_status()
                    .await
                    .observation
                    .is_some_and(has_busy_worker)
        })
        .await;
        let victim = nix::unistd::Pid::from_raw(victim.unwrap());
        nix::sys::signal::kill(victim, nix::sys::signal::Signal::SIGKILL).unwrap();
    };
    let (answers, ()) = futures::join!(stack.post_all(&burst), killing);
    assert_recognized(&burst, &people, &answers);
    stack.until_no_worker_runs().await;
    assert_eq!(
        stack
            .aws
            .objects(stack.names.out_bucket())
            .keys()
            .await
            .unwrap()
            .len(),
        30
    );
    eventually("no message is left", async || stack.messages().await == 0).await;
    assert_eq!(
        stack
            .scaler_status()
            .await
            .totals
            .unwrap()
            .busy_workers_stopped,
        0
    );
}

/// The worker reads the notice of its interruption from the instance metadata service.
#[tokio::test(flavor = "multi_thread")]
async fn a_spot_worker_is_replaced_before_its_interruption() {
    let stack = Stack::start_with(&["--max-workers=2", "--min-workers=1", "--market=spot"]).await;
    let ready = |status: &proto::v1::ScalerStatus| {
        let instances = status.observation.as_ref().map(|it| it.instances.clone());
        instances.unwrap_or_default().into_iter().find(|instance| {
            instance.state() == proto::v1::InstanceState::Idle && !instance.leaving
        })
    };
    let mut first = None;
    eventually("a worker is ready", async || {
        first = ready(&stack.scaler_status().await);
        first.is_some()
    })
    .await;
    let first = first.unwrap().instance_id;
    stack.interrupt(&first, Duration::from_secs(600)).await;
    let mut second = None;
    eventually("another worker is ready", async || {
        second = ready(&stack.scaler_status().await);
        second.as_ref().is_some_and(|it| it.instance_id != first)
    })
    .await;
    let (burst, people) = photos(4);
    let answers = stack.post_all(&burst).await;
    assert_recognized(&burst, &people, &answers);
    // The scaler stops it long before EC2 would.
    eventually("the worker with the notice is gone", async || {
        let workers = stack.workers().await;
        !workers
            .iter()
            .any(|it| it.id == first && it.state == PowerState::Running)
    })
    .await;
    let totals = stack.scaler_status().await.totals.unwrap();
    assert_eq!(totals.busy_workers_stopped, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_photos_get_a_reason_and_leave_nothing_behind() {
    let stack = Stack::start(1).await;
    let (good, people) = photos(1);
    let (_, whole) = &good[0];
    let sky = include_bytes!("sky.png");
    let cases: [(&str, &[u8], u16); 5] = [
        ("truncated.jpg", &whole[..whole.len() / 2], 422),
        ("sky.png", sky, 422),
        ("text.jpg", b"hello, this is a text", 415),
        ("empty.jpg", b"", 400),
        ("../evil.jpg", whole, 400),
    ];
    for (file_name, photo, status) in cases {
        let answer = stack.post(file_name, photo).await;
        assert_eq!(answer.status, status, "{file_name}: {answer:?}");
        assert_eq!(
            answer.body.trim().lines().count(),
            1,
            "{file_name}: {answer:?}"
        );
    }
    eventually("no message is left", async || stack.messages().await == 0).await;
    for bucket in [stack.names.in_bucket(), stack.names.out_bucket()] {
        let keys = stack.aws.objects(bucket).keys().await.unwrap();
        assert_eq!(keys, Vec::<String>::new());
    }
    // The same worker still works.
    let answer = stack.post("Zoë Müller.jpg", whole).await;
    answer.assert_recognized(&format!("Zoë Müller:{}", people[0]));
    stack.until_no_worker_runs().await;
    assert_eq!(stack.running_workers().await, 0);
}

fn has_busy_worker(observation: proto::v1::Observation) -> bool {
    let busy = proto::v1::InstanceState::Busy;
    observation
        .instances
        .iter()
        .any(|instance| instance.state() == busy)
}
