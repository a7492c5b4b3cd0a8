//! The queues of one account: pure state without a clock or a runtime. Every operation takes `now`.

pub mod change_log;
mod checks;
mod delivery;
mod error;
mod fault_state;
mod message;
mod move_tasks;
mod policy;
mod queue;
mod receipt;
mod redrive;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use change_log::{Change, ChangeLog, MessageContent, MessageKey, QueueSnapshot, Snapshot};
pub use checks::{NAME_RULE, is_name};
pub use delivery::Delivery;
pub use error::SqsError;
pub use message::{AttributeValue, Message, MessageAttribute, attributes_md5_hex};
pub use move_tasks::{MoveStatus, MoveTask};
pub use queue::Queue;
pub use settings::{
    AttributeMap, MAX_DELAY_SECONDS, MAX_MESSAGE_SIZE_BYTES, MAX_RECEIVE_WAIT_SECONDS,
    MAX_VISIBILITY_TIMEOUT_SECONDS, QueueSettings,
};

use crate::account::ACCOUNT_ID;
use crate::clock::Millis;
use crate::faults::SqsFaults;
use checks::{check_queue_name, check_tags};

/// All queues, by name.
#[derive(Debug, Default)]
pub struct Queues {
    queues: BTreeMap<String, Queue>,
    region: String,
    next_incarnation: u64,
    changes: ChangeLog,
    faults: SqsFaults,
    seed: u64,
    /// The oldest first. They are not stored.
    moves: Vec<MoveTask>,
}

/// The result of a receive.
#[derive(Debug, Default)]
pub struct Received {
    pub deliveries: Vec<Delivery>,
    /// The dead-letter queue that received messages; its waiting receives must check it again.
    pub woken_dead_letter_queue: Option<String>,
    /// When the next hidden message becomes available.
    pub next_due: Option<Millis>,
}

impl Queues {
    /// Creates the state of an account without queues. Changes are not logged.
    pub fn new(region: impl Into<String>) -> Self {
        Self {
            region: region.into(),
            next_incarnation: 1,
            ..Self::default()
        }
    }

    /// Restores the queues of a snapshot. The changes are logged.
    ///
    /// # Errors
    /// When the attributes of a queue are invalid.
    pub fn restore(region: impl Into<String>, snapshot: Snapshot) -> Result<Self, SqsError> {
        let changes = ChangeLog::on();
        let mut queues = BTreeMap::new();
        for queue in snapshot.queues {
            let name = queue.record.name.clone();
            queues.insert(name, Queue::restore(queue, changes.clone())?);
        }
        Ok(Self {
            queues,
            next_incarnation: snapshot.next_incarnation.max(1),
            changes,
            ..Self::new(region)
        })
    }

    #[cfg(test)]
    pub fn snapshot(&self) -> Snapshot {
        let mut queues: Vec<QueueSnapshot> = self.queues.values().map(Queue::snapshot).collect();
        queues.sort_by_key(|queue| queue.record.incarnation);
        Snapshot {
            next_incarnation: self.next_incarnation,
            queues,
        }
    }

    /// Replaces the faults of all queues and restarts their random streams. The same seed and the same calls to a queue
    /// give the same faults.
    pub fn set_faults(&mut self, faults: SqsFaults, seed: u64, now: Millis) {
        (self.faults, self.seed) = (faults, seed);
        for queue in self.queues.values_mut() {
            queue.set_faults(faults, seed, now);
        }
    }

    /// Takes the logged changes.
    pub fn take_changes(&self) -> Vec<Change> {
        self.changes.take()
    }

    /// Creates a queue, unless it exists with the same attributes.
    ///
    /// # Errors
    /// `InvalidParameterValue` for an invalid name or a FIFO queue; `QueueNameExists` if an attribute differs; those of
    /// `QueueSettings::with`.
    pub fn create_queue(
        &mut self,
        name: &str,
        attributes: &AttributeMap,
        tags: AttributeMap,
        now: Millis,
    ) -> Result<(), SqsError> {
        check_queue_name(name, attributes)?;
        if let Some(queue) = self.queues.get(name) {
            let present = queue.settings();
            let wanted = present.with(attributes)?;
            if wanted == *present {
                return Ok(());
            }
            let (present, wanted) = (present.attributes(), wanted.attributes());
            let differing = attributes
                .keys()
                .find(|name| present.get(*name) != wanted.get(*name));
            return Err(SqsError::QueueNameExists(
                differing.cloned().unwrap_or_default(),
            ));
        }
        let settings = QueueSettings::default().with(attributes)?;
        self.check_dead_letter_target(name, &settings)?;
        check_tags(&tags)?;
        let mut queue = Queue::new(
            self.next_incarnation,
            name,
            settings,
            tags,
            now,
            self.changes.clone(),
        );
        queue.set_faults(self.faults, self.seed, now);
        self.queues.insert(name.to_owned(), queue);
        self.next_incarnation += 1;
        Ok(())
    }

    /// Deletes a queue and its messages.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn delete_queue(&mut self, name: &str) -> Result<(), SqsError> {
        let queue = self
            .queues
            .remove(name)
            .ok_or(SqsError::QueueDoesNotExist)?;
        self.changes.record(|| Change::QueueDeleted {
            incarnation: queue.incarnation(),
        });
        Ok(())
    }

    /// Returns the names that begin with `prefix`, in order.
    pub fn queue_names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.queues
            .range(prefix.to_owned()..)
            .map(|(name, _)| name.as_str())
            .take_while(move |name| name.starts_with(prefix))
    }

    /// Returns the names of the queues whose dead-letter queue is `name`.
    pub fn dead_letter_sources<'a>(
        &'a self,
        name: &str,
    ) -> impl Iterator<Item = &'a str> + use<'a> {
        let arn = self.arn(name);
        self.queues.iter().filter_map(move |(source, queue)| {
            let policy = queue.settings().redrive_policy.as_ref()?;
            (policy.dead_letter_target_arn == arn).then_some(source.as_str())
        })
    }

    /// Returns a queue.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn queue(&mut self, name: &str) -> Result<&mut Queue, SqsError> {
        self.queues.get_mut(name).ok_or(SqsError::QueueDoesNotExist)
    }

    /// Returns the name of the queue with an ARN.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn name_of_arn(&self, arn: &str) -> Result<String, SqsError> {
        let name = queue_of_arn(arn);
        if self.queues.contains_key(name) && self.arn(name) == arn {
            Ok(name.to_owned())
        } else {
            Err(SqsError::QueueDoesNotExist)
        }
    }

    /// Returns all attributes of a queue.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn attributes(&mut self, name: &str, now: Millis) -> Result<AttributeMap, SqsError> {
        let arn = self.arn(name);
        let queue = self.queue(name)?;
        let counts = queue.counts_at(now);
        let mut attributes = queue.settings().attributes();
        let mut insert = |name: &str, value: String| attributes.insert(name.to_owned(), value);
        insert("QueueArn", arn);
        insert("ApproximateNumberOfMessages", counts.available.to_string());
        insert(
            "ApproximateNumberOfMessagesNotVisible",
            counts.in_flight.to_string(),
        );
        insert(
            "ApproximateNumberOfMessagesDelayed",
            counts.delayed.to_string(),
        );
        insert("CreatedTimestamp", (queue.created() / 1000).to_string());
        insert(
            "LastModifiedTimestamp",
            (queue.modified() / 1000).to_string(),
        );
        Ok(attributes)
    }

    /// Changes attributes of a queue, all or none of them.
    ///
    /// # Errors
    /// As `create_queue`.
    pub fn set_attributes(
        &mut self,
        name: &str,
        attributes: &AttributeMap,
        now: Millis,
    ) -> Result<(), SqsError> {
        let settings = self.queue(name)?.settings().with(attributes)?;
        self.check_dead_letter_target(name, &settings)?;
        self.queue(name)?.set_settings(settings, now);
        Ok(())
    }

    /// Sets tags of a queue, all or none of them.
    ///
    /// # Errors
    /// `QueueDoesNotExist`; `InvalidParameterValue` for tags beyond AWS's limits.
    pub fn tag_queue(&mut self, name: &str, tags: AttributeMap) -> Result<(), SqsError> {
        let queue = self.queue(name)?;
        let mut all = queue.tags().clone();
        all.extend(tags.clone());
        check_tags(&all)?;
        queue.tag(tags);
        Ok(())
    }

    /// Applies `change` to a queue's settings, given the queue's ARN.
    ///
    /// # Errors
    /// `QueueDoesNotExist`, and those of `change`.
    pub fn change_policy(
        &mut self,
        name: &str,
        now: Millis,
        change: impl FnOnce(&mut QueueSettings, &str) -> Result<(), SqsError>,
    ) -> Result<(), SqsError> {
        let arn = self.arn(name);
        let queue = self.queue(name)?;
        let mut settings = queue.settings().clone();
        change(&mut settings, &arn)?;
        queue.set_settings(settings, now);
        Ok(())
    }

    /// Receives messages. Those beyond the receive limit move to the dead-letter queue.
    ///
    /// # Errors
    /// `QueueDoesNotExist`, `OverLimit`.
    pub fn receive(
        &mut self,
        name: &str,
        max_messages: usize,
        visibility_timeout_seconds: Option<u32>,
        now: Millis,
    ) -> Result<Received, SqsError> {
        let policy = self.queue(name)?.settings().redrive_policy.clone();
        // Without its dead-letter queue, a queue keeps its messages.
        let target = policy.and_then(|policy| {
            let target = self.name_of_arn(&policy.dead_letter_target_arn).ok()?;
            Some((target, policy.max_receive_count))
        });
        let receive_limit = target.as_ref().map(|(_, limit)| *limit);
        let queue = self.queue(name)?;
        let outcome =
            queue.receive(max_messages, visibility_timeout_seconds, receive_limit, now)?;
        let next_due = queue.next_due();
        let target = target
            .filter(|_| !outcome.dead.is_empty())
            .map(|(target, _)| target);
        if let Some(target) = &target {
            let source_arn: Arc<str> = self.arn(name).into();
            if let Some(dead_letter_queue) = self.queues.get_mut(target) {
                for dead in outcome.dead {
                    dead_letter_queue.accept_dead(dead, Arc::clone(&source_arn), now);
                }
            }
        }
        Ok(Received {
            deliveries: outcome.deliveries,
            woken_dead_letter_queue: target,
            next_due,
        })
    }

    fn arn(&self, name: &str) -> String {
        format!("arn:aws:sqs:{}:{ACCOUNT_ID}:{name}", self.region)
    }

    fn check_dead_letter_target(
        &self,
        source: &str,
        settings: &QueueSettings,
    ) -> Result<(), SqsError> {
        let Some(policy) = &settings.redrive_policy else {
            return Ok(());
        };
        let invalid =
            |reason: &str| SqsError::invalid_value("RedrivePolicy", policy.to_json(), reason);
        let target = self
            .name_of_arn(&policy.dead_letter_target_arn)
            .map_err(|_| invalid("Dead letter target does not exist"))?;
        let allows = self.queues[&target]
            .settings()
            .redrive_allow_policy
            .as_ref();
        if allows.is_some_and(|policy| !policy.allows(&self.arn(source))) {
            return Err(invalid(
                "Queue does not have permission to use this dead letter queue",
            ));
        }
        Ok(())
    }
}

fn queue_of_arn(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or_default()
}
