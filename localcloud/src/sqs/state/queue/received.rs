//! Operations on received messages, by receipt handle.

use std::sync::Arc;

use super::message_index::StoredMessage;
use super::{Phase, Queue, SqsError};
use crate::clock::Millis;
use crate::sqs::state::delivery::Delivery;
use crate::sqs::state::receipt::ReceiptHandle;
use crate::sqs::state::settings::MAX_VISIBILITY_TIMEOUT_SECONDS;

impl Queue {
    /// Deletes a message by the handle of its latest receive. A second delete, or one with an earlier handle, succeeds
    /// and does nothing, as AWS documents.
    ///
    /// # Errors
    /// `ReceiptHandleIsInvalid` for a handle that this queue never issued.
    pub fn delete(&mut self, receipt_handle: &str, now: Millis) -> Result<(), SqsError> {
        self.advance(now);
        let handle = self.own_handle(receipt_handle)?;
        let sequence = handle.sequence;
        let Some(state) = self.messages.get(sequence).map(|stored| stored.state) else {
            return Ok(());
        };
        if state.receive_count != handle.receive_count
            || matches!(state.phase, Phase::Deleted { .. })
        {
            return Ok(());
        }
        let comes_back = !state.returned
            && self
                .faults
                .as_mut()
                .is_some_and(|faults| faults.delivers_after_delete());
        if comes_back {
            self.messages.update(sequence, |state| {
                state.returned = true;
                // A message whose visibility timeout has passed is available already.
                if let Phase::InFlight { until, .. } = state.phase {
                    state.phase = Phase::Deleted { until };
                }
            });
        } else {
            self.messages.remove(sequence);
        }
        self.record_counts(now);
        Ok(())
    }

    /// Hides a message in flight for `visibility_timeout_seconds` from now; 0 makes it available.
    ///
    /// # Errors
    /// `ReceiptHandleIsInvalid`; `MessageNotInflight` if the message is available or was received again;
    /// `InvalidParameterValue` if it is gone, or would be hidden for more than twelve hours since its receive.
    pub fn change_visibility(
        &mut self,
        receipt_handle: &str,
        visibility_timeout_seconds: u32,
        now: Millis,
    ) -> Result<(), SqsError> {
        self.advance(now);
        let handle = self.own_handle(receipt_handle)?;
        let state = self
            .messages
            .get(handle.sequence)
            .map(|stored| stored.state)
            .filter(|state| !matches!(state.phase, Phase::Deleted { .. }))
            .ok_or_else(|| {
                let reason =
                    "Message does not exist or is not available for visibility timeout change";
                SqsError::invalid_value("ReceiptHandle", receipt_handle, reason)
            })?;
        let Phase::InFlight { duplicate, .. } = state.phase else {
            return Err(SqsError::MessageNotInflight);
        };
        if state.receive_count != handle.receive_count {
            return Err(SqsError::MessageNotInflight);
        }
        let hidden_seconds = now.saturating_sub(handle.received) / 1000;
        let total_seconds = hidden_seconds + u64::from(visibility_timeout_seconds);
        if total_seconds > u64::from(MAX_VISIBILITY_TIMEOUT_SECONDS) {
            let reason = format!(
                "Total VisibilityTimeout for the message is beyond the limit [{MAX_VISIBILITY_TIMEOUT_SECONDS} seconds]"
            );
            return Err(SqsError::invalid_value(
                "VisibilityTimeout",
                visibility_timeout_seconds,
                &reason,
            ));
        }
        let phase = if visibility_timeout_seconds == 0 {
            Phase::Available
        } else {
            Phase::InFlight {
                until: now + u64::from(visibility_timeout_seconds) * 1000,
                duplicate,
            }
        };
        self.messages
            .update(handle.sequence, |state| state.phase = phase);
        self.record_counts(now);
        Ok(())
    }

    /// Returns the delivery of a message that is received at `now`.
    pub(super) fn delivery(&self, sequence: u64, now: Millis) -> Delivery {
        let StoredMessage { content, state } = self.stored(sequence);
        let handle = ReceiptHandle {
            incarnation: self.incarnation,
            sequence,
            receive_count: state.receive_count,
            received: now,
        };
        Delivery {
            message: Arc::clone(&content.message),
            receipt_handle: handle.encode(),
            sent: content.sent,
            first_received: state.first_received,
            receive_count: state.receive_count,
            dead_letter_source_arn: content.dead_letter_source_arn.clone(),
        }
    }

    fn own_handle(&self, receipt_handle: &str) -> Result<ReceiptHandle, SqsError> {
        ReceiptHandle::decode(receipt_handle)
            .filter(|handle| {
                handle.incarnation == self.incarnation && handle.sequence < self.next_sequence
            })
            .ok_or(SqsError::ReceiptHandleIsInvalid)
    }
}
