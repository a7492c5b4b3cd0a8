//! Sending, deleting and changing the visibility of messages, singly and in batches.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::attributes::{digest, parse_attributes};
use super::state::{
    AttributeValue, MAX_DELAY_SECONDS, MAX_MESSAGE_SIZE_BYTES, MAX_VISIBILITY_TIMEOUT_SECONDS,
    Message, is_name,
};
use super::wire::{
    Batch, BatchEntry, BatchResponse, ChangeVisibilityInput, DeleteInput, Empty, FailedEntry,
    MessageInput, ResultEntry, SendResult, SendResultEntry, Single,
};
use super::{Sqs, SqsError, SqsState, queue_name, seconds};
use crate::clock::Millis;
use crate::links::EventTarget;

const MAX_BATCH_ENTRIES: usize = 10;
const MAX_MESSAGE_ATTRIBUTES: usize = 10;
const MAX_GROUP_LETTERS: usize = 128;

/// A valid message, and the response to its sender.
struct Outgoing {
    message: Message,
    delay_seconds: Option<u32>,
    result: SendResult,
}

impl Sqs {
    pub(super) fn send_message(
        &self,
        request: Single<MessageInput>,
    ) -> Result<SendResult, SqsError> {
        let name = queue_name(&request.queue_url)?;
        let outgoing = Outgoing::parse(request.input)?;
        send(&mut self.lock(), name, outgoing, self.clock.now())
    }

    /// Sends a message of another service to the queue of an ARN.
    ///
    /// # Errors
    /// Those of `SendMessage`; `QueueDoesNotExist` also for an ARN of another region or account.
    async fn send_to_arn(&self, queue_arn: &str, body: String) -> Result<(), SqsError> {
        let content = MessageInput {
            message_body: Some(body),
            ..MessageInput::default()
        };
        let outgoing = Outgoing::parse(content)?;
        {
            let mut shared = self.lock();
            let name = shared.queues.name_of_arn(queue_arn)?;
            send(&mut shared, &name, outgoing, self.clock.now())?;
        }
        self.stored().await
    }

    /// Returns whether an ARN is that of a queue.
    pub fn has_queue(&self, queue_arn: &str) -> bool {
        self.lock().queues.name_of_arn(queue_arn).is_ok()
    }

    pub(super) fn delete_message(&self, request: Single<DeleteInput>) -> Result<Empty, SqsError> {
        let name = queue_name(&request.queue_url)?;
        delete(&mut self.lock(), name, request.input, self.clock.now())?;
        Ok(Empty {})
    }

    pub(super) fn change_message_visibility(
        &self,
        request: Single<ChangeVisibilityInput>,
    ) -> Result<Empty, SqsError> {
        let name = queue_name(&request.queue_url)?;
        change_visibility(&mut self.lock(), name, request.input, self.clock.now())?;
        Ok(Empty {})
    }

    pub(super) fn send_message_batch(
        &self,
        request: Batch<MessageInput>,
    ) -> Result<BatchResponse<SendResultEntry>, SqsError> {
        let name = queue_name(&request.queue_url)?;
        check_entries("SendMessageBatchRequestEntry", &request.entries)?;
        let entries = request.entries.into_iter();
        let entries: Vec<_> = entries
            .map(|entry| (entry.id, Outgoing::parse(entry.input)))
            .collect();
        let sent_bytes = entries
            .iter()
            .filter_map(|(_, outgoing)| outgoing.as_ref().ok())
            .map(|outgoing| outgoing.message.size_bytes())
            .sum();
        let limit_bytes = MAX_MESSAGE_SIZE_BYTES as usize;
        if sent_bytes > limit_bytes {
            return Err(SqsError::BatchRequestTooLong {
                limit_bytes,
                sent_bytes,
            });
        }
        let now = self.clock.now();
        let mut shared = self.lock();
        shared.queues.queue(name)?;
        Ok(for_each_entry(entries, |id, outgoing| {
            Ok(SendResultEntry {
                id: id.to_owned(),
                result: send(&mut shared, name, outgoing?, now)?,
            })
        }))
    }

    pub(super) fn delete_message_batch(
        &self,
        request: Batch<DeleteInput>,
    ) -> Result<BatchResponse<ResultEntry>, SqsError> {
        self.change_each("DeleteMessageBatchRequestEntry", request, delete)
    }

    pub(super) fn change_message_visibility_batch(
        &self,
        request: Batch<ChangeVisibilityInput>,
    ) -> Result<BatchResponse<ResultEntry>, SqsError> {
        let kind = "ChangeMessageVisibilityBatchRequestEntry";
        self.change_each(kind, request, change_visibility)
    }

    /// Applies `change` to each message of a batch.
    fn change_each<T>(
        &self,
        kind: &'static str,
        request: Batch<T>,
        change: impl Fn(&mut SqsState, &str, T, Millis) -> Result<(), SqsError>,
    ) -> Result<BatchResponse<ResultEntry>, SqsError> {
        let name = queue_name(&request.queue_url)?;
        check_entries(kind, &request.entries)?;
        let now = self.clock.now();
        let mut shared = self.lock();
        shared.queues.queue(name)?;
        let entries = request.entries.into_iter();
        let entries = entries.map(|entry| (entry.id, entry.input));
        Ok(for_each_entry(entries, |id, input| {
            change(&mut shared, name, input, now)?;
            Ok(ResultEntry { id: id.to_owned() })
        }))
    }
}

#[async_trait::async_trait]
impl EventTarget for Sqs {
    fn accepts_events(&self, target_arn: &str, _bucket: &str) -> bool {
        self.has_queue(target_arn)
    }

    async fn send_event(self: Arc<Self>, target_arn: &str, message: String) -> Result<(), String> {
        let sent = self.send_to_arn(target_arn, message).await;
        sent.map_err(|error| error.to_string())
    }
}

impl Outgoing {
    fn parse(content: MessageInput) -> Result<Self, SqsError> {
        let body = content.message_body.filter(|body| !body.is_empty());
        let body = body.ok_or(SqsError::MissingParameter("MessageBody"))?;
        if !body.chars().all(is_allowed) {
            return Err(SqsError::InvalidMessageContents);
        }
        if content.message_deduplication_id.is_some() {
            return Err(SqsError::InvalidParameterValue(
                "The request includes a parameter MessageDeduplicationId that is not valid for this queue type."
                    .to_owned(),
            ));
        }
        let delay_seconds = content
            .delay_seconds
            .map(|delay| seconds("DelaySeconds", delay, MAX_DELAY_SECONDS))
            .transpose()?;
        if content.message_attributes.len() > MAX_MESSAGE_ATTRIBUTES {
            return Err(SqsError::InvalidParameterValue(format!(
                "Number of message attributes [{}] exceeds the allowed maximum [{MAX_MESSAGE_ATTRIBUTES}].",
                content.message_attributes.len()
            )));
        }
        let mut message = Message::new(Uuid::new_v4().to_string(), body);
        message.group_id = content.message_group_id.map(checked_group).transpose()?;
        message.attributes = parse_attributes(content.message_attributes)?;
        let system = parse_attributes(content.message_system_attributes)?;
        let result = SendResult {
            message_id: message.message_id.clone(),
            md5_of_message_body: message.body_md5.clone(),
            md5_of_message_attributes: digest(&message.attributes),
            md5_of_message_system_attributes: digest(&system),
        };
        for (name, attribute) in system {
            match (name.as_str(), attribute.value) {
                ("AWSTraceHeader", AttributeValue::Text(header)) => {
                    message.trace_header = Some(header)
                }
                _ => {
                    return Err(SqsError::InvalidParameterValue(format!(
                        "Message system attribute name '{name}' is invalid."
                    )));
                }
            }
        }
        Ok(Self {
            message,
            delay_seconds,
            result,
        })
    }
}

/// Returns a group's identifier if it has the form that AWS demands.
fn checked_group(group_id: String) -> Result<String, SqsError> {
    let is_valid = (1..=MAX_GROUP_LETTERS).contains(&group_id.len())
        && group_id.bytes().all(|letter| letter.is_ascii_graphic());
    if is_valid {
        return Ok(group_id);
    }
    let reason = "MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length";
    Err(SqsError::invalid_value("MessageGroupId", group_id, reason))
}

fn send(
    shared: &mut SqsState,
    name: &str,
    outgoing: Outgoing,
    now: Millis,
) -> Result<SendResult, SqsError> {
    let queue = shared.queues.queue(name)?;
    let limit = queue.settings().maximum_message_size_bytes;
    if outgoing.message.size_bytes() > limit as usize {
        return Err(SqsError::InvalidParameterValue(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
        )));
    }
    queue.send(outgoing.message, outgoing.delay_seconds, now);
    shared.wake_one(name);
    Ok(outgoing.result)
}

fn delete(
    shared: &mut SqsState,
    name: &str,
    input: DeleteInput,
    now: Millis,
) -> Result<(), SqsError> {
    let handle = input
        .receipt_handle
        .ok_or(SqsError::MissingParameter("ReceiptHandle"))?;
    shared.queues.queue(name)?.delete(&handle, now)
}

fn change_visibility(
    shared: &mut SqsState,
    name: &str,
    input: ChangeVisibilityInput,
    now: Millis,
) -> Result<(), SqsError> {
    let handle = input
        .receipt_handle
        .ok_or(SqsError::MissingParameter("ReceiptHandle"))?;
    let timeout = input
        .visibility_timeout
        .ok_or(SqsError::MissingParameter("VisibilityTimeout"))?;
    let timeout = seconds("VisibilityTimeout", timeout, MAX_VISIBILITY_TIMEOUT_SECONDS)?;
    shared
        .queues
        .queue(name)?
        .change_visibility(&handle, timeout, now)?;
    // The message may become available earlier than the waiting receives expect.
    shared.wake_one(name);
    Ok(())
}

fn check_entries<T>(kind: &'static str, entries: &[BatchEntry<T>]) -> Result<(), SqsError> {
    match entries.len() {
        0 => return Err(SqsError::EmptyBatchRequest(kind)),
        1..=MAX_BATCH_ENTRIES => {}
        many => return Err(SqsError::TooManyEntriesInBatchRequest(many)),
    }
    let mut seen = HashSet::new();
    for BatchEntry { id, .. } in entries {
        if !is_name(id) {
            return Err(SqsError::InvalidBatchEntryId);
        }
        if !seen.insert(id) {
            return Err(SqsError::BatchEntryIdsNotDistinct(id.clone()));
        }
    }
    Ok(())
}

/// Handles each entry of a batch. A failed entry does not affect the others.
fn for_each_entry<E, S>(
    entries: impl IntoIterator<Item = (String, E)>,
    mut handle: impl FnMut(&str, E) -> Result<S, SqsError>,
) -> BatchResponse<S> {
    let mut response = BatchResponse {
        successful: Vec::new(),
        failed: Vec::new(),
    };
    for (id, entry) in entries {
        match handle(&id, entry) {
            Ok(success) => response.successful.push(success),
            Err(error) => response.failed.push(FailedEntry {
                id,
                sender_fault: true,
                code: error.query_code(),
                message: error.to_string(),
            }),
        }
    }
    response
}

/// Returns whether a body or the text of an attribute may have a letter.
pub(super) fn is_allowed(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}
