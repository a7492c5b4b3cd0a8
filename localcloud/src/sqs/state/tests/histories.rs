//! Random histories of two queues, one the dead-letter queue of the other. The queues and the model of `model` must do
//! the same, also after restarts and with faults.

mod steps;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::disk::Disk;
use super::model::{ModelMessage, ModelQueue, Refusal};
use super::*;
use crate::faults::SqsFaults;
use crate::sqs::state::delivery::Counts;
use steps::{Setting, Step, faults, history};

const NAMES: [&str; 2] = ["q", "dead"];

/// A receipt handle.
#[derive(Debug, Clone)]
struct Handle {
    queue: usize,
    number: u32,
    receive: u32,
    text: String,
}

/// The queues and their model side by side.
struct Pair {
    queues: Queues,
    model: [ModelQueue; 2],
    /// The model after each step, for counters that lag.
    past: Vec<(Millis, [ModelQueue; 2])>,
    disk: Disk,
    faults: SqsFaults,
    handles: Vec<Handle>,
    sent: u32,
    now: Millis,
}

const SEED: u64 = 7;

impl Pair {
    fn new(disk: Disk, faults: SqsFaults) -> Self {
        let queues = Queues::restore("us-east-1", Snapshot::default()).unwrap();
        let mut pair = Self {
            queues,
            model: NAMES.map(ModelQueue::new),
            past: Vec::new(),
            disk,
            faults,
            handles: Vec::new(),
            sent: 0,
            now: START,
        };
        for name in NAMES {
            let nothing = AttributeMap::new();
            pair.queues
                .create_queue(name, &nothing, nothing.clone(), START)
                .unwrap();
        }
        pair.configure(0, Setting::ReceiveLimit(Some(3)));
        pair.set_faults(faults);
        pair
    }

    fn set_faults(&mut self, faults: SqsFaults) {
        self.faults = faults;
        self.queues.set_faults(faults, SEED, self.now);
        for queue in &mut self.model {
            queue.expire(self.now);
            queue.set_faults(faults, SEED);
        }
        self.past = vec![(self.now, self.model.clone())];
    }

    fn apply(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let now = self.now;
        match *step {
            Step::Send {
                queue,
                delay_seconds,
            } => {
                let message = Message::new(self.sent.to_string(), "body");
                self.real(queue).send(message, delay_seconds, now);
                self.model[queue].send(self.sent, delay_seconds, now);
                self.sent += 1;
            }
            Step::Receive {
                queue,
                max_messages,
                visibility_seconds,
            } => self.receive(queue, max_messages, visibility_seconds)?,
            Step::Delete { which } => {
                if let Some(handle) = self.handle(which) {
                    let deleted = self.real(handle.queue).delete(&handle.text, now);
                    prop_assert_eq!(deleted, Ok(()));
                    self.model[handle.queue].delete(handle.number, handle.receive, now);
                }
            }
            Step::ChangeVisibility {
                which,
                visibility_seconds,
            } => {
                if let Some(handle) = self.handle(which) {
                    let changed = self.real(handle.queue).change_visibility(
                        &handle.text,
                        visibility_seconds,
                        now,
                    );
                    let expected = self.model[handle.queue].change_visibility(
                        handle.number,
                        handle.receive,
                        visibility_seconds,
                        now,
                    );
                    let changed = changed.map_err(|error| match error {
                        SqsError::MessageNotInflight => Refusal::NotInFlight,
                        SqsError::InvalidParameterValue(_) => Refusal::Gone,
                        other => panic!("{other}"),
                    });
                    prop_assert_eq!(changed, expected);
                }
            }
            Step::Purge { queue } => {
                let purged = self.real(queue).purge(now).is_ok();
                prop_assert_eq!(purged, self.model[queue].purge(now));
            }
            Step::Configure { queue, setting } => self.configure(queue, setting),
            Step::Wait { seconds } => self.now += seconds * SECOND,
            Step::Restart => self.restart()?,
        }
        self.compare()
    }

    fn receive(
        &mut self,
        queue: usize,
        max_messages: usize,
        visibility_seconds: Option<u32>,
    ) -> Result<(), TestCaseError> {
        let received = self
            .queues
            .receive(NAMES[queue], max_messages, visibility_seconds, self.now)
            .unwrap();
        let (delivered, dead) =
            self.model[queue].receive(max_messages, visibility_seconds, self.now);
        for message in &dead {
            self.model[1].accept_dead(message);
        }
        prop_assert_eq!(received.woken_dead_letter_queue.is_some(), !dead.is_empty());
        prop_assert_eq!(received.deliveries.len(), delivered.len());
        for (delivery, expected) in received.deliveries.into_iter().zip(delivered) {
            let ModelMessage {
                number,
                sent,
                receives,
                first_received,
                dead,
                ..
            } = expected;
            prop_assert_eq!(&delivery.message.message_id, &number.to_string());
            prop_assert_eq!(
                (
                    delivery.sent,
                    delivery.receive_count,
                    delivery.first_received
                ),
                (sent, receives, first_received)
            );
            prop_assert_eq!(delivery.dead_letter_source_arn.is_some(), dead);
            self.handles.push(Handle {
                queue,
                number,
                receive: receives,
                text: delivery.receipt_handle,
            });
        }
        Ok(())
    }

    fn configure(&mut self, queue: usize, setting: Setting) {
        let model = &mut self.model[queue];
        let (queue, name, value) = match setting {
            Setting::Visibility(seconds) => {
                model.visibility_seconds = seconds;
                (queue, "VisibilityTimeout", seconds.to_string())
            }
            Setting::Delay(seconds) => {
                model.delay_seconds = seconds;
                (queue, "DelaySeconds", seconds.to_string())
            }
            Setting::Retention(seconds) => {
                model.retention_seconds = seconds;
                (queue, "MessageRetentionPeriod", seconds.to_string())
            }
            Setting::ReceiveLimit(limit) => {
                self.model[0].receive_limit = limit;
                let policy = limit.map(|limit| {
                    format!(r#"{{"deadLetterTargetArn":"{DEAD_ARN}","maxReceiveCount":{limit}}}"#)
                });
                (0, "RedrivePolicy", policy.unwrap_or_default())
            }
        };
        let changed = AttributeMap::from([(name.to_owned(), value)]);
        self.queues
            .set_attributes(NAMES[queue], &changed, self.now)
            .unwrap();
    }

    fn restart(&mut self) -> Result<(), TestCaseError> {
        for name in NAMES {
            self.queues.queue(name).unwrap().counts_at(self.now);
        }
        self.end_call();
        let before = self.queues.snapshot();
        let placeholder = Disk::memory();
        let (disk, snapshot) = std::mem::replace(&mut self.disk, placeholder).reopen();
        self.disk = disk;
        self.queues = Queues::restore("us-east-1", snapshot).unwrap();
        self.set_faults(self.faults);
        prop_assert_eq!(self.queues.snapshot(), before);
        Ok(())
    }

    /// Writes the changes of a call.
    fn end_call(&mut self) {
        let changes = self.queues.take_changes();
        self.disk.write(changes);
    }

    /// Compares the counters of both queues with the model's, as of the time by which they lag.
    fn compare(&mut self) -> Result<(), TestCaseError> {
        for queue in &mut self.model {
            queue.expire(self.now);
        }
        self.past.push((self.now, self.model.clone()));
        let then = self.now - self.faults.counter_lag_ms;
        let known = self.past.iter().rev().find(|(since, _)| *since <= then);
        let (then, past) = match known {
            Some((_, past)) => (then, past),
            None => (self.past[0].0, &self.past[0].1),
        };
        let expected = past.each_ref().map(|queue| queue.counts(then));
        let counts: [Counts; 2] =
            [0, 1].map(|queue| self.queues.queue(NAMES[queue]).unwrap().counts_at(self.now));
        prop_assert_eq!(counts, expected);
        Ok(())
    }

    /// Checks, long afterwards and without faults, that all messages of the model can be received.
    fn finish(mut self) -> Result<(), TestCaseError> {
        self.set_faults(SqsFaults::default());
        self.configure(0, Setting::ReceiveLimit(None));
        for queue in [0, 1] {
            self.configure(queue, Setting::Retention(1_209_600));
        }
        self.now += 3600 * SECOND;
        self.restart()?;
        let mut left = BTreeSet::new();
        for name in NAMES {
            loop {
                let received = self.queues.receive(name, 10, Some(3600), self.now).unwrap();
                if received.deliveries.is_empty() {
                    break;
                }
                for delivery in received.deliveries {
                    let number: u32 = delivery.message.message_id.parse().unwrap();
                    prop_assert!(left.insert(number), "{} came twice", number);
                }
            }
        }
        let expected: BTreeSet<u32> = self
            .model
            .iter()
            .flat_map(|queue| queue.messages.iter().map(|message| message.number))
            .collect();
        prop_assert_eq!(left, expected);
        Ok(())
    }

    fn real(&mut self, queue: usize) -> &mut Queue {
        self.queues.queue(NAMES[queue]).unwrap()
    }

    fn handle(&self, which: usize) -> Option<Handle> {
        let handles = self.handles.len();
        (handles > 0).then(|| self.handles[which % handles].clone())
    }
}

fn check(history: &[(Step, bool)], faults: SqsFaults, disk: Disk) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(disk, faults);
    for (step, ends_call) in history {
        pair.apply(step)?;
        if *ends_call {
            pair.end_call();
        }
    }
    pair.finish()
}

/// Sets four times `PROPTEST_CASES` (256 by default), divided by `share`.
fn cases(share: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: (4 * config.cases / share).max(1),
        failure_persistence: None,
        ..config
    }
}

proptest! {
    #![proptest_config(cases(1))]

    /// No message is lost, delivered early or received too often; the counters are right; the store has the present
    /// state.
    #[test]
    fn histories_match_the_model(history in history()) {
        check(&history, SqsFaults::default(), Disk::memory())?;
    }

    #[test]
    fn histories_with_faults_match_the_model(history in history(), faults in faults()) {
        check(&history, faults, Disk::memory())?;
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn histories_over_a_real_store_match_the_model(history in history(), faults in faults()) {
        check(&history, faults, Disk::store())?;
    }
}
