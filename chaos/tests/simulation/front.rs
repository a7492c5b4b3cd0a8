//! A front: the real pending requests and key references; the calls around them in the order of `gateway::front`.

mod submit;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gateway::error::RequestError;
use gateway::front::pending::{KeyReferences, Pending, Released, Replied};
use gateway::front::pure::{MIN_AGE, Reply, WorkerReply, deadline_exceeded, failed_job, parse};
use platform::kept_results::is_of_use;
use platform::queue::{BATCH_LIMIT, Message};
use proto::JobId;
use proto::v1::recognition_result::Outcome;

use crate::clients::Answer;
use crate::event::{CloudResult, Event, FrontStep, Time};
use crate::injected_bugs::InjectedBug;
use crate::queues::{DEAD_LETTERS, Receiver};
use crate::system::Simulation;

pub use submit::Request;

/// Interval of the checks for deadlines.
const TICK: u64 = 50_000;
const POLL: Duration = Duration::from_secs(20);
const SCAN_HIDES: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Front {
    pub life: u32,
    pub is_up: bool,
    pub reply_queue: String,
    pub pending: Pending<JobId>,
    keys: KeyReferences,
    /// How many puts of a key are under way: a delete waits for them.
    sharing: BTreeMap<String, usize>,
    /// Keys whose photo is being deleted: puts wait.
    deleting: BTreeSet<String>,
    requests: BTreeMap<JobId, Request>,
    /// Failed receives in a row.
    failures: u32,
}

impl Simulation {
    pub fn start_front(&mut self, index: usize, same_queue: bool) {
        let digits = self.random.number() & 0xffff_ffff_ffff;
        let before = self.fronts[index].reply_queue.clone();
        let reply_queue = if same_queue {
            before
        } else {
            // Other fronts delete the queue of a front that died, after a while.
            if !before.is_empty() && self.random.chance(0.5) {
                let deleted = self.sqs.queues.delete_queue(&before);
                deleted.expect("only its front deletes it");
            }
            format!("sim-resp-queue-{digits:012x}")
        };
        let timeout = ("VisibilityTimeout", "30".to_owned());
        self.sqs.create(&reply_queue, &[timeout]);
        let front = &mut self.fronts[index];
        *front = Front {
            life: front.life + 1,
            is_up: true,
            reply_queue,
            ..Front::default()
        };
        self.front_after(Duration::ZERO, index, FrontStep::Poll);
        let scan = self.random.millis(2_000, 3_000);
        self.front_after(scan, index, FrontStep::Scan);
        self.demand_changed();
    }

    /// Kills a front. Its clients lose their connections.
    pub fn kill_front(&mut self, index: usize) {
        let front = &mut self.fronts[index];
        if !front.is_up {
            return;
        }
        front.is_up = false;
        let life = front.life;
        let requests = std::mem::take(&mut front.requests);
        self.sqs.disconnect(Receiver::Front { front: index, life });
        for request in requests.into_values() {
            self.answer(request.client, Answer::Disconnected);
        }
        self.counts.kills += 1;
        self.demand_changed();
    }

    pub fn front_after(&mut self, wait: Duration, front: usize, step: FrontStep) {
        let life = self.fronts[front].life;
        self.after(wait, Event::Front { front, life, step });
    }

    pub fn front_step(&mut self, index: usize, life: u32, step: FrontStep) {
        if !self.fronts[index].is_up || self.fronts[index].life != life {
            return;
        }
        if self.is_doomed_front_step(&step) {
            self.crash_front(index);
            return;
        }
        match step {
            FrontStep::Put(id) => self.put(index, id),
            FrontStep::PutDone(id, put) => self.put_done(index, id, put),
            FrontStep::Looked(id, found) => self.looked(index, id, found),
            FrontStep::Send(id) => self.send_job(index, id),
            FrontStep::Sent(id, sent) => self.sent(index, id, sent),
            FrontStep::Poll => {
                let queue = self.fronts[index].reply_queue.clone();
                let receiver = Receiver::Front { front: index, life };
                self.receive(&queue, receiver, BATCH_LIMIT, POLL, None);
            }
            FrontStep::Received(received) => self.replies(index, received),
            FrontStep::Keep(reply, handle) => self.keep(index, *reply, handle),
            FrontStep::DeleteReplies(handles) => {
                let queue = self.fronts[index].reply_queue.clone();
                // A reply that stays is received again, and dropped or kept once more.
                let _ = self.delete(&queue, &handles);
            }
            FrontStep::Expire => {
                let now = self.instant();
                for id in self.fronts[index].pending.expire(now) {
                    self.reply_to(index, id, Err(deadline_exceeded()));
                }
                self.demand_changed();
            }
            FrontStep::Scan => {
                let pause = self.random.millis(2_000, 3_000);
                self.front_after(pause, index, FrontStep::Scan);
                let time = self.instant().checked_sub(MIN_AGE);
                let front = &self.fronts[index];
                if time.is_some_and(|time| front.pending.any_accepted_by(time)) {
                    self.front_after(Duration::ZERO, index, FrontStep::ScanOn(0));
                }
            }
            FrontStep::ScanOn(receive) => self.scan(index, receive),
            FrontStep::Discard(key) => self.discard(index, key),
            FrontStep::Discarded(key) => {
                self.delete_photo(&key);
                self.fronts[index].deleting.remove(&key);
            }
        }
    }

    fn replies(&mut self, index: usize, received: CloudResult<Vec<Message>>) {
        let Ok(messages) = received else {
            let front = &mut self.fronts[index];
            let pause = Duration::from_millis(100 << front.failures.min(5));
            front.failures += 1;
            return self.front_after(pause, index, FrontStep::Poll);
        };
        self.fronts[index].failures = 0;
        let mut done = Vec::new();
        for message in messages {
            match parse(&message.body) {
                Ok(reply) => {
                    if let Some(late) = self.deliver(index, reply) {
                        let keep = FrontStep::Keep(Box::new(late), message.receipt_handle);
                        self.front_after(Duration::ZERO, index, keep);
                        continue;
                    }
                }
                Err(why) => self.violated(format!("a front cannot read a reply: {why}")),
            }
            done.push(message.receipt_handle);
        }
        if !done.is_empty() {
            let wait = self.latency();
            self.front_after(wait, index, FrontStep::DeleteReplies(done));
        }
        let wait = self.latency();
        self.front_after(wait, index, FrontStep::Poll);
    }

    /// Returns a reply that no request waits for.
    fn deliver(&mut self, index: usize, reply: WorkerReply) -> Option<WorkerReply> {
        match self.fronts[index].pending.reply(reply.id) {
            Replied::Waited(id) => {
                self.delivered.insert(id);
                self.reply_to(index, id, reply.reply);
                self.demand_changed();
                None
            }
            Replied::Again => {
                self.note(|| format!("front {index} drops a duplicate reply"));
                None
            }
            Replied::Late if self.breaks(InjectedBug::DropsLateReplies) => None,
            Replied::Late => Some(reply),
        }
    }

    /// Keeps the result of a late reply. If that fails, the reply is received again.
    fn keep(&mut self, index: usize, reply: WorkerReply, handle: String) {
        if is_of_use(&reply.result) && self.keep_result(reply.id, reply.result).is_err() {
            return;
        }
        let wait = self.latency();
        self.front_after(wait, index, FrontStep::DeleteReplies(vec![handle]));
    }

    fn scan(&mut self, index: usize, receive: u32) {
        let hide_for = SCAN_HIDES * (1 + receive / 10);
        let Ok(letters) = self.receive_now(DEAD_LETTERS, BATCH_LIMIT, hide_for) else {
            return;
        };
        if letters.is_empty() {
            return;
        }
        for letter in letters {
            if let Some((id, error)) = failed_job(&letter.body) {
                self.finish(index, id, Err(error));
            }
        }
        let wait = self.latency();
        self.front_after(wait, index, FrontStep::ScanOn(receive + 1));
    }

    /// Ends the wait for a job that failed, unless it has ended.
    pub fn finish(&mut self, index: usize, id: JobId, reply: Reply) {
        match self.fronts[index].pending.finish(id) {
            Some(id) => {
                self.reply_to(index, id, reply);
                self.demand_changed();
            }
            None => self.note(|| format!("front {index} has ended a request already")),
        }
    }

    fn reply_to(&mut self, index: usize, id: JobId, reply: Reply) {
        let now = self.instant();
        let request = self.fronts[index].requests.get_mut(&id);
        let request = request.expect("a pending request is known");
        request.reply = Some(reply);
        // The submission ends at the deadline, too.
        if now >= request.deadline {
            self.end_submission(index, id);
        }
        self.complete(index, id);
    }

    /// Answers the client once the reply is there and the submission has ended.
    fn complete(&mut self, index: usize, id: JobId) {
        let Some(request) = self.fronts[index].requests.get(&id) else {
            return;
        };
        if request.is_submitting || request.reply.is_none() {
            return;
        }
        let request = self.fronts[index].requests.remove(&id);
        let Some(Request {
            client,
            key,
            has_reference,
            reply: Some(reply),
            ..
        }) = request
        else {
            return;
        };
        let error = match reply {
            Ok((Outcome::Recognition(recognition), _)) => {
                self.release(index, &key, has_reference, true);
                return self.recognized(client, &key, recognition);
            }
            Ok((Outcome::Failure(failure), _)) => RequestError::from(failure),
            Ok((Outcome::Frame(_), _)) => {
                return self.violated(format!("client {client} is answered as a frame"));
            }
            Err(error) => error,
        };
        let (code, message) = (error.code, error.message);
        let is_bad = code.is_bad_photo();
        if is_bad && has_reference {
            self.discard(index, key);
        } else {
            self.release(index, &key, has_reference, true);
        }
        self.answer(client, Answer::Error { code, message });
    }

    fn release(&mut self, index: usize, key: &str, has_reference: bool, needs: bool) -> Released {
        if has_reference {
            self.fronts[index].keys.release(key, needs)
        } else {
            Released::Keep
        }
    }

    /// Deletes a bad photo if no other request needs it. Waits for puts of its key.
    fn discard(&mut self, index: usize, key: String) {
        let front = &mut self.fronts[index];
        if front.sharing.contains_key(&key) || front.deleting.contains(&key) {
            return self.front_after(Duration::from_millis(5), index, FrontStep::Discard(key));
        }
        if front.keys.release(&key, false) == Released::Delete {
            front.deleting.insert(key.clone());
            let wait = self.latency();
            self.front_after(wait, index, FrontStep::Discarded(key));
        }
    }

    /// Checks for the deadline at the first tick that is not before it.
    fn schedule_expiry(&mut self, index: usize, deadline: Time) {
        let ticks = (deadline.as_micros() as u64).div_ceil(TICK);
        let at = Duration::from_micros(ticks * TICK);
        self.front_after(at.saturating_sub(self.now), index, FrontStep::Expire);
    }
}
