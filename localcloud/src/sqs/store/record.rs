//! The keys and values of the store. A change here, or of the state's types that are written as they are, is a new
//! format: the test of the bytes says so.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Place;
use crate::clock::Millis;
use crate::sqs::state::{MessageContent, NewMessage};

/// What a record is about. Numbers are big-endian in keys, so that records are in the order of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    Format,
    NextIncarnation,
    Queue(u64),
    Content(Place),
    State(Place),
}

/// A message's content with its shared parts taken apart.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredContent<'a> {
    message: Cow<'a, NewMessage>,
    sent: Millis,
    dead_letter_source_arn: Option<Cow<'a, str>>,
}

impl Key {
    /// What the keys of all queues begin with.
    pub const QUEUES: &'static [u8] = b"q";

    /// What the keys of the states of a queue's messages begin with.
    pub fn states_of(incarnation: u64) -> Vec<u8> {
        key(b's', &[incarnation])
    }

    /// What the keys of the contents of a queue's messages begin with.
    pub fn contents_of(incarnation: u64) -> Vec<u8> {
        key(b'm', &[incarnation])
    }

    pub fn bytes(self) -> Vec<u8> {
        match self {
            Self::Format => b"format".to_vec(),
            Self::NextIncarnation => b"next incarnation".to_vec(),
            Self::Queue(incarnation) => key(b'q', &[incarnation]),
            Self::Content(place) => key(b'm', &[place.incarnation, place.sequence]),
            Self::State(place) => key(b's', &[place.incarnation, place.sequence]),
        }
    }

    /// Reads a message's key back.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, numbers) = bytes.split_first()?;
        let (incarnation, sequence) = numbers.split_first_chunk::<8>()?;
        let place = Place {
            incarnation: u64::from_be_bytes(*incarnation),
            sequence: u64::from_be_bytes(sequence.try_into().ok()?),
        };
        match kind {
            b'm' => Some(Self::Content(place)),
            b's' => Some(Self::State(place)),
            _ => None,
        }
    }
}

impl<'a> StoredContent<'a> {
    pub fn of(content: &'a MessageContent) -> Self {
        Self {
            message: Cow::Borrowed(&content.message),
            sent: content.sent,
            dead_letter_source_arn: content.dead_letter_source_arn.as_deref().map(Cow::Borrowed),
        }
    }

    pub fn into_content(self) -> MessageContent {
        MessageContent {
            message: Arc::new(self.message.into_owned()),
            sent: self.sent,
            dead_letter_source_arn: self.dead_letter_source_arn.map(Arc::from),
        }
    }
}

pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain values of known length are written to memory")
}

/// Reads a value that fills the bytes; `None` if they are something else.
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
