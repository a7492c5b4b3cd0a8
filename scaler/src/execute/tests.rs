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
use crate::attend::Session;
use crate::clock::Clock;
use crate::plan::{State, Stop, StopCause};

/// An executor whose EC2 takes calls and never answers, and a worker that confirmed to be cordoned.
struct Stage {
    executor: Executor,
    world: World,
    attendance: Attendance,
    worker: InstanceId,
    _session: Session,
    _silent_ec2: TcpListener,
}

impl Stage {
    async fn set() -> Self {
        let silent_ec2 = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let args = AwsArgs {
            endpoint_url: Some(format!("http://{}", silent_ec2.local_addr().unwrap())),
            region: "us-east-1".to_owned(),
            prefix: "muster".to_owned(),
        };
        let fleet = Aws::connect_as(&args, "test", "test").await.fleet();
        let attendance = Attendance::new(Clock::start());
        let worker = InstanceId::from("i-1");
        attendance.admit(std::slice::from_ref(&worker));
        let session = attendance.join(&worker, watch::channel(None).0).unwrap();
        attendance.cordon(&worker);
        let report = WorkerReport {
            instance_id: worker.to_string(),
            state: WorkerState::Cordoned.into(),
            completed: 0,
            order_sequence: 1,
            interruption: None,
        };
        assert!(session.report(&report));
        let (outcomes, _) = mpsc::channel(1);
        let mut settings = Settings::from(LaunchSpec::default());
        settings.fallbacks = vec![Place {
            instance_type: "m7i.large".to_owned(),
            subnet_id: None,
        }];
        let mut stage = Self {
            executor: Executor::new(fleet, settings, attendance.clone(), outcomes),
            world: World::new(watch::channel(None).1, attendance.clone()),
            attendance,
            worker,
            _session: session,
            _silent_ec2: silent_ec2,
        };
        stage.describe(&["i-1"], at(0));
        assert_eq!(stage.state(at(0)), State::Cordoned);
        stage
    }

    fn describe(&mut self, ids: &[&str], asked_at: Timestamp) {
        let running = ids.iter().zip(1..).map(|(&id, number)| FleetInstance {
            id: id.to_owned(),
            name: worker_instance(number),
            state: PowerState::Running,
            launched_at: None,
            age: None,
            instance_type: "c7i.large".to_owned(),
            zone: "us-east-1a".to_owned(),
            spot: false,
        });
        self.world.described(running.collect(), asked_at);
    }

    /// Four instances of one kind that are stopped.
    fn describe_pool(&mut self) {
        let stopped = ["i-1", "i-2", "i-3", "i-4"].iter().zip(1..);
        let stopped = stopped.map(|(&id, number)| FleetInstance {
            id: id.to_owned(),
            name: worker_instance(number),
            state: PowerState::Stopped,
            launched_at: None,
            age: None,
            instance_type: "c7i.large".to_owned(),
            zone: "us-east-1a".to_owned(),
            spot: false,
        });
        self.world.described(stopped.collect(), at(1));
    }

    /// The stopped instances that a plan may choose from.
    fn startable(&mut self, now: Timestamp) -> Vec<String> {
        let observation = self.world.observe(now, CallBackoff::default());
        let stopped = observation
            .instances
            .iter()
            .filter(|instance| instance.state == State::Stopped);
        stopped.map(|instance| instance.id.to_string()).collect()
    }

    fn state(&mut self, now: Timestamp) -> State {
        let observation = self.world.observe(now, self.executor.held());
        observation.instances[0].state
    }

    /// Orders the worker's instance to stop; the call hangs.
    fn stop(&mut self, now: Timestamp) {
        let plan = Plan {
            stop: self.stops(),
            ..Plan::default()
        };
        self.executor.execute(&plan, &mut self.world, now);
    }

    fn stops(&self) -> Vec<Stop> {
        vec![Stop {
            id: self.worker.clone(),
            cause: StopCause::Drained,
        }]
    }

    fn finish(&mut self, call: Call, error: FleetError, asked_at: Timestamp, now: Timestamp) {
        let outcome = Outcome {
            call,
            asked_at,
            error: Some(error),
            further_calls: 0,
        };
        self.executor.finish(outcome, &mut self.world, now);
    }

    /// A launch, ordered at 1 s, whose answer is lost at 2 s.
    fn launch_unsurely(&mut self) -> String {
        self.launch_with(unavailable())
    }

    /// A launch of three, ordered at 1 s and answered with this at 2 s.
    fn launch_with(&mut self, error: FleetError) -> String {
        let (count, token) = (3, "unsure".to_owned());
        self.world.launching += count;
        let call = Call::Launch(Launch {
            count,
            place: self.executor.places.choose(at(1)),
            token: token.clone(),
            repeats: None,
            launched: Vec::new(),
        });
        self.finish(call, error, at(1), at(2));
        token
    }

    /// A launch at the place of choice that EC2 refuses; answers the instance type.
    fn launch_in_vain(&mut self, code: &str, now: Timestamp) -> String {
        let next = self.next(1, now).expect("it may be launched");
        let instance_type = next.place.instance_type.clone();
        let launch = launch(next);
        self.finish(Call::Launch(launch), refused_with(code), now, now);
        instance_type
    }

    fn start_in_vain(&mut self, ids: &[&str], code: &str, now: Timestamp) {
        let ids: Vec<_> = ids.iter().map(|&id| InstanceId::from(id)).collect();
        self.world.starting(&ids, now);
        self.finish(Call::Start(ids), refused_with(code), now, now);
    }

    fn next(&mut self, wanted: u32, now: Timestamp) -> Option<Next> {
        self.executor.next_launch(wanted, &self.world, now)
    }

    /// The next launch's count and token; absent when there is to be none.
    fn token(&mut self, wanted: u32, now: Timestamp) -> Option<(u32, String)> {
        self.next(wanted, now).map(|next| (next.count, next.token))
    }
}

fn launch(next: Next) -> Launch {
    Launch {
        count: next.count,
        place: next.place,
        token: next.token,
        repeats: next.repeats,
        launched: Vec::new(),
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::after_epoch(Duration::from_secs(seconds))
}

fn unavailable() -> FleetError {
    FleetError::Unavailable("the answer was lost".to_owned())
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
async fn a_worker_is_not_called_back_while_the_call_to_stop_it_is_under_way() {
    let mut stage = Stage::set().await;
    stage.stop(at(1));
    stage.describe(&["i-1"], at(40));
    assert_eq!(stage.state(at(40)), State::Stopping);
    let attending = stage.attendance.get(&stage.worker).unwrap();
    assert_eq!(attending.state, Some(State::Stopping));
}

#[tokio::test]
async fn a_worker_whose_stop_may_have_happened_is_not_called_back_before_ec2s_lag_is_over() {
    let mut stage = Stage::set().await;
    stage.stop(at(1));
    stage.finish(Call::Stop(stage.stops()), unavailable(), at(1), at(40));
    stage.describe(&["i-1"], at(41));
    assert_eq!(stage.state(at(49)), State::Stopping);
    assert_eq!(stage.state(at(50)), State::Cordoned);
    assert_eq!(stage.executor.totals().stopped, 0);
}

#[tokio::test]
async fn a_worker_is_not_called_back_when_ec2_only_says_that_something_went_wrong() {
    for code in ["InternalError", "ServiceUnavailable"] {
        let mut stage = Stage::set().await;
        stage.stop(at(1));
        stage.finish(Call::Stop(stage.stops()), refused_with(code), at(1), at(2));
        assert_eq!(stage.state(at(3)), State::Stopping, "{code}");
    }
}

#[tokio::test]
async fn a_worker_whose_stop_was_refused_may_be_called_back_at_once() {
    let mut stage = Stage::set().await;
    stage.stop(at(1));
    stage.finish(Call::Stop(stage.stops()), refused(), at(1), at(2));
    assert_eq!(stage.state(at(2)), State::Cordoned);
}

/// Its calls would otherwise outlast the lease, one after the other.
#[tokio::test]
async fn an_order_of_several_calls_is_not_carried_on_once_the_scaler_does_not_act_any_more() {
    let mut stage = Stage::set().await;
    assert!(stage.executor.license().holds());
    let (leadership, _keeper) = crate::lease::off(Clock::start());
    stage.executor = stage.executor.under(leadership);
    let license = stage.executor.license();
    assert!(license.holds());
    stage.executor.close().await;
    assert!(!license.holds());
    let ended = stop::end_what_can_be(&stage.executor.fleet, &license, End::Stop, stage.stops());
    let ended = ended.await;
    let (_, error, further_calls) = &ended[0];
    let error = error.as_ref().expect("it was not called");
    assert_eq!((ended.len(), *further_calls), (1, 0));
    assert!(!error.may_have_happened(), "{error}");
}

#[tokio::test]
async fn a_launch_whose_answer_was_lost_is_asked_for_again_by_the_same_token() {
    let mut stage = Stage::set().await;
    let token = stage.launch_unsurely();
    assert_eq!(stage.token(3, at(11)), Some((3, token)));
}

#[tokio::test]
async fn no_other_launch_comes_on_top_of_one_whose_answer_was_lost() {
    let codes = ["InternalError", "Unavailable"].map(refused_with);
    for error in codes.into_iter().chain([unavailable()]) {
        let mut stage = Stage::set().await;
        let token = stage.launch_with(error);
        // Fewer than it: they would come on top of it. It is not forgotten over that.
        assert_eq!(stage.token(2, at(3)), None);
        // More than it: first that one, then the plan asks for the rest.
        assert_eq!(stage.token(5, at(4)), Some((3, token)));
        assert_eq!(stage.token(2, at(5)).map(|(count, _)| count), Some(2));
    }
}

#[tokio::test]
async fn a_launch_that_is_put_off_is_not_planned_again_at_once() {
    let mut stage = Stage::set().await;
    stage.launch_unsurely();
    let plan = Plan {
        launch: 2,
        ..Plan::default()
    };
    stage.executor.execute(&plan, &mut stage.world, at(5));
    assert_eq!(stage.world.launching, 0);
    assert!(stage.executor.held().launch > Some(at(5)));
}

#[tokio::test]
async fn a_throttled_repetition_does_not_tell_what_became_of_the_launch() {
    let mut stage = Stage::set().await;
    let token = stage.launch_unsurely();
    let repetition = launch(stage.next(3, at(4)).unwrap());
    let throttled = refused_with("RequestLimitExceeded");
    stage.finish(Call::Launch(repetition), throttled, at(4), at(5));
    assert_eq!(stage.token(2, at(6)), None);
    assert_eq!(stage.token(3, at(6)), Some((3, token)));
}

#[tokio::test]
async fn a_launch_token_is_not_used_again_once_ec2_cannot_lag_behind_any_more() {
    let mut stage = Stage::set().await;
    let token = stage.launch_unsurely();
    // EC2's list may be a minute late.
    assert_eq!(stage.token(3, at(62)), Some((3, token.clone())));
    stage.launch_unsurely();
    assert_ne!(stage.token(3, at(77)).expect("it may be launched").1, token);
}

#[tokio::test]
async fn a_launch_token_is_not_used_again_once_its_instances_were_seen() {
    let mut stage = Stage::set().await;
    let token = stage.launch_unsurely();
    stage.describe(&["i-1", "i-2", "i-3", "i-4"], at(3));
    assert_ne!(stage.token(3, at(4)).expect("it may be launched").1, token);
}

#[tokio::test]
async fn a_launch_without_capacity_is_tried_elsewhere_without_delay() {
    let mut stage = Stage::set().await;
    let lack = "InsufficientInstanceCapacity";
    assert_eq!(stage.launch_in_vain(lack, at(1)), "");
    assert_eq!(stage.executor.launch.until(), None);
    assert_eq!(stage.launch_in_vain(lack, at(2)), "m7i.large");
    // Now all lack capacity.
    assert!(stage.executor.launch.until() > Some(at(2)));
}

#[tokio::test]
async fn a_launch_whose_answer_was_lost_is_repeated_in_the_same_place() {
    let mut stage = Stage::set().await;
    stage.launch_unsurely();
    let first = stage.executor.places.choose(at(1));
    stage
        .executor
        .places
        .refused(&first, "InsufficientInstanceCapacity", at(3));
    let next = stage.next(3, at(4)).expect("it may be launched");
    assert_eq!((next.token.as_str(), next.place), ("unsure", first));
}

#[tokio::test]
async fn starts_without_capacity_become_smaller_and_then_leave_the_pool() {
    let mut stage = Stage::set().await;
    stage.describe_pool();
    let lack = "InsufficientInstanceCapacity";
    for ids in [&["i-1", "i-2", "i-3", "i-4"][..], &["i-1", "i-2"]] {
        stage.start_in_vain(ids, lack, at(2));
        assert_eq!(stage.executor.held().start, None);
        assert_eq!(stage.startable(at(3)).len(), 4);
    }
    stage.start_in_vain(&["i-1"], lack, at(2));
    assert_eq!(stage.startable(at(3)).len(), 0);
}

/// Whatever EC2 has against it: a volume that is gone, a type that is no more, its state.
#[tokio::test]
async fn a_stopped_instance_that_cannot_be_started_does_not_block_the_others_of_the_pool() {
    let broken = [
        "InvalidInstanceID.NotFound",
        "IncorrectInstanceState",
        "InvalidVolume.NotFound",
    ];
    for code in broken {
        let mut stage = Stage::set().await;
        stage.describe_pool();
        for ids in [&["i-1", "i-2", "i-3", "i-4"][..], &["i-1", "i-2"]] {
            stage.start_in_vain(ids, code, at(2));
            let held = stage.executor.start.until().expect("it is held back");
            assert!(held < at(4), "{code}: {held:?}");
            assert_eq!(stage.startable(at(3)).len(), 4, "{code}");
        }
        stage.start_in_vain(&["i-1"], code, at(2));
        assert_eq!(stage.startable(at(3)), ["i-2", "i-3", "i-4"], "{code}");
        assert_eq!(stage.startable(at(122)).len(), 4, "{code}");
    }
}

#[tokio::test]
async fn a_start_that_was_throttled_or_not_answered_says_nothing_about_its_instance() {
    for code in ["RequestLimitExceeded", "InternalError"] {
        let mut stage = Stage::set().await;
        stage.describe_pool();
        stage.start_in_vain(&["i-1"], code, at(2));
        assert_eq!(stage.startable(at(3)).len(), 4, "{code}");
    }
}

#[tokio::test]
async fn throttled_calls_are_held_back_and_asked_for_again() {
    let mut stage = Stage::set().await;
    stage.start_in_vain(&["i-1"], "RequestLimitExceeded", at(2));
    let held = stage.executor.held().start.expect("it is held back");
    assert!(held > at(2) && held < at(3), "{held:?}");
}

#[tokio::test]
async fn an_instance_that_ec2_does_not_know_yet_is_named_a_little_later() {
    let mut stage = Stage::set().await;
    let plan = Plan {
        rename: vec![(stage.worker.clone(), 7)],
        ..Plan::default()
    };
    stage.executor.execute(&plan, &mut stage.world, at(1));
    let number = |stage: &mut Stage| {
        let observation = stage.world.observe(at(2), CallBackoff::default());
        observation.instances[0].number
    };
    assert_eq!(number(&mut stage), Some(7));
    let call = Call::Rename {
        id: stage.worker.clone(),
        number: 7,
    };
    stage.finish(
        call,
        refused_with("InvalidInstanceID.NotFound"),
        at(1),
        at(2),
    );
    assert_eq!(number(&mut stage), Some(1));
    let held = stage.executor.held().rename.expect("it waits a little");
    assert!(held.since(at(2)) <= Duration::from_millis(200), "{held:?}");
}
