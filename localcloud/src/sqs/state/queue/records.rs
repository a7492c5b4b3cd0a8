//! The stored form of a queue.

use super::message_index::MessageIndex;
use super::{Queue, QueueSettings, SqsError};
use crate::sqs::state::change_log::{Change, ChangeLog, QueueRecord, QueueSnapshot};

impl Queue {
    /// Restores a queue. Its receipt handles stay valid.
    ///
    /// # Errors
    /// Those of `QueueSettings::with`.
    pub fn restore(snapshot: QueueSnapshot, changes: ChangeLog) -> Result<Self, SqsError> {
        let record = snapshot.record;
        let mut messages = MessageIndex::new(record.incarnation, changes.clone());
        for (sequence, content, state) in snapshot.messages {
            messages.restore(sequence, content, state);
        }
        Ok(Self {
            incarnation: record.incarnation,
            name: record.name,
            settings: QueueSettings::from_attributes(record.attributes)?,
            tags: record.tags,
            created: record.created,
            modified: record.modified,
            purged: record.purged,
            next_sequence: record.sequence_limit,
            sequence_limit: record.sequence_limit,
            messages,
            changes,
            faults: None,
        })
    }

    #[cfg(test)]
    pub fn snapshot(&self) -> QueueSnapshot {
        QueueSnapshot {
            record: self.as_record(),
            messages: self
                .messages
                .iter()
                .map(|(sequence, stored)| (sequence, stored.content.clone(), stored.state))
                .collect(),
        }
    }

    /// Logs the record, all but the messages.
    pub(super) fn record(&self) {
        self.changes.record(|| Change::Queue(self.as_record()));
    }

    fn as_record(&self) -> QueueRecord {
        QueueRecord {
            incarnation: self.incarnation,
            name: self.name.clone(),
            attributes: self.settings.attributes(),
            tags: self.tags.clone(),
            created: self.created,
            modified: self.modified,
            purged: self.purged,
            sequence_limit: self.sequence_limit,
        }
    }
}
