//! SQS: localcloud's pure state, and the receives that wait.

use std::collections::BTreeMap;
use std::time::Duration;

use localcloud::SqsFaults;
use localcloud::sqs_state::{Message as Content, Millis, Queues};
use platform::queue::Message;
use proto::names::MAX_RECEIVE_COUNT;

use crate::event::{CloudResult, Event, FrontStep, Time, Unavailable, WorkerStep, message};
use crate::system::{EPOCH, Simulation};

pub const REQUESTS: &str = "sim-req-queue";
pub const DEAD_LETTERS: &str = "sim-req-dead-letter-queue";

#[derive(Debug)]
pub struct Sqs {
    pub queues: Queues,
    waiting: BTreeMap<u64, Waiting>,
    /// For which time each queue's next [`Event::Due`] is scheduled.
    due: BTreeMap<String, Millis>,
    calls: u64,
    messages: u64,
    /// Until when calls fail.
    pub down_until: Time,
}

#[derive(Debug, Clone)]
struct Waiting {
    queue: String,
    receiver: Receiver,
    limit: usize,
    hide_for: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    Front { front: usize, life: u32 },
    Worker { instance: usize, life: u32 },
}

impl Receiver {
    fn received(self, messages: CloudResult<Vec<Message>>) -> Event {
        match self {
            Self::Front { front, life } => Event::Front {
                front,
                life,
                step: FrontStep::Received(messages),
            },
            Self::Worker { instance, life } => Event::Worker {
                instance,
                life,
                step: WorkerStep::Received(messages),
            },
        }
    }
}

pub fn millis(now: Time) -> Millis {
    (EPOCH + now).as_millis() as Millis
}

impl Sqs {
    pub fn new(visibility_timeout: Duration, faults: SqsFaults, seed: u64) -> Self {
        let mut queues = Queues::new("us-east-1");
        queues.set_faults(faults, seed, millis(Time::ZERO));
        let mut sqs = Self {
            queues,
            waiting: BTreeMap::new(),
            due: BTreeMap::new(),
            calls: 0,
            messages: 0,
            down_until: Time::ZERO,
        };
        sqs.create(DEAD_LETTERS, &[("VisibilityTimeout", "30".to_owned())]);
        let arn = format!("arn:aws:sqs:us-east-1:000000000000:{DEAD_LETTERS}");
        let redrive =
            format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{MAX_RECEIVE_COUNT}}}"#);
        let timeout = visibility_timeout.as_secs().to_string();
        sqs.create(
            REQUESTS,
            &[("VisibilityTimeout", timeout), ("RedrivePolicy", redrive)],
        );
        sqs
    }

    pub fn create(&mut self, name: &str, attributes: &[(&str, String)]) {
        let attributes = attributes.iter();
        let attributes = attributes.map(|(name, value)| ((*name).to_owned(), value.clone()));
        let created = self.queues.create_queue(
            name,
            &attributes.collect(),
            BTreeMap::new(),
            millis(Time::ZERO),
        );
        created.expect("the attributes are valid");
    }

    /// The connection of a process that died is gone. Its receives take no message any more.
    pub fn disconnect(&mut self, receiver: Receiver) {
        self.waiting.retain(|_, it| it.receiver != receiver);
    }

    /// Returns how many messages of the queue are not deleted.
    pub fn messages(&mut self, queue: &str, now: Time) -> usize {
        self.queues.queue(queue).map_or(0, |queue| {
            let counts = queue.counts_at(millis(now));
            counts.available + counts.in_flight + counts.delayed
        })
    }

    fn take(
        &mut self,
        wanted: &Waiting,
        now: Time,
    ) -> (CloudResult<Vec<Message>>, Option<Millis>, Option<String>) {
        let hide_for = wanted.hide_for.map(|time| time.as_secs() as u32);
        let received = self
            .queues
            .receive(&wanted.queue, wanted.limit, hide_for, millis(now));
        match received {
            Ok(received) => (
                Ok(received.deliveries.iter().map(message).collect()),
                received.next_due,
                received.woken_dead_letter_queue,
            ),
            Err(_) => (Err(Unavailable), None, None),
        }
    }
}

impl Simulation {
    /// A receive call arrives at SQS. Its response comes as an event.
    pub fn receive(
        &mut self,
        queue: &str,
        receiver: Receiver,
        limit: usize,
        wait: Duration,
        hide_for: Option<Duration>,
    ) {
        if self.sqs_fails() {
            let back = self.latency();
            return self.after(back, receiver.received(Err(Unavailable)));
        }
        let waiting = Waiting {
            queue: queue.to_owned(),
            receiver,
            limit,
            hide_for,
        };
        self.sqs.calls += 1;
        let call = self.sqs.calls;
        self.sqs.waiting.insert(call, waiting);
        self.after(wait, Event::PollEnds(call));
        self.pump(queue);
    }

    /// Receives without waiting.
    pub fn receive_now(
        &mut self,
        queue: &str,
        limit: usize,
        hide_for: Duration,
    ) -> CloudResult<Vec<Message>> {
        if self.sqs_fails() {
            return Err(Unavailable);
        }
        let found = self.sqs.queues.queue(queue).map_err(|_| Unavailable)?;
        if found.short_poll_misses() {
            return Ok(Vec::new());
        }
        let wanted = Waiting {
            queue: queue.to_owned(),
            // Not used.
            receiver: Receiver::Front { front: 0, life: 0 },
            limit,
            hide_for: Some(hide_for),
        };
        self.sqs.take(&wanted, self.now).0
    }

    pub fn poll_ends(&mut self, call: u64) {
        if let Some(waiting) = self.sqs.waiting.remove(&call) {
            let (received, ..) = self.sqs.take(&waiting, self.now);
            self.respond(waiting.receiver, received);
        }
    }

    /// Hands available messages to the receives that wait, each to a random one.
    pub fn pump(&mut self, queue: &str) {
        loop {
            let of_queue = self.sqs.waiting.iter().filter(|(_, it)| it.queue == queue);
            let calls: Vec<u64> = of_queue.map(|(call, _)| *call).collect();
            if calls.is_empty() {
                return;
            }
            let call = self.random.pick(&calls);
            let waiting = self.sqs.waiting[&call].clone();
            let (received, due, _) = self.sqs.take(&waiting, self.now);
            if received == Ok(Vec::new()) {
                if let Some(due) = due
                    && self.sqs.due.insert(queue.to_owned(), due) != Some(due)
                {
                    let wait = Duration::from_millis(due.saturating_sub(millis(self.now)));
                    self.after(wait, Event::Due(queue.to_owned()));
                }
                return;
            }
            self.sqs.waiting.remove(&call);
            self.respond(waiting.receiver, received);
        }
    }

    fn respond(&mut self, receiver: Receiver, received: CloudResult<Vec<Message>>) {
        let back = self.latency();
        self.after(back, receiver.received(received));
    }

    /// Sends a message. A call that fails may have sent it, and one that succeeds may have sent it twice, as the SDK
    /// repeats a call whose response was lost. Returns `Ok(false)` when the queue does not exist.
    pub fn send(&mut self, queue: &str, body: &str) -> CloudResult<bool> {
        let fails = self.sqs_fails();
        let copies = match (fails, self.loses_response()) {
            (true, lost) => usize::from(lost),
            (false, lost) => 1 + usize::from(lost),
        };
        let now = millis(self.now);
        let Ok(found) = self.sqs.queues.queue(queue) else {
            return if fails { Err(Unavailable) } else { Ok(false) };
        };
        for _ in 0..copies {
            self.sqs.messages += 1;
            let id = self.sqs.messages.to_string();
            found.send(Content::new(id, body), None, now);
        }
        if copies > 0 {
            self.pump(queue);
        }
        if fails { Err(Unavailable) } else { Ok(true) }
    }

    /// Deletes messages. A call that fails may have deleted them.
    pub fn delete(&mut self, queue: &str, handles: &[String]) -> CloudResult<()> {
        let fails = self.sqs_fails();
        let takes_effect = !fails || self.loses_response();
        let now = millis(self.now);
        if let Ok(queue) = self.sqs.queues.queue(queue)
            && takes_effect
        {
            for handle in handles {
                // A handle of a queue that was deleted is of no use.
                let _ = queue.delete(handle, now);
            }
        }
        if fails { Err(Unavailable) } else { Ok(()) }
    }

    /// Hides a received message for so long from now on; not at all: gives it back.
    pub fn change_visibility(&mut self, queue: &str, handle: &str, hide_for: Duration) {
        if self.sqs_fails() {
            return;
        }
        let (now, seconds) = (millis(self.now), hide_for.as_secs() as u32);
        if let Ok(found) = self.sqs.queues.queue(queue) {
            // The message may be gone, or received by another worker.
            let _ = found.change_visibility(handle, seconds, now);
        }
        if hide_for.is_zero() {
            self.pump(queue);
        }
    }

    fn sqs_fails(&mut self) -> bool {
        self.now < self.sqs.down_until && self.random.chance(0.9)
    }
}
