//! What plans do to the world.

use super::look::moment;
use super::{Event, MACHINE_BITS, World};
use crate::plan::{Instance, InstanceId, Plan};
use crate::simulate::machine::{Machine, Phase};
use crate::simulate::{Micros, micros};

/// The shares of the time from the order to a ready worker after which EC2 has the instance running, and after which
/// the worker reports and begins to load.
const RUNNING_AFTER: f64 = 0.4;
const LOADING_AFTER: f64 = 0.85;
/// How much the time to stop varies, as a coefficient.
const STOP_VARIES: f64 = 0.2;

impl World<'_> {
    pub(super) fn carry_out(&mut self, plan: &Plan) {
        for id in &plan.cordon {
            self.cordon(index_of(id));
        }
        for id in &plan.uncordon {
            self.uncordon(index_of(id));
        }
        if !plan.start.is_empty() {
            self.start(&plan.start);
        }
        if plan.launch > 0 {
            self.launch(plan.launch);
        }
        if !plan.stop.is_empty() {
            for stop in &plan.stop {
                self.stop(index_of(&stop.id));
            }
            self.turn_to(false);
        }
        for (id, number) in &plan.rename {
            self.observation.instances[index_of(id)].number = Some(*number);
        }
    }

    /// Another machine, stopped.
    pub(super) fn create(&mut self, number: Option<u32>) {
        let index = self.machines.len();
        assert!(index < 1 << MACHINE_BITS, "too many machines");
        self.machines.push(Machine::stopped(self.now));
        self.observation.instances.push(Instance {
            id: InstanceId::from(format!("i-{index:08}").as_str()),
            number,
            state: crate::plan::State::Stopped,
            since: moment(self.now),
            heard: None,
            started_at: None,
            running_since: None,
            listed: number.is_some(),
            leaving: false,
        });
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
                    self.confirm_after(index, micros(self.settings.handshake));
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
            Phase::Stopping => machine.enter(Phase::Stopped, self.now),
            Phase::Stopped | Phase::Idle | Phase::Busy | Phase::Dead => {}
        }
    }

    /// A worker looks at its orders.
    pub(super) fn confirm(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        if !machine.cordoned || machine.confirmed {
            return;
        }
        match machine.phase {
            Phase::Idle => {
                (machine.confirmed, machine.since) = (true, self.now);
                self.stop_waiting(index);
                self.plan_soon();
            }
            Phase::Loading => {
                (machine.confirmed, machine.since) = (true, self.now);
                self.plan_soon();
            }
            // One at work confirms when it is done.
            _ => {}
        }
    }

    pub(super) fn launched(&mut self, count: u32) {
        self.observation.launching -= count;
        for _ in 0..count {
            self.create(None);
            self.begin(self.machines.len() - 1);
        }
        self.plan_soon();
    }

    fn start(&mut self, ids: &[InstanceId]) {
        if !self.start_bucket.take(self.now) {
            let until = self.start_backoff.refuse(self.now, &mut self.cloud_random);
            self.observation.held.start = Some(moment(until));
            self.outcome.throttled += 1;
            return;
        }
        self.start_backoff.succeed();
        self.observation.held.start = None;
        for id in ids {
            self.begin(index_of(id));
        }
        self.turn_to(true);
    }

    fn launch(&mut self, count: u32) {
        if !self.launch_bucket.take(self.now) {
            let until = self.launch_backoff.refuse(self.now, &mut self.cloud_random);
            self.observation.held.launch = Some(moment(until));
            self.outcome.throttled += 1;
            return;
        }
        self.launch_backoff.succeed();
        self.observation.held.launch = None;
        self.observation.launching += count;
        let taken_at = self.now + micros(self.settings.call);
        self.schedule(taken_at, Event::Launched(count));
        self.turn_to(true);
    }

    /// The machine is paid for from now on.
    fn begin(&mut self, index: usize) {
        let fails = self.cloud_random.chance(self.settings.failing_boots);
        let boot = (self.boot.sample(&mut self.cloud_random) * 1e6) as Micros;
        let machine = &mut self.machines[index];
        assert_eq!(
            machine.phase,
            Phase::Stopped,
            "only stopped machines are started"
        );
        *machine = Machine {
            phase: Phase::Starting,
            epoch: machine.epoch + 1,
            started_at: self.now,
            boot: (!fails).then_some(boot),
            ..Machine::stopped(machine.created_at)
        };
        machine.since = self.now;
        self.up += 1;
        self.outcome.starts += 1;
        self.outcome.most_up = self.outcome.most_up.max(self.up);
        self.turn_at(index, part(boot, RUNNING_AFTER));
    }

    fn cordon(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        (machine.cordoned, machine.since) = (true, self.now);
        let handshake = micros(self.settings.handshake);
        match machine.phase {
            Phase::Idle => {
                let wait = micros(self.settings.receive_wait) as f64 * self.cloud_random.unit();
                self.confirm_after(index, handshake + wait as Micros);
            }
            Phase::Loading => self.confirm_after(index, handshake),
            _ => {}
        }
    }

    fn uncordon(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        let was_confirmed = machine.confirmed;
        (machine.cordoned, machine.confirmed, machine.since) = (false, false, self.now);
        // One that was cordoned while it loaded, and has loaded since, never waited for work.
        if machine.phase == Phase::Idle && was_confirmed {
            self.wait_for_work(index);
            self.hand_out();
        }
    }

    fn stop(&mut self, index: usize) {
        let varies = super::Lognormal::of(self.settings.stop.as_secs_f64(), STOP_VARIES);
        let stop = (varies.sample(&mut self.cloud_random) * 1e6) as Micros;
        let machine = &mut self.machines[index];
        let is_at_work = machine.phase == Phase::Busy;
        assert!(
            machine.is_up() && !is_at_work,
            "plans stop only what is up and not at work"
        );
        self.bill.stop(machine.started_at, self.now);
        machine.epoch += 1;
        machine.enter(Phase::Stopping, self.now);
        (machine.cordoned, machine.confirmed) = (false, false);
        (machine.running_at, machine.boot) = (None, None);
        let epoch = machine.epoch;
        self.up -= 1;
        let event = Event::Turn {
            machine: index as u32,
            epoch,
        };
        self.schedule(self.now + stop, event);
    }

    /// Schedules the machine's next step so long after its start.
    fn turn_at(&mut self, index: usize, after: Micros) {
        let machine = &self.machines[index];
        let (at, epoch) = (machine.started_at + after, machine.epoch);
        let event = Event::Turn {
            machine: index as u32,
            epoch,
        };
        self.schedule(at.max(self.now), event);
    }

    fn confirm_after(&mut self, index: usize, after: Micros) {
        let event = Event::Confirm {
            machine: index as u32,
            epoch: self.machines[index].epoch,
        };
        self.schedule(self.now + after, event);
    }

    /// Counts changes of direction between starts and stops.
    fn turn_to(&mut self, grows: bool) {
        if self
            .grows
            .replace(grows)
            .is_some_and(|before| before != grows)
        {
            self.outcome.reversals += 1;
        }
    }
}

fn part(duration: Micros, share: f64) -> Micros {
    (duration as f64 * share) as Micros
}

/// Ids carry their index, so that nothing has to be searched.
fn index_of(id: &InstanceId) -> usize {
    id.as_str()
        .trim_start_matches("i-")
        .parse()
        .expect("plans name instances of the observation")
}
