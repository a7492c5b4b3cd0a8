//! Messages as their senders make them, and SQS's digests. The types are stored as they are: see `change_log`.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The identifier that SQS gives the message. The caller draws it, since the state is deterministic.
    pub message_id: String,
    pub body: String,
    /// Lower-case hexadecimal MD5 of the body.
    pub body_md5: String,
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// The system attribute `AWSTraceHeader`, the only one that a sender may set as such.
    pub trace_header: Option<String>,
    /// The group of a fair queue. Its record has it after the other fields, which format 1 of the store fixes.
    #[serde(skip)]
    pub group_id: Option<String>,
}

/// A typed message attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, optionally followed by a dot and a custom label.
    pub data_type: String,
    pub value: AttributeValue,
}

/// The value of a message attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttributeValue {
    Text(String),
    Binary(Vec<u8>),
}

impl Message {
    /// Creates a message without attributes.
    pub fn new(message_id: impl Into<String>, body: impl Into<String>) -> Self {
        let body = body.into();
        Self {
            message_id: message_id.into(),
            body_md5: hex::encode(Md5::digest(&body)),
            body,
            attributes: BTreeMap::new(),
            trace_header: None,
            group_id: None,
        }
    }

    /// Returns the size that `MaximumMessageSize` limits: the body and the attributes' names, types and values.
    pub fn size_bytes(&self) -> usize {
        let attributes: usize = self
            .attributes
            .iter()
            .map(|(name, attribute)| name.len() + attribute.size_bytes())
            .sum();
        self.body.len() + attributes
    }
}

impl MessageAttribute {
    fn size_bytes(&self) -> usize {
        self.data_type.len()
            + match &self.value {
                AttributeValue::Text(text) => text.len(),
                AttributeValue::Binary(bytes) => bytes.len(),
            }
    }
}

/// Returns the MD5 of message attributes that the SQS developer guide defines. For each name in order it covers the
/// length-prefixed name and type, one byte for the transport type (1 text, 2 binary) and the length-prefixed value.
pub fn attributes_md5_hex<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a MessageAttribute)>,
) -> String {
    let mut hasher = Md5::new();
    let update_prefixed = |hasher: &mut Md5, bytes: &[u8]| {
        hasher.update((bytes.len() as u32).to_be_bytes());
        hasher.update(bytes);
    };
    for (name, attribute) in attributes {
        update_prefixed(&mut hasher, name.as_bytes());
        update_prefixed(&mut hasher, attribute.data_type.as_bytes());
        match &attribute.value {
            AttributeValue::Text(text) => {
                hasher.update([1]);
                update_prefixed(&mut hasher, text.as_bytes());
            }
            AttributeValue::Binary(bytes) => {
                hasher.update([2]);
                update_prefixed(&mut hasher, bytes);
            }
        }
    }
    hex::encode(hasher.finalize())
}
