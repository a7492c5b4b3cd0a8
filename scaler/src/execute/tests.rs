use std::time::Duration;

use platform::aws::{Aws, AwsArgs};
use platform::fleet::{FleetInstance, PowerState};
use proto::v1::{WorkerReport, WorkerState};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::outcome::Launch;
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
        let session = attendance.join(&worker, watch::channel(None).0);
        attendance.cordon(&worker);
        let report = WorkerReport {
            instance_id: worker.to_string(),
            state: WorkerState::Cordoned.into(),
            completed: 0,
            order_sequence: 1,
        };
        assert!(session.report(&report));
        let (outcomes, _) = mpsc::channel(1);
        let settings = Settings::from(LaunchSpec::default());
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

    fn describe(&mut self, ids: &[&str], asked_at: Moment) {
        let running = ids.iter().zip(1..).map(|(&id, number)| FleetInstance {
            id: id.to_owned(),
            name: worker_instance(number),
            state: PowerState::Running,
            launched_at: None,
            instance_type: "c7i.large".to_owned(),
            zone: "us-east-1a".to_owned(),
            spot: false,
        });
        self.world.described(running.collect(), asked_at);
    }

    fn state(&mut self, now: Moment) -> State {
        let observation = self.world.observe(now, self.executor.held());
        observation.instances[0].state
    }

    /// Orders the worker's instance to stop; the call hangs.
    fn stop(&mut self, now: Moment) {
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

    fn finish(&mut self, call: Call, error: FleetError, asked_at: Moment, now: Moment) {
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
        let (count, token) = (3, "unsure".to_owned());
        self.world.launching += count;
        let call = Call::Launch(Launch {
            count,
            place: self.executor.places.choose(at(1)),
            token: token.clone(),
            launched: Vec::new(),
        });
        self.finish(call, unavailable(), at(1), at(2));
        token
    }

    fn token(&mut self, count: u32, now: Moment) -> String {
        self.executor.token_and_place(count, &self.world, now).0
    }
}

fn at(seconds: u64) -> Moment {
    Moment::after_epoch(Duration::from_secs(seconds))
}

fn unavailable() -> FleetError {
    FleetError::Unavailable("the answer was lost".to_owned())
}

fn refused() -> FleetError {
    FleetError::Refused {
        code: "UnauthorizedOperation".to_owned(),
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
async fn a_worker_whose_stop_was_refused_may_be_called_back_at_once() {
    let mut stage = Stage::set().await;
    stage.stop(at(1));
    stage.finish(Call::Stop(stage.stops()), refused(), at(1), at(2));
    assert_eq!(stage.state(at(2)), State::Cordoned);
}

#[tokio::test]
async fn a_launch_whose_answer_was_lost_is_asked_for_again_by_the_same_token() {
    let mut stage = Stage::set().await;
    let token = stage.launch_unsurely();
    assert_eq!(stage.token(3, at(11)), token);
    stage.launch_unsurely();
    assert_ne!(stage.token(2, at(11)), token);
}

#[tokio::test]
async fn a_launch_token_is_not_used_again_once_ec2_cannot_lag_behind_any_more() {
    let mut stage = Stage::set().await;
    let token = stage.launch_unsurely();
    assert_ne!(stage.token(3, at(12)), token);
}

#[tokio::test]
async fn a_launch_token_is_not_used_again_once_its_instances_were_seen() {
    let mut stage = Stage::set().await;
    let token = stage.launch_unsurely();
    stage.describe(&["i-1", "i-2", "i-3", "i-4"], at(3));
    assert_ne!(stage.token(3, at(4)), token);
}
