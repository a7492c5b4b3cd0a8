mod launches;
mod starts;
mod stops;

use std::time::Duration;

use platform::aws::{Aws, AwsArgs};
use platform::fleet::PowerState;
use proto::v1::{WorkerReport, WorkerState};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::call::Launch;
use super::*;
use crate::clock::Clock;
use crate::fleet::WorkerRegistry;
use crate::fleet::fixtures::{found, report};
use crate::fleet::ledger::Ledger;
use crate::fleet::worker_registry::WorkerSession;
use crate::plan::{InstanceState, Stop, StopCause};

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
        let fleet = fleet_at(&silent_ec2).await;
        let registry = WorkerRegistry::new(Clock::start());
        let worker = InstanceId::from("i-1");
        registry.admit(std::slice::from_ref(&worker));
        let session = registry.join(&worker, watch::channel(None).0).unwrap();
        registry.cordon(&worker);
        let report = WorkerReport {
            order_sequence: 1,
            ..report(&worker, WorkerState::Cordoned)
        };
        assert!(session.report(&report));
        let (outcomes, _) = mpsc::channel(1);
        let mut config = ExecutorConfig::from(LaunchSpec::default());
        config.fallbacks = vec![CapacityPool {
            instance_type: "m7i.large".to_owned(),
            subnet_id: None,
        }];
        let mut fixture = Self {
            executor: Executor::new(fleet, config, outcomes),
            view: FleetView::new(watch::channel(None).1, registry.clone(), Ledger::default()),
            registry,
            worker,
            _session: session,
            _silent_ec2: silent_ec2,
        };
        fixture.describe(&["i-1"], at(0));
        assert_eq!(fixture.state(at(0)), InstanceState::Cordoned);
        fixture
    }

    fn describe(&mut self, ids: &[&str], asked_at: Timestamp) {
        self.describe_as(PowerState::Running, ids, asked_at);
    }

    /// Four stopped instances of one type.
    fn describe_pool(&mut self) {
        self.describe_as(PowerState::Stopped, &["i-1", "i-2", "i-3", "i-4"], at(1));
    }

    fn describe_as(&mut self, state: PowerState, ids: &[&str], asked_at: Timestamp) {
        let numbered = ids.iter().zip(1..);
        let found = numbered.map(|(id, number)| found(id, &worker_instance(number), state));
        self.view.described(found.collect(), asked_at);
    }

    /// Returns the stopped instances that a plan may choose from.
    fn startable(&mut self, now: Timestamp) -> Vec<String> {
        let observation = self.view.observe(now, CallBackoff::default());
        let stopped = observation
            .instances
            .iter()
            .filter(|instance| instance.state == InstanceState::Stopped);
        stopped.map(|instance| instance.id.to_string()).collect()
    }

    fn state(&mut self, now: Timestamp) -> InstanceState {
        let observation = self.view.observe(now, self.executor.call_backoff());
        observation.instances[0].state
    }

    /// Orders the worker's instance to stop. The call hangs.
    fn stop(&mut self, now: Timestamp) {
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

    fn finish(&mut self, call: Call, error: FleetError, asked_at: Timestamp, now: Timestamp) {
        let name = call.name();
        let outcome = Outcome::new(call, asked_at, Some(error));
        let events = self.executor.finish(outcome, &mut self.view, now);
        assert_eq!(events, [ExecutionEvent::CallFailed { call: name }]);
    }

    /// Ends a launch of three, ordered at 1 s, whose reply is lost at 2 s.
    fn lose_launch(&mut self) -> String {
        self.fail_launch(unavailable())
    }

    /// Ends a launch of three, ordered at 1 s, with this error at 2 s. Returns its token.
    fn fail_launch(&mut self, error: FleetError) -> String {
        let (count, token) = (3, "unconfirmed".to_owned());
        self.view.launching += count;
        let launch = Launch {
            count,
            pool: self.executor.pools.choose(at(1)),
            token: token.clone(),
            repeats: None,
        };
        self.finish(Call::Launch(launch, Vec::new()), error, at(1), at(2));
        token
    }

    /// Ends the next launch with a refusal, and returns its instance type.
    fn refuse_launch(&mut self, code: &str, now: Timestamp) -> String {
        let next = self.next(1, now).expect("it may be launched");
        let instance_type = next.pool.instance_type.clone();
        let call = Call::Launch(next, Vec::new());
        self.finish(call, refused_with(code), now, now);
        instance_type
    }

    fn refuse_start(&mut self, ids: &[&str], code: &str, now: Timestamp) {
        let ids: Vec<_> = ids.iter().map(|&id| InstanceId::from(id)).collect();
        self.view.starting(&ids, now);
        self.finish(Call::Start(ids), refused_with(code), now, now);
    }

    fn next(&mut self, wanted: u32, now: Timestamp) -> Option<Launch> {
        self.executor.next_launch(wanted, &self.view, now)
    }

    /// Returns the next launch's count and token; `None` when no launch may be made.
    fn next_token(&mut self, wanted: u32, now: Timestamp) -> Option<(u32, String)> {
        self.next(wanted, now).map(|next| (next.count, next.token))
    }
}

async fn fleet_at(ec2: &TcpListener) -> Fleet {
    let args = AwsArgs {
        endpoint_url: Some(format!("http://{}", ec2.local_addr().unwrap())),
        region: Some("us-east-1".to_owned()),
        prefix: "muster".to_owned(),
    };
    Aws::connect_as(&args, "test", "test").await.fleet()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::after_epoch(Duration::from_secs(seconds))
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
