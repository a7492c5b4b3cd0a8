//! The queues of one account: pure state, no clock, no runtime. Every operation takes `now`.

pub mod change;
mod error;
mod message;
mod moves;
mod policy;
mod queue;
mod receipt;
mod redrive;
mod settings;
#[cfg(test)]
mod tests;
mod unkind;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use change::{Change, Journal, MessageContent, Place, Saved, SavedQueue};
pub use error::SqsError;
pub use message::{AttributeValue, MessageAttribute, NewMessage, attributes_md5_hex};
pub use moves::{MoveStatus, MoveTask};
pub use queue::{Delivery, Queue};
pub use settings::{
    AttributeMap, MAX_DELAY_SECONDS, MAX_MESSAGE_SIZE_BYTES, MAX_RECEIVE_WAIT_SECONDS,
    MAX_VISIBILITY_TIMEOUT_SECONDS, QueueSettings,
};

use crate::account::ACCOUNT_ID;
use crate::clock::Millis;
use crate::faults::SqsFaults;

const MOST_TAGS: usize = 50;

/// All queues, by name.
#[derive(Debug, Default)]
pub struct Queues {
    queues: BTreeMap<String, Queue>,
    region: String,
    next_incarnation: u64,
    journal: Journal,
    faults: SqsFaults,
    seed: u64,
    /// Tasks that move messages, the oldest first. They end with the process.
    moves: Vec<MoveTask>,
}

/// What a receive found.
#[derive(Debug, Default)]
pub struct Received {
    pub deliveries: Vec<Delivery>,
    /// The dead-letter queue that got messages by this receive; whoever waits there should look.
    pub woken_dead_letter_queue: Option<String>,
    /// When the next hidden message becomes available.
    pub next_due: Option<Millis>,
}

impl Queues {
    /// No queues yet, in `region`.
    pub fn new(region: impl Into<String>) -> Self {
        Self {
            queues: BTreeMap::new(),
            region: region.into(),
            next_incarnation: 1,
            journal: Journal::default(),
            faults: SqsFaults::default(),
            seed: 0,
            moves: Vec::new(),
        }
    }

    /// The queues as they were saved, whose changes from now on can be taken.
    ///
    /// # Errors
    /// When the attributes of a saved queue are none.
    pub fn restore(region: impl Into<String>, saved: Saved) -> Result<Self, SqsError> {
        let journal = Journal::on();
        let mut queues = BTreeMap::new();
        for saved in saved.queues {
            let name = saved.record.name.clone();
            queues.insert(name, Queue::restore(saved, journal.clone())?);
        }
        Ok(Self {
            queues,
            region: region.into(),
            next_incarnation: saved.next_incarnation.max(1),
            journal,
            faults: SqsFaults::default(),
            seed: 0,
            moves: Vec::new(),
        })
    }

    /// All that `restore` needs.
    #[cfg(test)]
    pub fn saved(&self) -> Saved {
        let mut queues: Vec<SavedQueue> = self.queues.values().map(Queue::saved).collect();
        queues.sort_by_key(|queue| queue.record.incarnation);
        Saved {
            next_incarnation: self.next_incarnation,
            queues,
        }
    }

    /// Replaces the faults of all queues; what was drawn by chance begins anew from `seed`. The same seed and the same
    /// calls to a queue in the same order meet the same faults.
    pub fn set_faults(&mut self, faults: SqsFaults, seed: u64, now: Millis) {
        (self.faults, self.seed) = (faults, seed);
        for queue in self.queues.values_mut() {
            queue.set_faults(faults, seed, now);
        }
    }

    /// Takes the changes since the last time. None are kept by queues that were made by `new`.
    pub fn take_changes(&self) -> Vec<Change> {
        self.journal.take()
    }

    /// Creates a queue, or finds the one of that name if all given attributes are its own.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a bad name or a FIFO queue, `QueueNameExists` when an attribute differs, and
    /// whatever the attributes deserve.
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
            self.journal.clone(),
        );
        queue.set_faults(self.faults, self.seed, now);
        self.queues.insert(name.to_owned(), queue);
        self.next_incarnation += 1;
        Ok(())
    }

    /// Deletes a queue with its messages.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn delete_queue(&mut self, name: &str) -> Result<(), SqsError> {
        let queue = self
            .queues
            .remove(name)
            .ok_or(SqsError::QueueDoesNotExist)?;
        self.journal.record(|| Change::QueueDeleted {
            incarnation: queue.incarnation(),
        });
        Ok(())
    }

    /// The names of the queues that begin with `prefix`, in order.
    pub fn queue_names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.queues
            .range(prefix.to_owned()..)
            .map(|(name, _)| name.as_str())
            .take_while(move |name| name.starts_with(prefix))
    }

    /// The names of the queues whose dead-letter queue is `name`.
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

    /// One queue, to look at or to work on.
    ///
    /// # Errors
    /// `QueueDoesNotExist`.
    pub fn queue(&mut self, name: &str) -> Result<&mut Queue, SqsError> {
        self.queues.get_mut(name).ok_or(SqsError::QueueDoesNotExist)
    }

    /// The name of the queue that has this ARN.
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

    /// Every attribute of a queue.
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

    /// Changes attributes of a queue, all or none.
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

    /// Sets tags of a queue, all or none.
    ///
    /// # Errors
    /// `QueueDoesNotExist`, and `InvalidParameterValue` for tags beyond AWS's limits.
    pub fn tag_queue(&mut self, name: &str, tags: AttributeMap) -> Result<(), SqsError> {
        let queue = self.queue(name)?;
        let mut together = queue.tags().clone();
        together.extend(tags.clone());
        check_tags(&together)?;
        queue.tag(tags);
        Ok(())
    }

    /// Changes the policy of a queue by `change`, which is given the queue's ARN.
    ///
    /// # Errors
    /// `QueueDoesNotExist`, and what `change` refuses.
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

    /// Receives from a queue; messages received too often go to its dead-letter queue.
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
        // While its dead-letter queue is gone, a queue keeps what it has.
        let target = policy.and_then(|policy| {
            let target = self.name_of_arn(&policy.dead_letter_target_arn).ok()?;
            Some((target, policy.max_receive_count))
        });
        let receive_limit = target.as_ref().map(|(_, limit)| *limit);
        let queue = self.queue(name)?;
        let taken = queue.receive(max_messages, visibility_timeout_seconds, receive_limit, now)?;
        let next_due = queue.next_due();
        let target = target
            .filter(|_| !taken.dead.is_empty())
            .map(|(target, _)| target);
        if let Some(target) = &target {
            let source_arn: Arc<str> = self.arn(name).into();
            if let Some(dead_letter_queue) = self.queues.get_mut(target) {
                for dead in taken.dead {
                    dead_letter_queue.accept_dead(dead, Arc::clone(&source_arn), now);
                }
            }
        }
        Ok(Received {
            deliveries: taken.deliveries,
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
        let invalid = |reason: &str| {
            SqsError::InvalidParameterValue(format!(
                "Value {} for parameter RedrivePolicy is invalid. Reason: {reason}.",
                policy.to_json()
            ))
        };
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

/// AWS's limits of the tags of a queue.
fn check_tags(tags: &AttributeMap) -> Result<(), SqsError> {
    let invalid = |reason: &str| Err(SqsError::InvalidParameterValue(reason.to_owned()));
    if tags.len() > MOST_TAGS {
        return invalid("Too many tags added for queue. A queue has at most 50.");
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 {
            return invalid("Tag keys must be between 1 and 128 characters in length.");
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return invalid("Tag keys starting with 'aws:' are reserved for internal use.");
        }
        if value.chars().count() > 256 {
            return invalid("Tag values must be between 0 and 256 characters in length.");
        }
    }
    Ok(())
}

fn check_queue_name(name: &str, attributes: &AttributeMap) -> Result<(), SqsError> {
    let wants_fifo = attributes
        .get("FifoQueue")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if name.ends_with(".fifo") || wants_fifo {
        return Err(SqsError::InvalidParameterValue(
            "FIFO queues are not supported by localcloud.".to_owned(),
        ));
    }
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if name.is_empty() || name.len() > 80 || !name.chars().all(allowed) {
        return Err(SqsError::InvalidParameterValue(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
                .to_owned(),
        ));
    }
    Ok(())
}
