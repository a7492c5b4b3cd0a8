use std::time::Duration;

use platform::aws::{Aws, AwsArgs};
use platform::fleet::{FleetInstance, PowerState};
use proto::v1::{WorkerReport, WorkerState};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::launch::Next;
use super::outcome::Launch;
use super::stop::End;
use super::*;
use crate::clock::Clock;
use crate::fleet::ledger::Ledger;
use crate::fleet::worker_registry::WorkerSession;
use crate::plan::{State, Stop, StopCause};

/// An executor whose EC2 accepts connections and never replies, and a worker that confirmed to be cordoned.
struct Fixture {
    executor: Executor,
    view: FleetView,
    registry: WorkerRegistry,
    worker: InstanceId,
    _session: WorkerSession,
    _silent_ec2: TcpListener,
}

impl Fixture {
    async fn new() -> Self {
        let silent_ec2 = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let args = AwsArgs {
            endpoint_url: Some(format!("http://{}", silent_ec2.local_addr().unwrap())),
            region: "us-east-1".to_owned(),
            prefix: "muster".to_owned(),
        };
        let fleet = Aws::connect_as(&args, "test", "test").await.fleet();
        let registry = WorkerRegistry::new(Clock::start());
        let worker = InstanceId::from("i-1");
        registry.admit(std::slice::from_ref(&worker));
        let session = registry.join(&worker, watch::channel(None).0).unwrap();
        registry.cordon(&worker);
        let report = WorkerReport {
            instance_id: worker.to_string(),
            state: WorkerState::Cordoned.into(),
            completed: 0,
            order_sequence: 1,
            interruption: None,
        };
        assert!(session.report(&report));
        let (outcomes, _) = mpsc::channel(1);
        let mut config = ExecutorConfig::from(LaunchSpec::default());
        config.fallbacks = vec![CapacityPool {
            instance_type: "m7i.large".to_owned(),
            subnet_id: None,
        }];
        let mut fixture = Self {
            executor: Executor::new(fleet, config, registry.clone(), outcomes),
            view: FleetView::new(watch::channel(None).1, registry.clone(), Ledger::default()),
            registry,
            worker,
            _session: session,
            _silent_ec2: silent_ec2,
        };
        fixture.describe(&["i-1"], at(0));
        assert_eq!(fixture.state(at(0)), State::Cordoned);
        fixture
    }

    fn describe(&mut self, ids: &[&str], asked_at: Moment) {
        self.describe_as(PowerState::Running, ids, asked_at);
    }

    /// Four stopped instances of one type.
    fn describe_pool(&mut self) {
        self.describe_as(PowerState::Stopped, &["i-1", "i-2", "i-3", "i-4"], at(1));
    }

    fn describe_as(&mut self, state: PowerState, ids: &[&str], asked_at: Moment) {
        let found = ids.iter().zip(1..).map(|(&id, number)| FleetInstance {
            id: id.to_owned(),
            name: worker_instance(number),
            state,
            launched_at: None,
            age: None,
            instance_type: "c7i.large".to_owned(),
            zone: "us-east-1a".to_owned(),
            spot: false,
        });
        self.view.described(found.collect(), asked_at);
    }

    /// Returns the stopped instances that a plan may choose from.
    fn startable(&mut self, now: Moment) -> Vec<String> {
        let observation = self.view.observe(now, Held::default());
        let stopped = observation
            .instances
            .iter()
            .filter(|instance| instance.state == State::Stopped);
        stopped.map(|instance| instance.id.to_string()).collect()
    }

    fn state(&mut self, now: Moment) -> State {
        let observation = self.view.observe(now, self.executor.held());
        observation.instances[0].state
    }

    /// Orders the worker's instance to stop. The call hangs.
    fn stop(&mut self, now: Moment) {
        let plan = Plan {
            stop: self.stops(),
            ..Plan::default()
        };
        self.executor.execute(&plan, &mut self.view, now);
    }

    fn stops(&self) -> Vec<Stop> {
        vec![Stop {
            id: self.worker.clone(),
            cause: StopCause::Drained,
        }]
    }

    fn finish(&mut self, call: Call, error: FleetError, asked_at: Moment, now: Moment) {
        let name = call.name();
        let outcome = Outcome::new(call, asked_at, Some(error));
        let events = self.executor.finish(outcome, &mut self.view, now);
        assert_eq!(events, [Event::CallFailed { call: name }]);
    }

    /// Ends a launch of three, ordered at 1 s, whose reply is lost at 2 s.
    fn lose_launch(&mut self) -> String {
        self.fail_launch(unavailable())
    }

    /// Ends a launch of three, ordered at 1 s, with this error at 2 s. Returns its token.
    fn fail_launch(&mut self, error: FleetError) -> String {
        let (count, token) = (3, "unconfirmed".to_owned());
        self.view.launching += count;
        let call = Call::Launch(Launch {
            count,
            pool: self.executor.pools.choose(at(1)),
            token: token.clone(),
            repeats: None,
            launched: Vec::new(),
        });
        self.finish(call, error, at(1), at(2));
        token
    }

    /// Ends the next launch with a refusal, and returns its instance type.
    fn refuse_launch(&mut self, code: &str, now: Moment) -> String {
        let next = self.next(1, now).expect("it may be launched");
        let instance_type = next.pool.instance_type.clone();
        let launch = launch(next);
        self.finish(Call::Launch(launch), refused_with(code), now, now);
        instance_type
    }

    fn refuse_start(&mut self, ids: &[&str], code: &str, now: Moment) {
        let ids: Vec<_> = ids.iter().map(|&id| InstanceId::from(id)).collect();
        self.view.starting(&ids, now);
        self.finish(Call::Start(ids), refused_with(code), now, now);
    }

    fn next(&mut self, wanted: u32, now: Moment) -> Option<Next> {
        self.executor.next_launch(wanted, &self.view, now)
    }

    /// Returns the next launch's count and token; `None` when no launch may be made.
    fn next_token(&mut self, wanted: u32, now: Moment) -> Option<(u32, String)> {
        self.next(wanted, now).map(|next| (next.count, next.token))
    }
}

fn launch(next: Next) -> Launch {
    Launch {
        count: next.count,
        pool: next.pool,
        token: next.token,
        repeats: next.repeats,
        launched: Vec::new(),
    }
}

fn at(seconds: u64) -> Moment {
    Moment::after_epoch(Duration::from_secs(seconds))
}

fn unavailable() -> FleetError {
    FleetError::Unavailable("the reply was lost".to_owned())
}

fn refused() -> FleetError {
    refused_with("UnauthorizedOperation")
}

fn refused_with(code: &str) -> FleetError {
    FleetError::Refused {
        code: code.to_owned(),
        message: String::new(),
    }
}

#[tokio::test]
async fn a_worker_is_not_uncordoned_while_the_call_to_stop_it_is_in_flight() {
    let mut fixture = Fixture::new().await;
    fixture.stop(at(1));
    fixture.describe(&["i-1"], at(40));
    assert_eq!(fixture.state(at(40)), State::Stopping);
    let worker = fixture.registry.get(&fixture.worker).unwrap();
    assert_eq!(worker.state, Some(State::Stopping));
}

#[tokio::test]
async fn a_worker_whose_stop_may_have_happened_is_not_uncordoned_before_ec2s_lag_is_over() {
    let mut fixture = Fixture::new().await;
    fixture.stop(at(1));
    fixture.finish(Call::Stop(fixture.stops()), unavailable(), at(1), at(40));
    fixture.describe(&["i-1"], at(41));
    assert_eq!(fixture.state(at(49)), State::Stopping);
    assert_eq!(fixture.state(at(50)), State::Cordoned);
}

#[tokio::test]
async fn a_worker_is_not_uncordoned_after_an_internal_error_of_ec2() {
    for code in ["InternalError", "ServiceUnavailable"] {
        let mut fixture = Fixture::new().await;
        fixture.stop(at(1));
        fixture.finish(
            Call::Stop(fixture.stops()),
            refused_with(code),
            at(1),
            at(2),
        );
        assert_eq!(fixture.state(at(3)), State::Stopping, "{code}");
    }
}

#[tokio::test]
async fn a_worker_whose_stop_was_refused_may_be_uncordoned_at_once() {
    let mut fixture = Fixture::new().await;
    fixture.stop(at(1));
    fixture.finish(Call::Stop(fixture.stops()), refused(), at(1), at(2));
    assert_eq!(fixture.state(at(2)), State::Cordoned);
}

/// Otherwise its calls could outlast the lease.
#[tokio::test]
async fn an_order_of_several_calls_ends_once_the_scaler_no_longer_acts() {
    let mut fixture = Fixture::new().await;
    assert!(fixture.executor.permit().is_valid());
    let (leadership, _guard) = crate::lease::disabled(Clock::start());
    fixture.executor = fixture.executor.with_leadership(leadership);
    let permit = fixture.executor.permit();
    assert!(permit.is_valid());
    fixture.executor.close().await;
    assert!(!permit.is_valid());
    let (fleet, stops) = (&fixture.executor.fleet, fixture.stops());
    let ended = stop::end_with_splits(fleet, &permit, End::Stop, stops, at(1)).await;
    let error = ended[0].error.as_ref().expect("no call was made");
    assert_eq!((ended.len(), ended[0].further_calls), (1, 0));
    assert!(!error.may_have_happened(), "{error}");
}

#[tokio::test]
async fn a_launch_whose_reply_was_lost_is_repeated_with_the_same_token() {
    let mut fixture = Fixture::new().await;
    let token = fixture.lose_launch();
    assert_eq!(fixture.next_token(3, at(11)), Some((3, token)));
}

#[tokio::test]
async fn no_other_launch_comes_on_top_of_one_whose_reply_was_lost() {
    let codes = ["InternalError", "Unavailable"].map(refused_with);
    for error in codes.into_iter().chain([unavailable()]) {
        let mut fixture = Fixture::new().await;
        let token = fixture.fail_launch(error);
        // A smaller launch would come on top of it.
        assert_eq!(fixture.next_token(2, at(3)), None);
        // A larger one repeats it first. The next plan asks for the rest.
        assert_eq!(fixture.next_token(5, at(4)), Some((3, token)));
        assert_eq!(
            fixture.next_token(2, at(5)).map(|(count, _)| count),
            Some(2)
        );
    }
}

#[tokio::test]
async fn a_launch_that_is_put_off_is_held_back() {
    let mut fixture = Fixture::new().await;
    fixture.lose_launch();
    let plan = Plan {
        launch: 2,
        ..Plan::default()
    };
    fixture.executor.execute(&plan, &mut fixture.view, at(5));
    assert_eq!(fixture.view.launching, 0);
    assert!(fixture.executor.held().launch > Some(at(5)));
}

#[tokio::test]
async fn a_throttled_repetition_leaves_the_launch_unconfirmed() {
    let mut fixture = Fixture::new().await;
    let token = fixture.lose_launch();
    let repetition = launch(fixture.next(3, at(4)).unwrap());
    let throttled = refused_with("RequestLimitExceeded");
    fixture.finish(Call::Launch(repetition), throttled, at(4), at(5));
    assert_eq!(fixture.next_token(2, at(6)), None);
    assert_eq!(fixture.next_token(3, at(6)), Some((3, token)));
}

#[tokio::test]
async fn a_launch_token_is_not_used_again_after_ec2s_lag() {
    let mut fixture = Fixture::new().await;
    let token = fixture.lose_launch();
    // EC2's list may lag by a minute.
    assert_eq!(fixture.next_token(3, at(62)), Some((3, token.clone())));
    fixture.lose_launch();
    assert_ne!(
        fixture.next_token(3, at(77)).expect("it may be launched").1,
        token
    );
}

#[tokio::test]
async fn a_launch_token_is_not_used_again_once_its_instances_were_seen() {
    let mut fixture = Fixture::new().await;
    let token = fixture.lose_launch();
    fixture.describe(&["i-1", "i-2", "i-3", "i-4"], at(3));
    assert_ne!(
        fixture.next_token(3, at(4)).expect("it may be launched").1,
        token
    );
}

#[tokio::test]
async fn a_launch_without_capacity_goes_to_the_next_pool_without_delay() {
    let mut fixture = Fixture::new().await;
    let lack = "InsufficientInstanceCapacity";
    assert_eq!(fixture.refuse_launch(lack, at(1)), "");
    assert_eq!(fixture.executor.launch.until(), None);
    assert_eq!(fixture.refuse_launch(lack, at(2)), "m7i.large");
    // Now all pools lack capacity.
    assert!(fixture.executor.launch.until() > Some(at(2)));
}

#[tokio::test]
async fn a_launch_whose_reply_was_lost_is_repeated_in_the_same_pool() {
    let mut fixture = Fixture::new().await;
    fixture.lose_launch();
    let first = fixture.executor.pools.choose(at(1));
    fixture
        .executor
        .pools
        .refused(&first, "InsufficientInstanceCapacity", at(3));
    let next = fixture.next(3, at(4)).expect("it may be launched");
    assert_eq!((next.token.as_str(), next.pool), ("unconfirmed", first));
}

#[tokio::test]
async fn starts_without_capacity_become_smaller_and_then_leave_the_pool() {
    let mut fixture = Fixture::new().await;
    fixture.describe_pool();
    let lack = "InsufficientInstanceCapacity";
    for ids in [&["i-1", "i-2", "i-3", "i-4"][..], &["i-1", "i-2"]] {
        fixture.refuse_start(ids, lack, at(2));
        assert_eq!(fixture.executor.held().start, None);
        assert_eq!(fixture.startable(at(3)).len(), 4);
    }
    fixture.refuse_start(&["i-1"], lack, at(2));
    assert_eq!(fixture.startable(at(3)).len(), 0);
}

#[tokio::test]
async fn a_stopped_instance_that_cannot_be_started_does_not_block_the_others_of_the_pool() {
    let broken = [
        "InvalidInstanceID.NotFound",
        "IncorrectInstanceState",
        "InvalidVolume.NotFound",
    ];
    for code in broken {
        let mut fixture = Fixture::new().await;
        fixture.describe_pool();
        for ids in [&["i-1", "i-2", "i-3", "i-4"][..], &["i-1", "i-2"]] {
            fixture.refuse_start(ids, code, at(2));
            let held = fixture.executor.start.until().expect("it is held back");
            assert!(held < at(4), "{code}: {held:?}");
            assert_eq!(fixture.startable(at(3)).len(), 4, "{code}");
        }
        fixture.refuse_start(&["i-1"], code, at(2));
        assert_eq!(fixture.startable(at(3)), ["i-2", "i-3", "i-4"], "{code}");
        assert_eq!(fixture.startable(at(122)).len(), 4, "{code}");
    }
}

#[tokio::test]
async fn a_start_that_was_throttled_or_lost_leaves_its_instance_startable() {
    for code in ["RequestLimitExceeded", "InternalError"] {
        let mut fixture = Fixture::new().await;
        fixture.describe_pool();
        fixture.refuse_start(&["i-1"], code, at(2));
        assert_eq!(fixture.startable(at(3)).len(), 4, "{code}");
    }
}

#[tokio::test]
async fn throttled_calls_are_held_back() {
    let mut fixture = Fixture::new().await;
    fixture.refuse_start(&["i-1"], "RequestLimitExceeded", at(2));
    let held = fixture.executor.held().start.expect("it is held back");
    assert!(held > at(2) && held < at(3), "{held:?}");
}

#[tokio::test]
async fn an_instance_that_ec2_does_not_know_yet_is_renamed_a_little_later() {
    let mut fixture = Fixture::new().await;
    let plan = Plan {
        rename: vec![(fixture.worker.clone(), 7)],
        ..Plan::default()
    };
    fixture.executor.execute(&plan, &mut fixture.view, at(1));
    let number = |fixture: &mut Fixture| {
        let observation = fixture.view.observe(at(2), Held::default());
        observation.instances[0].number
    };
    assert_eq!(number(&mut fixture), Some(7));
    let call = Call::Rename {
        id: fixture.worker.clone(),
        number: 7,
    };
    fixture.finish(
        call,
        refused_with("InvalidInstanceID.NotFound"),
        at(1),
        at(2),
    );
    assert_eq!(number(&mut fixture), Some(1));
    let held = fixture.executor.held().rename.expect("it waits a little");
    assert!(held.since(at(2)) <= Duration::from_millis(200), "{held:?}");
}
