use platform::fleet::{FleetInstance, LaunchSpec, PowerState};
use proto::v1::WorkerState;
use scaler::attend::Attendance;
use scaler::clock::Clock;
use scaler::execute::{Executor, Settings};
use scaler::observe::World;
use scaler::plan::{Plan, Stop, StopCause};
use tokio::sync::{mpsc, watch};

use crate::stage::{Stage, TIMEOUT, eventually};
use crate::worker::Worker;

#[tokio::test]
async fn one_instance_that_cannot_be_stopped_does_not_keep_the_others_up() {
    let stage = Stage::without_scaler(&[]).await;
    let ids = stage.prepare_stopped(2).await;
    stage.fleet().start(&ids).await.unwrap();
    eventually("they run", async || {
        stage.count(PowerState::Running).await == 2
    })
    .await;

    let clock = Clock::start();
    let attendance = Attendance::new(clock);
    let mut world = World::new(watch::channel(None).1, attendance.clone());
    let (outcome, mut outcomes) = mpsc::channel(16);
    let settings = Settings::from(LaunchSpec::default());
    let mut executor = Executor::new(stage.fleet(), settings, attendance, outcome);
    let unstoppable = "not-an-instance";
    let all = [ids[0].as_str(), unstoppable, ids[1].as_str()];
    let plan = Plan {
        stop: all
            .map(|id| Stop {
                id: id.into(),
                cause: StopCause::NeverAttended,
            })
            .to_vec(),
        ..Plan::default()
    };
    executor.execute(&plan, &mut world, clock.now());
    for _ in all {
        let next = tokio::time::timeout(TIMEOUT, outcomes.recv());
        let outcome = next.await.expect("an outcome comes").unwrap();
        executor.finish(outcome, &mut world, clock.now());
    }
    eventually("those that can be are stopped", async || {
        stage.count(PowerState::Stopped).await == 2
    })
    .await;
    let totals = executor.totals();
    assert_eq!((totals.stopped, totals.silent_workers_stopped), (2, 2));
    // Stopping the third is not tried again at once.
    assert!(executor.held().stop.is_some());
}

#[tokio::test]
async fn spot_instances_are_terminated_and_others_stopped() {
    let stage = Stage::without_scaler(&[]).await;
    let ids = stage.prepare_stopped(2).await;
    stage.fleet().start(&ids).await.unwrap();
    eventually("they run", async || {
        stage.count(PowerState::Running).await == 2
    })
    .await;

    let clock = Clock::start();
    let attendance = Attendance::new(clock);
    let mut world = World::new(watch::channel(None).1, attendance.clone());
    let mut instances = stage.instances().await;
    // The local cloud sells none.
    instances[0].spot = true;
    let spot = instances[0].id.clone();
    world.described(instances, clock.now());
    let (outcome, mut outcomes) = mpsc::channel(16);
    let settings = Settings::from(LaunchSpec::default());
    let mut executor = Executor::new(stage.fleet(), settings, attendance, outcome);
    let stop = |id: &String| Stop {
        id: id.as_str().into(),
        cause: StopCause::NeverAttended,
    };
    let plan = Plan {
        stop: ids.iter().map(stop).collect(),
        ..Plan::default()
    };
    executor.execute(&plan, &mut world, clock.now());
    for _ in &ids {
        let next = tokio::time::timeout(TIMEOUT, outcomes.recv());
        let outcome = next.await.expect("an outcome comes").unwrap();
        executor.finish(outcome, &mut world, clock.now());
    }
    eventually("one is gone and one is stopped", async || {
        let left = stage.instances().await;
        left.len() == 1 && left[0].id != spot && left[0].state == PowerState::Stopped
    })
    .await;
    let totals = executor.totals();
    assert_eq!((totals.stopped, totals.terminated), (2, 1));
}

#[tokio::test]
async fn an_instance_that_never_boots_is_terminated_in_the_end() {
    let stage = Stage::set(&["--boot-deadline", "1s", "--max-workers", "2"]).await;
    stage.demand(1);
    eventually("it is given up", async || {
        stage.calls("StopInstances").await == 1
    })
    .await;
    // Another one comes up, so the fault is its own.
    let broken = stage.instances().await[0].id.clone();
    stage.demand(2);
    let sound = async || {
        let instances = stage.instances().await;
        let sound = |it: &FleetInstance| it.id != broken && it.state == PowerState::Running;
        instances.into_iter().find(sound)
    };
    eventually("another one runs", async || sound().await.is_some()).await;
    let sound = sound().await.expect("it was just there").id;
    let worker = Worker::attend(&stage, &sound, WorkerState::Idle).await;
    tokio::spawn(worker.idle_along());
    eventually("it is terminated", async || {
        stage.calls("TerminateInstances").await >= 1
    })
    .await;
    eventually("another one is launched", async || {
        stage.calls("RunInstances").await == 3
    })
    .await;
}

#[tokio::test]
async fn an_orphan_of_an_earlier_scaler_is_stopped() {
    let mut stage = Stage::without_scaler(&["--boot-deadline", "500ms"]).await;
    let ids = stage.prepare_stopped(1).await;
    stage.fleet().start(&ids).await.unwrap();
    stage.start_scaler().await;
    stage.create_queue().await;
    eventually("it is given up", async || {
        let totals = stage.status().await.totals.unwrap_or_default();
        (totals.stopped, totals.silent_workers_stopped) == (1, 1)
    })
    .await;
    eventually("it is stopped", async || {
        stage.count(PowerState::Stopped).await == 1
    })
    .await;
}

#[tokio::test]
async fn ec2_tells_how_old_a_start_is_and_which_instances_were_terminated() {
    let stage = Stage::without_scaler(&[]).await;
    let ids = stage.prepare_stopped(2).await;
    for instance in stage.instances().await {
        let age = instance.age.expect("it was started");
        assert!(age < TIMEOUT * 2, "{age:?}");
    }
    let unknown = "i-00000000000000000".to_owned();
    let all = [ids[0].clone(), unknown, ids[1].clone()];
    assert_eq!(stage.fleet().terminated(&all).await.unwrap(), [""; 0]);
    stage.fleet().terminate(&ids[..1]).await.unwrap();
    assert_eq!(stage.fleet().terminated(&all).await.unwrap(), ids[..1]);
}

#[tokio::test]
async fn an_instance_that_stays_pending_is_terminated_and_another_one_is_launched() {
    let stuck = localcloud::Ec2Settings {
        boot_delay: std::time::Duration::from_secs(3_600),
        ..localcloud::Ec2Settings::default()
    };
    let arguments = ["--boot-deadline=300ms", "--max-workers=1"];
    let mut stage = Stage::unkind(stuck, &arguments).await;
    stage.start_scaler().await;
    stage.demand(1);
    eventually("it is replaced", async || {
        let totals = stage.status().await.totals.unwrap_or_default();
        totals.terminated >= 1 && totals.launched >= 2
    })
    .await;
    assert!(stage.instances().await.len() <= 2);
    assert_eq!(stage.calls("StopInstances").await, 0);
}
