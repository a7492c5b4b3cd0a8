//! EC2: instances that boot late, stop slowly, and are taken back.

use std::time::{Duration, SystemTime};

use platform::fleet::{FleetInstance, PowerState};
use proto::names::{WORKER_INSTANCE, worker_instance};
use scaler_plan::Stop;

use crate::event::{Call, CallResult, Ec2Step, Event, ScalerStep, Time, WorkerStep};
use crate::scaler::{index, name};
use crate::system::{EPOCH, Simulation};
use crate::worker::id;

#[derive(Debug, Default)]
pub struct Ec2 {
    /// Their ids are their indices. Terminated ones remain.
    pub instances: Vec<Instance>,
}

#[derive(Debug)]
pub struct Instance {
    /// `None`: terminated.
    pub state: Option<PowerState>,
    name: String,
    started_at: Time,
    listed_at: Time,
    /// Counts its starts and stops.
    pub epoch: u32,
    is_terminating: bool,
}

impl Simulation {
    pub fn ec2_step(&mut self, step: Ec2Step) {
        match step {
            Ec2Step::Call { scaler, call } => {
                let refused = self.random.chance(self.scenario.refused_calls);
                let is_stop = matches!(call, Call::Stop(_) | Call::Terminate(_));
                let result = match self.called(&call, refused) {
                    CallResult::Done(_) if is_stop && self.loses_response() => CallResult::Unknown,
                    result => result,
                };
                let wait = self.random.millis(50, 300);
                let step = ScalerStep::CallEnded(call, result);
                self.after(wait, Event::Scaler { life: scaler, step });
            }
            Ec2Step::Turn { instance, epoch } => {
                if self.ec2.instances[instance].epoch == epoch {
                    self.ec2_turn(instance);
                }
            }
            Ec2Step::Reclaim { instance, epoch } => {
                let it = &mut self.ec2.instances[instance];
                if it.epoch == epoch {
                    (it.state, it.epoch) = (None, epoch + 1);
                    self.kill_worker(instance);
                }
            }
        }
    }

    /// Carries out a call. Returns the launched instances.
    fn called(&mut self, call: &Call, refused: bool) -> CallResult {
        match call {
            _ if refused => return CallResult::Refused,
            Call::Start(ids) => {
                let state = |id| self.ec2.instances[index(id)].state;
                if ids.iter().any(|id| state(id) != Some(PowerState::Stopped)) {
                    return CallResult::Refused;
                }
                ids.iter().for_each(|id| self.boot(index(id)));
            }
            Call::Launch(count) => {
                return CallResult::Done((0..*count).map(|_| name(self.launch())).collect());
            }
            Call::Stop(stops) => {
                let to = PowerState::Stopping;
                stops.iter().for_each(|stop| self.end_instance(stop, to));
            }
            Call::Terminate(stops) => {
                let to = PowerState::ShuttingDown;
                stops.iter().for_each(|stop| self.end_instance(stop, to));
            }
            Call::Rename(id, number) => {
                self.ec2.instances[index(id)].name = worker_instance(*number);
            }
        }
        CallResult::Done(Vec::new())
    }

    /// Adds a running instance whose worker is ready at once.
    pub fn add_ready_worker(&mut self) {
        self.scenario.boot = (0, 0);
        let instance = self.launch();
        self.ec2.instances[instance].epoch += 1;
        self.ec2_turn(instance);
    }

    fn launch(&mut self) -> usize {
        let instance = self.ec2.instances.len();
        let lag = if self.scenario.list_lag.is_zero() {
            Duration::ZERO
        } else {
            self.random
                .millis(0, self.scenario.list_lag.as_millis() as u64)
        };
        self.ec2.instances.push(Instance {
            state: Some(PowerState::Stopped),
            name: WORKER_INSTANCE.to_owned(),
            started_at: self.now,
            listed_at: self.now + lag,
            epoch: 0,
            is_terminating: false,
        });
        self.boot(instance);
        instance
    }

    fn boot(&mut self, instance: usize) {
        let it = &mut self.ec2.instances[instance];
        (it.state, it.started_at) = (Some(PowerState::Pending), self.now);
        let wait = self.random.millis(100, 1_500);
        self.ec2_after(wait, instance);
    }

    /// The next step comes after a while, unless another order comes first.
    fn ec2_after(&mut self, wait: Duration, instance: usize) {
        let it = &mut self.ec2.instances[instance];
        it.epoch += 1;
        let epoch = it.epoch;
        self.after(wait, Event::Ec2(Ec2Step::Turn { instance, epoch }));
    }

    fn ec2_turn(&mut self, instance: usize) {
        match self.ec2.instances[instance].state {
            Some(PowerState::Pending) => {
                self.ec2.instances[instance].state = Some(PowerState::Running);
                let (least, most) = self.scenario.boot;
                let loading = self.random.millis(least, most);
                let life = self.ec2.instances[instance].epoch;
                self.start_worker(instance, life, loading);
            }
            Some(PowerState::Stopping) => {
                self.ec2.instances[instance].state = Some(PowerState::Stopped);
            }
            Some(PowerState::ShuttingDown) => self.ec2.instances[instance].state = None,
            Some(PowerState::Running | PowerState::Stopped) | None => {}
        }
    }

    fn end_instance(&mut self, stop: &Stop, to: PowerState) {
        let instance = index(&stop.id);
        let it = &mut self.ec2.instances[instance];
        it.is_terminating |= to == PowerState::ShuttingDown;
        match it.state {
            Some(PowerState::Pending | PowerState::Running) => it.state = Some(to),
            Some(PowerState::Stopped | PowerState::Stopping) if to == PowerState::ShuttingDown => {
                it.state = Some(to);
            }
            _ => return,
        }
        // The worker, if it runs, ends first.
        it.epoch += 1;
        if let Some(worker) = self.workers.get_mut(&instance) {
            worker.is_scaled_in = !stop.cause.is_failure();
            self.counts.scaled_in += u64::from(worker.is_scaled_in);
            self.worker_after(Duration::ZERO, instance, WorkerStep::Terminate);
            // A stopped process does not read signals.
            self.worker_after(Duration::from_secs(40), instance, WorkerStep::Kill);
        } else {
            let wait = self.random.millis(200, 2_000);
            self.ec2_after(wait, instance);
        }
    }

    /// A worker's process ended. An instance whose worker dies by itself goes down.
    pub fn worker_exited(&mut self, instance: usize) {
        let it = &mut self.ec2.instances[instance];
        if it.state == Some(PowerState::Running) {
            it.state = Some(if it.is_terminating {
                PowerState::ShuttingDown
            } else {
                PowerState::Stopping
            });
        }
        if it.state.is_some() {
            let wait = self.random.millis(200, 2_000);
            self.ec2_after(wait, instance);
        }
    }

    /// AWS announces that it takes a running instance back, and does so.
    pub fn interrupt(&mut self, instance: usize) {
        let epoch = self.ec2.instances[instance].epoch;
        // The worker asks for notices every five seconds.
        let seen = self.random.millis(0, 5_000);
        self.worker_after(seen, instance, WorkerStep::Notice);
        let taken = self.random.millis(4_000, 12_000);
        self.after(taken, Event::Ec2(Ec2Step::Reclaim { instance, epoch }));
    }

    /// What EC2 lists at present.
    pub fn described(&self) -> Vec<FleetInstance> {
        let instances = self.ec2.instances.iter().enumerate();
        let listed = instances.filter(|(_, it)| it.listed_at <= self.now);
        let found = listed.filter_map(|(index, it)| {
            let whole = Duration::from_secs((EPOCH + it.started_at).as_secs());
            Some(FleetInstance {
                id: id(index),
                name: it.name.clone(),
                state: it.state?,
                launched_at: Some(SystemTime::UNIX_EPOCH + whole),
                age: Some(Duration::from_secs((EPOCH + self.now - whole).as_secs())),
                instance_type: "c7i.large".to_owned(),
                zone: "us-east-1a".to_owned(),
                spot: false,
                launch: None,
            })
        });
        found.collect()
    }
}
