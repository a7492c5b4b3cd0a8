//! Calls to EC2, and how instances come up and go down.

use scaler_plan::{Instance, InstanceId, InstanceState};

use super::{Cloud, Event, MACHINE_BITS, Machine, Phase, index_of, timestamp};
use crate::{Micros, micros};

/// The shares of a boot after which EC2 has the instance running, and after which the worker reports and begins to load.
const RUNNING_AFTER: f64 = 0.4;
const LOADING_AFTER: f64 = 0.85;

impl Cloud {
    /// Creates a stopped machine.
    pub(super) fn create(&mut self, number: Option<u32>) {
        let index = self.machines.len();
        assert!(index < 1 << MACHINE_BITS, "too many machines");
        let listed = number.is_some();
        self.machines.push(Machine::stopped(self.now, listed));
        self.observation.instances.push(Instance {
            id: InstanceId::from(format!("i-{index:08}").as_str()),
            number,
            state: InstanceState::Stopped,
            since: self.now(),
            heard: None,
            started_at: None,
            running_since: None,
            listed,
            leaving: false,
            outdated: false,
        });
    }

    /// StartInstances. Returns whether EC2 accepts the call.
    pub fn start(&mut self, ids: &[InstanceId]) -> bool {
        let now = self.now();
        let accepted = self.start_calls.accepts(now, &mut self.cloud_random);
        self.observation.call_backoff.start = self.start_calls.held_until();
        if accepted {
            ids.iter().for_each(|id| self.begin(index_of(id)));
        } else {
            self.outcome.throttled += 1;
        }
        accepted
    }

    /// RunInstances. Returns whether EC2 accepts the call.
    pub fn launch(&mut self, count: u32) -> bool {
        let now = self.now();
        let accepted = self.launch_calls.accepts(now, &mut self.cloud_random);
        self.observation.call_backoff.launch = self.launch_calls.held_until();
        if accepted {
            self.observation.launching += count;
            let taken_at = self.now + micros(self.scenario.launch);
            self.schedule(taken_at, Event::Launched(count));
        } else {
            self.outcome.throttled += 1;
        }
        accepted
    }

    pub(super) fn launched(&mut self, count: u32) {
        self.observation.launching -= count;
        for _ in 0..count {
            self.create(None);
            self.begin(self.machines.len() - 1);
        }
        self.plan_soon();
    }

    /// CreateTags with the number in the name.
    pub fn rename(&mut self, id: &InstanceId, number: u32) {
        self.observation.instances[index_of(id)].number = Some(number);
    }

    /// The machine is paid for from now on.
    fn begin(&mut self, index: usize) {
        let fails = self.cloud_random.chance(self.scenario.failing_boots);
        let boot = (self.boot.sample(&mut self.cloud_random) * 1e6) as Micros;
        let machine = &mut self.machines[index];
        assert_eq!(
            machine.phase,
            Phase::Stopped,
            "only stopped machines are started"
        );
        *machine = Machine {
            phase: Phase::Starting,
            since: self.now,
            epoch: machine.epoch + 1,
            started_at: self.now,
            boot: (!fails).then_some(boot),
            outdated: machine.outdated,
            ..Machine::stopped(machine.created_at, machine.listed)
        };
        self.up += 1;
        self.outcome.starts += 1;
        self.outcome.most_up = self.outcome.most_up.max(self.up);
        self.turn_at(index, part(boot, RUNNING_AFTER));
    }

    /// The next step of a start or a stop.
    pub(super) fn turn(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        match machine.phase {
            Phase::Starting if machine.running_at.is_none() => {
                machine.running_at = Some(self.now);
                if let Some(boot) = machine.boot {
                    self.turn_at(index, part(boot, LOADING_AFTER));
                }
            }
            Phase::Starting => {
                machine.enter(Phase::Loading, self.now);
                if machine.cordoned {
                    self.confirm_after(index, micros(self.scenario.handshake));
                }
                let boot = self.machines[index].boot.unwrap_or_default();
                self.turn_at(index, boot);
            }
            Phase::Loading if machine.cordoned => {
                machine.enter(Phase::Idle, self.now);
                machine.confirmed = true;
            }
            Phase::Loading => {
                self.wait_for_work(index);
                self.hand_out();
                self.plan_soon();
            }
            Phase::Stopping => {
                machine.enter(Phase::Stopped, self.now);
                machine.leaving = false;
            }
            Phase::Stopped | Phase::Idle | Phase::Busy | Phase::Dead | Phase::Terminated => {}
        }
    }

    /// StopInstances for one machine that is up.
    pub fn stop(&mut self, id: &InstanceId) {
        let index = index_of(id);
        let seconds = self.stop.sample(&mut self.cloud_random);
        self.end(index, Phase::Stopping);
        let (machine, epoch) = (index as u32, self.machines[index].epoch);
        let stopped_at = self.now + (seconds * 1e6) as Micros;
        self.schedule(stopped_at, Event::Turn { machine, epoch });
    }

    /// TerminateInstances for one machine that is up or stopped.
    pub fn terminate(&mut self, id: &InstanceId) {
        let index = index_of(id);
        if self.machines[index].phase == Phase::Stopped {
            self.machines[index].enter(Phase::Terminated, self.now);
        } else {
            self.end(index, Phase::Terminated);
        }
    }

    /// All instances that exist are outdated: the operator has chosen another image.
    pub fn change_image(&mut self) {
        self.machines.iter_mut().for_each(|it| it.outdated = true);
    }

    fn end(&mut self, index: usize, phase: Phase) {
        assert!(self.machines[index].is_up(), "only what is up is stopped");
        self.disconnect(index);
        let now = self.now();
        let machine = &mut self.machines[index];
        self.bill.stop(timestamp(machine.started_at), now);
        machine.epoch += 1;
        machine.enter(phase, self.now);
        (machine.cordoned, machine.confirmed) = (false, false);
        machine.leaving &= phase != Phase::Terminated;
        (machine.running_at, machine.boot, machine.is_stuck) = (None, None, false);
        self.up -= 1;
    }

    /// Fault: EC2 never brings up the instances that are pending now.
    pub fn get_stuck(&mut self) {
        let pending = |it: &&mut Machine| it.phase == Phase::Starting && it.running_at.is_none();
        for machine in self.machines.iter_mut().filter(pending) {
            machine.epoch += 1;
            machine.is_stuck = true;
        }
    }

    /// Fault: AWS notifies the worker that it is about to end the instance.
    pub fn interrupt(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        machine.leaving |= machine.has_worker();
    }

    /// Schedules the machine's next step by the time since its start.
    fn turn_at(&mut self, index: usize, after: Micros) {
        let machine = &self.machines[index];
        let (at, epoch) = (machine.started_at + after, machine.epoch);
        let event = Event::Turn {
            machine: index as u32,
            epoch,
        };
        self.schedule(at.max(self.now), event);
    }
}

fn part(duration: Micros, share: f64) -> Micros {
    (duration as f64 * share) as Micros
}
