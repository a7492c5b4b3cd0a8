//! How workers take jobs, obey orders, and die.

use std::collections::binary_heap::PeekMut;

use super::{Cloud, Event, Job, MACHINE_BITS, Phase};
use crate::{Micros, micros};

impl Cloud {
    /// Gives waiting requests to waiting workers, then frames of clips.
    pub(super) fn hand_out(&mut self) {
        while self.has_jobs() && !self.waiting.is_empty() {
            let chosen = self.service_random.below(self.waiting.len());
            let index = self.waiting[chosen];
            self.stop_waiting(index as usize);
            let completion = self.take_job(index as usize);
            self.completions.push(std::cmp::Reverse(completion));
        }
    }

    fn has_jobs(&self) -> bool {
        !self.queue.is_empty() || self.waiting_frames > 0
    }

    /// The worker begins with the request at the head of the queue, or with a frame. Returns its completion.
    fn take_job(&mut self, index: usize) -> u64 {
        let request = self.queue.pop_front();
        let job = request.map_or(Job::Frame, Job::Photo);
        self.waiting_frames -= u64::from(job == Job::Frame);
        let seconds = self.service.sample(&mut self.service_random);
        let dies = self.service_random.chance(self.scenario.deadly_jobs);
        let machine = &mut self.machines[index];
        machine.enter(Phase::Busy, self.now);
        (machine.job, machine.dies) = (job, dies);
        let done_at = self.now + (seconds * 1e6) as Micros;
        (done_at << MACHINE_BITS) | index as u64
    }

    pub(crate) fn complete(&mut self) {
        let Some(first) = self.completions.peek_mut() else {
            return;
        };
        let index = (first.0 & ((1 << MACHINE_BITS) - 1)) as usize;
        let machine = &mut self.machines[index];
        let job = machine.job;
        if machine.dies {
            PeekMut::pop(first);
            machine.enter(Phase::Dead, self.now);
            self.lose_job(job);
            return;
        }
        machine.completed += 1;
        if machine.cordoned {
            PeekMut::pop(first);
            machine.enter(Phase::Idle, self.now);
            machine.confirmed = true;
        } else if self.queue.is_empty() && self.waiting_frames == 0 {
            PeekMut::pop(first);
            self.wait_for_work(index);
        } else {
            // Replacing the first entry of the heap is half the work of removing it and adding another.
            drop(first);
            let next = self.take_job(index);
            if let Some(mut first) = self.completions.peek_mut() {
                *first = std::cmp::Reverse(next);
            }
        }
        match job {
            Job::Photo(accepted_at) => self.reply(accepted_at),
            Job::Frame => self.frame_done(),
        }
    }

    fn frame_done(&mut self) {
        self.outcome.frames_done += 1;
        self.outcome.frames_done_at = self.now;
        if self.undone_frames() == 0 {
            self.plan_soon();
        }
    }

    fn reply(&mut self, request: Micros) {
        let latency = self.now - request;
        self.outcome.latencies.record(latency);
        self.recent.record(latency);
        self.outcome.answered += 1;
        self.answered_at = self.now;
        self.outcome.answered_sum = self.outcome.answered_sum.wrapping_add(request);
        if self.unanswered() == 0 {
            self.plan_soon();
        }
    }

    /// The job reappears in the queue after the visibility timeout.
    fn lose_job(&mut self, job: Job) {
        self.lost_jobs += 1;
        let back_at = self.now + micros(self.scenario.visibility_timeout);
        self.schedule(back_at, Event::Reappear(job));
    }

    pub(super) fn wait_for_work(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        machine.enter(Phase::Idle, self.now);
        machine.waits_at = self.waiting.len();
        self.waiting.push(index as u32);
    }

    fn stop_waiting(&mut self, index: usize) {
        let waited_at = self.machines[index].waits_at;
        self.waiting.swap_remove(waited_at);
        if let Some(&moved) = self.waiting.get(waited_at) {
            self.machines[moved as usize].waits_at = waited_at;
        }
    }

    /// The worker's connection to the queue ends.
    pub(super) fn disconnect(&mut self, index: usize) {
        let machine = &self.machines[index];
        match machine.phase {
            Phase::Idle if !machine.confirmed => self.stop_waiting(index),
            Phase::Busy => {
                let job = machine.job;
                let is_other =
                    |completion: u64| completion & ((1 << MACHINE_BITS) - 1) != index as u64;
                self.completions.retain(|completion| is_other(completion.0));
                self.lose_job(job);
            }
            _ => {}
        }
    }

    /// The worker hangs: it reports no more, and its job is lost.
    pub fn hang(&mut self, index: usize) {
        if self.machines[index].has_worker() {
            self.disconnect(index);
            let machine = &mut self.machines[index];
            machine.epoch += 1;
            machine.enter(Phase::Dead, self.now);
        }
    }

    /// An order to take no more work is sent. The worker confirms it later.
    pub(crate) fn cordon(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        (machine.cordoned, machine.since) = (true, self.now);
        let handshake = micros(self.scenario.handshake);
        match machine.phase {
            Phase::Idle => {
                let wait = micros(self.scenario.receive_wait) as f64 * self.cloud_random.unit();
                self.confirm_after(index, handshake + wait as Micros);
            }
            Phase::Loading => self.confirm_after(index, handshake),
            _ => {}
        }
    }

    pub(crate) fn uncordon(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        let was_confirmed = machine.confirmed;
        (machine.cordoned, machine.confirmed, machine.since) = (false, false, self.now);
        // A worker that was cordoned while it loaded, and has loaded since, never waited for work.
        if machine.phase == Phase::Idle && was_confirmed {
            self.wait_for_work(index);
            self.hand_out();
        }
    }

    /// The worker reads its order: whether it is to be cordoned. A busy one obeys when its job is done.
    pub fn obey(&mut self, index: usize, cordoned: bool) {
        let machine = &mut self.machines[index];
        if machine.cordoned == cordoned {
            return;
        }
        if cordoned {
            machine.cordoned = true;
            self.confirm(index);
        } else {
            self.uncordon(index);
        }
    }

    pub(super) fn confirm_after(&mut self, index: usize, after: Micros) {
        let event = Event::Confirm {
            machine: index as u32,
            epoch: self.machines[index].epoch,
        };
        self.schedule(self.now + after, event);
    }

    pub(super) fn confirm(&mut self, index: usize) {
        let machine = &mut self.machines[index];
        if !machine.cordoned || machine.confirmed {
            return;
        }
        let phase = machine.phase;
        if matches!(phase, Phase::Idle | Phase::Loading) {
            (machine.confirmed, machine.since) = (true, self.now);
            if phase == Phase::Idle {
                self.stop_waiting(index);
            }
            self.plan_soon();
        }
    }
}
