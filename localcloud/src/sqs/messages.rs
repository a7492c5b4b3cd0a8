//! Sending, deleting and changing the visibility of messages, one by one and in batches.

use std::collections::{BTreeMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::state::{
    AttributeValue, MAX_DELAY_SECONDS, MAX_MESSAGE_SIZE_BYTES, MAX_VISIBILITY_TIMEOUT_SECONDS,
    MessageAttribute, NewMessage, QueueSettings, attributes_md5_hex,
};
use super::wire::{
    AttributeOnWire, Batch, BatchAnswer, ChangeMessageVisibility, ChangeVisibilityEntry,
    DeleteEntry, DeleteMessage, DoneEntry, Empty, FailedEntry, MessageContent, SendEntry,
    SendMessage, Sent, SentEntry,
};
use super::{Shared, Sqs, SqsError, queue_name, seconds};
use crate::clock::Millis;

const MOST_BATCH_ENTRIES: usize = 10;
const MOST_MESSAGE_ATTRIBUTES: usize = 10;

/// A message that may be stored, and what its sender is told then.
struct Outgoing {
    message: NewMessage,
    delay_seconds: Option<u32>,
    sent: Sent,
}

impl Sqs {
    pub(super) fn send_message(&self, request: SendMessage) -> Result<Sent, SqsError> {
        let name = queue_name(&request.queue_url)?;
        let outgoing = Outgoing::parse(request.content)?;
        let sent = send(&mut self.lock(), name, outgoing, self.clock.now())?;
        Ok(sent)
    }

    /// Sends a message on behalf of another service to the queue of an ARN.
    ///
    /// # Errors
    /// As `SendMessage`; `QueueDoesNotExist` also where the ARN is of another region or account.
    pub async fn deliver_event(&self, queue_arn: &str, body: String) -> Result<(), SqsError> {
        let content = MessageContent {
            message_body: Some(body),
            ..MessageContent::default()
        };
        let outgoing = Outgoing::parse(content)?;
        {
            let mut shared = self.lock();
            let name = shared.queues.name_of_arn(queue_arn)?;
            send(&mut shared, &name, outgoing, self.clock.now())?;
        }
        self.kept().await
    }

    /// Whether there is a queue of this ARN.
    pub fn has_queue(&self, queue_arn: &str) -> bool {
        self.lock().queues.name_of_arn(queue_arn).is_ok()
    }

    pub(super) fn delete_message(&self, request: DeleteMessage) -> Result<Empty, SqsError> {
        let name = queue_name(&request.queue_url)?;
        let handle = request
            .receipt_handle
            .ok_or(SqsError::MissingParameter("ReceiptHandle"))?;
        self.lock()
            .queues
            .queue(name)?
            .delete(&handle, self.clock.now())?;
        Ok(Empty {})
    }

    pub(super) fn change_message_visibility(
        &self,
        request: ChangeMessageVisibility,
    ) -> Result<Empty, SqsError> {
        let name = queue_name(&request.queue_url)?;
        change_visibility(
            &mut self.lock(),
            name,
            request.receipt_handle,
            request.visibility_timeout,
            self.clock.now(),
        )?;
        Ok(Empty {})
    }

    pub(super) fn send_message_batch(
        &self,
        request: Batch<SendEntry>,
    ) -> Result<BatchAnswer<SentEntry>, SqsError> {
        let name = queue_name(&request.queue_url)?;
        check_entries(
            "SendMessageBatchRequestEntry",
            request.entries.iter().map(|entry| &entry.id),
        )?;
        let entries: Vec<_> = request
            .entries
            .into_iter()
            .map(|entry| (entry.id, Outgoing::parse(entry.content)))
            .collect();
        let sent_bytes = entries
            .iter()
            .filter_map(|(_, outgoing)| outgoing.as_ref().ok())
            .map(Outgoing::size_bytes)
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
        Ok(answer_each(entries, |id, outgoing| {
            Ok(SentEntry {
                id: id.to_owned(),
                sent: send(&mut shared, name, outgoing?, now)?,
            })
        }))
    }

    pub(super) fn delete_message_batch(
        &self,
        request: Batch<DeleteEntry>,
    ) -> Result<BatchAnswer<DoneEntry>, SqsError> {
        let name = queue_name(&request.queue_url)?;
        check_entries(
            "DeleteMessageBatchRequestEntry",
            request.entries.iter().map(|entry| &entry.id),
        )?;
        let now = self.clock.now();
        let mut shared = self.lock();
        let queue = shared.queues.queue(name)?;
        let entries = request
            .entries
            .into_iter()
            .map(|entry| (entry.id, entry.receipt_handle));
        Ok(answer_each(entries, |id, handle| {
            queue.delete(
                &handle.ok_or(SqsError::MissingParameter("ReceiptHandle"))?,
                now,
            )?;
            Ok(DoneEntry { id: id.to_owned() })
        }))
    }

    pub(super) fn change_message_visibility_batch(
        &self,
        request: Batch<ChangeVisibilityEntry>,
    ) -> Result<BatchAnswer<DoneEntry>, SqsError> {
        let name = queue_name(&request.queue_url)?;
        check_entries(
            "ChangeMessageVisibilityBatchRequestEntry",
            request.entries.iter().map(|entry| &entry.id),
        )?;
        let now = self.clock.now();
        let mut shared = self.lock();
        shared.queues.queue(name)?;
        let entries = request
            .entries
            .into_iter()
            .map(|entry| (entry.id, (entry.receipt_handle, entry.visibility_timeout)));
        Ok(answer_each(entries, |id, (handle, timeout)| {
            change_visibility(&mut shared, name, handle, timeout, now)?;
            Ok(DoneEntry { id: id.to_owned() })
        }))
    }
}

impl Outgoing {
    fn parse(content: MessageContent) -> Result<Self, SqsError> {
        let body = content.message_body.filter(|body| !body.is_empty());
        let body = body.ok_or(SqsError::MissingParameter("MessageBody"))?;
        if !body.chars().all(is_allowed_in_body) {
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
        if content.message_attributes.len() > MOST_MESSAGE_ATTRIBUTES {
            return Err(SqsError::InvalidParameterValue(format!(
                "Number of message attributes [{}] exceeds the allowed maximum [{MOST_MESSAGE_ATTRIBUTES}].",
                content.message_attributes.len()
            )));
        }
        let mut message = NewMessage::new(Uuid::new_v4().to_string(), body);
        message.attributes = parse_attributes(content.message_attributes)?;
        let system = parse_attributes(content.message_system_attributes)?;
        let sent = Sent {
            message_id: message.message_id.clone(),
            md5_of_message_body: message.body_md5.clone(),
            md5_of_message_attributes: digest_unless_empty(&message.attributes),
            md5_of_message_system_attributes: digest_unless_empty(&system),
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
            sent,
        })
    }

    fn size_bytes(&self) -> usize {
        self.message.size_bytes()
    }
}

fn send(
    shared: &mut Shared,
    name: &str,
    outgoing: Outgoing,
    now: Millis,
) -> Result<Sent, SqsError> {
    let queue = shared.queues.queue(name)?;
    check_size(queue.settings(), outgoing.size_bytes())?;
    queue.send(outgoing.message, outgoing.delay_seconds, now);
    shared.wake_one(name);
    Ok(outgoing.sent)
}

fn check_size(settings: &QueueSettings, size_bytes: usize) -> Result<(), SqsError> {
    let most = settings.maximum_message_size_bytes;
    if size_bytes > most as usize {
        return Err(SqsError::InvalidParameterValue(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {most} bytes."
        )));
    }
    Ok(())
}

fn change_visibility(
    shared: &mut Shared,
    name: &str,
    receipt_handle: Option<String>,
    visibility_timeout: Option<i64>,
    now: Millis,
) -> Result<(), SqsError> {
    let handle = receipt_handle.ok_or(SqsError::MissingParameter("ReceiptHandle"))?;
    let timeout = visibility_timeout.ok_or(SqsError::MissingParameter("VisibilityTimeout"))?;
    let timeout = seconds("VisibilityTimeout", timeout, MAX_VISIBILITY_TIMEOUT_SECONDS)?;
    shared
        .queues
        .queue(name)?
        .change_visibility(&handle, timeout, now)?;
    // The message may be due earlier than whoever waits believes.
    shared.wake_one(name);
    Ok(())
}

fn check_entries<'a>(
    kind: &'static str,
    ids: impl ExactSizeIterator<Item = &'a String>,
) -> Result<(), SqsError> {
    match ids.len() {
        0 => return Err(SqsError::EmptyBatchRequest(kind)),
        1..=MOST_BATCH_ENTRIES => {}
        many => return Err(SqsError::TooManyEntriesInBatchRequest(many)),
    }
    let mut seen = HashSet::new();
    for id in ids {
        let allowed =
            |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        if id.is_empty() || id.len() > 80 || !id.chars().all(allowed) {
            return Err(SqsError::InvalidBatchEntryId);
        }
        if !seen.insert(id) {
            return Err(SqsError::BatchEntryIdsNotDistinct(id.clone()));
        }
    }
    Ok(())
}

/// Carries out each entry; one that fails does not keep the others from succeeding.
fn answer_each<E, S>(
    entries: impl IntoIterator<Item = (String, E)>,
    mut carry_out: impl FnMut(&str, E) -> Result<S, SqsError>,
) -> BatchAnswer<S> {
    let mut answer = BatchAnswer {
        successful: Vec::new(),
        failed: Vec::new(),
    };
    for (id, entry) in entries {
        match carry_out(&id, entry) {
            Ok(success) => answer.successful.push(success),
            Err(error) => answer.failed.push(FailedEntry {
                id,
                sender_fault: true,
                code: error.query_code(),
                message: error.to_string(),
            }),
        }
    }
    answer
}

fn parse_attributes(
    attributes: BTreeMap<String, AttributeOnWire>,
) -> Result<BTreeMap<String, MessageAttribute>, SqsError> {
    attributes
        .into_iter()
        .map(|(name, attribute)| {
            let parsed = parse_attribute(&name, attribute)?;
            Ok((name, parsed))
        })
        .collect()
}

fn parse_attribute(name: &str, attribute: AttributeOnWire) -> Result<MessageAttribute, SqsError> {
    let invalid = |reason: &str| {
        SqsError::InvalidParameterValue(format!(
            "The message attribute '{name}' is invalid. Reason: {reason}"
        ))
    };
    check_attribute_name(name).map_err(invalid)?;
    if !attribute.string_list_values.is_empty() || !attribute.binary_list_values.is_empty() {
        return Err(SqsError::UnsupportedOperation(
            "Message attribute list values in SendMessage operation are not supported.".to_owned(),
        ));
    }
    let data_type = attribute
        .data_type
        .filter(|data_type| !data_type.is_empty());
    let data_type =
        data_type.ok_or_else(|| invalid("it must contain a non-empty message attribute type."))?;
    let value = match (
        data_type.split('.').next(),
        attribute.string_value,
        attribute.binary_value,
    ) {
        (Some("String" | "Number"), Some(text), None) if !text.is_empty() => {
            AttributeValue::Text(text)
        }
        (Some("Binary"), None, Some(encoded)) => AttributeValue::Binary(
            STANDARD
                .decode(encoded)
                .map_err(|_| invalid("the value is not base64."))?,
        ),
        (Some("String" | "Number" | "Binary"), _, _) => {
            return Err(invalid(
                "it must contain a non-empty value of its type, and no other.",
            ));
        }
        _ => {
            return Err(invalid(
                "the type prefix must be 'Binary', 'Number', or 'String'.",
            ));
        }
    };
    if let (true, AttributeValue::Text(text)) = (data_type.starts_with("Number"), &value)
        && !is_number(text)
    {
        return Err(invalid("the value is not a number of at most 38 digits."));
    }
    Ok(MessageAttribute { data_type, value })
}

fn check_attribute_name(name: &str) -> Result<(), &'static str> {
    let letters = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    if name.is_empty() || name.len() > 256 || !name.chars().all(letters) {
        return Err("a name has 1 to 256 letters, digits, underscores, hyphens and dots.");
    }
    if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return Err("a name has dots neither at its ends nor beside each other.");
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("aws.") || lower.starts_with("amazon.") {
        return Err("names that begin with AWS. or Amazon. are reserved.");
    }
    Ok(())
}

/// A decimal number as SQS takes it: at most 38 digits, from 1e-128 to 1e126 in size.
fn is_number(text: &str) -> bool {
    let text = text.trim();
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.trim_start_matches(['+', '-']).replace('.', "");
    let significant = digits.trim_start_matches('0').len();
    let only_digits = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let size = text.parse::<f64>().map(f64::abs);
    only_digits
        && significant <= 38
        && size.is_ok_and(|size| size == 0.0 || (1e-128..=1e126).contains(&size))
}

fn digest_unless_empty(attributes: &BTreeMap<String, MessageAttribute>) -> Option<String> {
    (!attributes.is_empty()).then(|| attributes_md5_hex(attributes))
}

fn is_allowed_in_body(letter: char) -> bool {
    matches!(letter, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}
