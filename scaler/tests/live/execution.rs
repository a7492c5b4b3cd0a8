use platform::fleet::{LaunchSpec, PowerState};
use scaler::attend::Attendance;
use scaler::clock::Clock;
use scaler::execute::{Executor, Settings};
use scaler::observe::World;
use scaler::plan::{Plan, Stop, StopCause};
use tokio::sync::{mpsc, watch};

use crate::stage::{PATIENCE, Stage, eventually};

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
        let next = tokio::time::timeout(PATIENCE, outcomes.recv());
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
