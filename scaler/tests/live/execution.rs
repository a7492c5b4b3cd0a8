//! Calls to EC2.

use platform::fleet::{FleetInstance, LaunchSpec, PowerState};
use proto::v1::WorkerState;
use scaler::clock::Clock;
use scaler::decision_log::Totals;
use scaler::execute::{Executor, ExecutorConfig, Outcome};
use scaler::fleet::ledger::Ledger;
use scaler::fleet::{FleetView, WorkerRegistry};
use scaler::plan::{Plan, Stop, StopCause};
use tokio::sync::{mpsc, watch};

use crate::stage::{Stage, TIMEOUT, eventually};
use crate::wait::until_listed;
use crate::worker::Worker;

/// An executor in the stage's cloud, without a reconciler.
struct Fixture {
    clock: Clock,
    view: FleetView,
    executor: Executor,
    outcomes: mpsc::Receiver<Outcome>,
}

impl Fixture {
    fn new(stage: &Stage) -> Self {
        let clock = Clock::start();
        let (registry, demand) = (WorkerRegistry::new(clock), watch::channel(None).1);
        let view = FleetView::new(demand, registry, Ledger::default());
        let (outcome, outcomes) = mpsc::channel(16);
        let config = ExecutorConfig::from(LaunchSpec::default());
        let executor = Executor::new(stage.fleet(), config, outcome);
        Self {
            clock,
            view,
            executor,
            outcomes,
        }
    }

    /// Stops instances whose worker never attended, and waits for one outcome for each.
    async fn stop(&mut self, ids: &[&str]) -> Totals {
        let stop = |id: &&str| Stop {
            id: (*id).into(),
            cause: StopCause::NeverAttended,
        };
        let plan = Plan {
            stop: ids.iter().map(stop).collect(),
            ..Plan::default()
        };
        let now = self.clock.now();
        self.executor.execute(&plan, &mut self.view, now);
        let mut totals = Totals::default();
        for _ in ids {
            let next = tokio::time::timeout(TIMEOUT, self.outcomes.recv());
            let outcome = next.await.expect("an outcome comes").unwrap();
            let now = self.clock.now();
            for event in self.executor.finish(outcome, &mut self.view, now) {
                totals.record(&event);
            }
        }
        totals
    }
}

#[tokio::test]
async fn an_instance_that_cannot_be_stopped_does_not_keep_the_others_up() {
    let stage = Stage::without_scaler(&[]).await;
    let ids = stage.prepare_stopped(2).await;
    stage.fleet().start(&ids).await.unwrap();
    until_listed(&stage, PowerState::Running, 2).await;

    let mut fixture = Fixture::new(&stage);
    let unstoppable = "not-an-instance";
    let all = [ids[0].as_str(), unstoppable, ids[1].as_str()];
    let totals = fixture.stop(&all).await;
    until_listed(&stage, PowerState::Stopped, 2).await;
    assert_eq!((totals.stopped, totals.silent_workers_stopped), (2, 2));
    // Stops are held back because of the third.
    assert!(fixture.executor.call_backoff().stop.is_some());
}

#[tokio::test]
async fn spot_instances_are_terminated_and_others_stopped() {
    let stage = Stage::without_scaler(&[]).await;
    let ids = stage.prepare_stopped(2).await;
    stage.fleet().start(&ids).await.unwrap();
    until_listed(&stage, PowerState::Running, 2).await;

    let mut fixture = Fixture::new(&stage);
    let mut instances = stage.instances().await;
    // localcloud sells no spot instances to this test.
    instances[0].spot = true;
    let spot = instances[0].id.clone();
    fixture.view.described(instances, fixture.clock.now());
    let totals = fixture.stop(&[&ids[0], &ids[1]]).await;
    eventually("one is gone and one is stopped", async || {
        let left = stage.instances().await;
        left.len() == 1 && left[0].id != spot && left[0].state == PowerState::Stopped
    })
    .await;
    assert_eq!((totals.stopped, totals.terminated), (2, 1));
}

#[tokio::test]
async fn an_instance_that_never_boots_is_terminated() {
    let stage = Stage::set(&["--boot-deadline", "1s", "--max-workers", "2"]).await;
    stage.demand(1);
    eventually("it is given up", async || {
        stage.calls("StopInstances").await == 1
    })
    .await;
    // Another instance boots, so the fault is the first one's own.
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
    tokio::spawn(worker.run_idle());
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
    until_listed(&stage, PowerState::Stopped, 1).await;
}

#[tokio::test]
async fn ec2_reports_the_age_of_starts_and_terminated_instances() {
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

/// EC2 takes 200 values of filters in a call.
#[tokio::test]
async fn many_overdue_instances_are_asked_for_in_chunks() {
    let stage = Stage::without_scaler(&[]).await;
    let ids = stage.prepare_stopped(1).await;
    stage.fleet().terminate(&ids).await.unwrap();
    let mut all: Vec<_> = (0..450).map(|number| format!("i-{number:017x}")).collect();
    all.extend(ids.clone());
    let before = stage.calls("DescribeInstances").await;
    assert_eq!(stage.fleet().terminated(&all).await.unwrap(), ids);
    assert_eq!(stage.calls("DescribeInstances").await - before, 3);
}

#[tokio::test]
async fn an_instance_that_stays_pending_is_terminated_and_another_one_is_launched() {
    let stuck = localcloud::Ec2Faults {
        boot_delay: std::time::Duration::from_secs(3_600),
        ..localcloud::Ec2Faults::default()
    };
    let arguments = ["--boot-deadline=300ms", "--max-workers=1"];
    let mut stage = Stage::with_faults(stuck, &arguments).await;
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
