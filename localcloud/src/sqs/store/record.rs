//! The keys and values of the store. Changing them, or the stored types of `state`, changes the format; the test
//! `the_bytes_of_format_1_stay_the_same` fails then.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::MessageKey;
use crate::clock::Millis;
use crate::sqs::state::{Message, MessageContent};

/// The key of a record. Its numbers are big-endian, so records sort by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    Format,
    NextIncarnation,
    Queue(u64),
    Content(MessageKey),
    State(MessageKey),
}

/// The stored form of `MessageContent`.
#[derive(Debug, Serialize, Deserialize)]
struct StoredContent<'a> {
    message: Cow<'a, Message>,
    sent: Millis,
    dead_letter_source_arn: Option<Cow<'a, str>>,
}

impl Key {
    /// The prefix of the keys of queues.
    pub const QUEUES: &'static [u8] = b"q";

    /// Returns the prefix of the keys of a queue's message states.
    pub fn states_of(incarnation: u64) -> Vec<u8> {
        key(b's', &[incarnation])
    }

    /// Returns the prefix of the keys of a queue's message contents.
    pub fn contents_of(incarnation: u64) -> Vec<u8> {
        key(b'm', &[incarnation])
    }

    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::Format => b"format".to_vec(),
            Self::NextIncarnation => b"next incarnation".to_vec(),
            Self::Queue(incarnation) => key(b'q', &[incarnation]),
            Self::Content(of) => key(b'm', &[of.incarnation, of.sequence]),
            Self::State(of) => key(b's', &[of.incarnation, of.sequence]),
        }
    }

    /// Parses the key of a message's content or state.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, numbers) = bytes.split_first()?;
        let (incarnation, sequence) = numbers.split_first_chunk::<8>()?;
        let key = MessageKey {
            incarnation: u64::from_be_bytes(*incarnation),
            sequence: u64::from_be_bytes(sequence.try_into().ok()?),
        };
        match kind {
            b'm' => Some(Self::Content(key)),
            b's' => Some(Self::State(key)),
            _ => None,
        }
    }
}

/// Encodes the content of a message. The group follows the rest if there is one, so that the records of other messages stay
/// those of format 1.
pub fn encode_content(content: &MessageContent) -> Vec<u8> {
    let mut bytes = encode(&StoredContent {
        message: Cow::Borrowed(&content.message),
        sent: content.sent,
        dead_letter_source_arn: content.dead_letter_source_arn.as_deref().map(Cow::Borrowed),
    });
    if let Some(group_id) = &content.message.group_id {
        bytes.extend(encode(group_id));
    }
    bytes
}

/// Decodes the content of a message; `None` for other bytes.
pub fn decode_content(bytes: &[u8]) -> Option<MessageContent> {
    let (stored, rest) = postcard::take_from_bytes::<StoredContent<'_>>(bytes).ok()?;
    let mut message = stored.message.into_owned();
    if !rest.is_empty() {
        message.group_id = Some(decode(rest)?);
    }
    Some(MessageContent {
        message: Arc::new(message),
        sent: stored.sent,
        dead_letter_source_arn: stored.dead_letter_source_arn.map(Arc::from),
    })
}

pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain values of known length are written to memory")
}

/// Decodes a value that fills the bytes; `None` for other bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

fn key(kind: u8, numbers: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + 8 * numbers.len());
    bytes.push(kind);
    for number in numbers {
        bytes.extend(number.to_be_bytes());
    }
    bytes
}
