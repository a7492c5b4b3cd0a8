//! The settable attributes of a queue.

use std::collections::BTreeMap;

use super::error::SqsError;
use super::redrive::{RedriveAllowPolicy, RedrivePolicy};

/// Attributes as clients write them: name to value, every value a string.
pub type AttributeMap = BTreeMap<String, String>;

/// The settable attributes of a queue, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSettings {
    pub delay_seconds: u32,
    pub maximum_message_size_bytes: u32,
    pub message_retention_seconds: u32,
    pub receive_wait_seconds: u32,
    pub visibility_timeout_seconds: u32,
    pub redrive_policy: Option<RedrivePolicy>,
    pub redrive_allow_policy: Option<RedriveAllowPolicy>,
    /// Attributes without effect in localcloud, such as `Policy` and encryption.
    pub inert: AttributeMap,
}

pub const MAX_VISIBILITY_TIMEOUT_SECONDS: u32 = 43_200;
pub const MAX_DELAY_SECONDS: u32 = 900;
pub const MAX_RECEIVE_WAIT_SECONDS: u32 = 20;
/// The limit of a message, and of all messages of a batch together.
pub const MAX_MESSAGE_SIZE_BYTES: u32 = 1_048_576;

const INERT: [&str; 4] = [
    "Policy",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "SqsManagedSseEnabled",
];

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            delay_seconds: 0,
            maximum_message_size_bytes: MAX_MESSAGE_SIZE_BYTES,
            message_retention_seconds: 345_600,
            receive_wait_seconds: 0,
            visibility_timeout_seconds: 30,
            redrive_policy: None,
            redrive_allow_policy: None,
            inert: AttributeMap::from([("SqsManagedSseEnabled".to_owned(), "true".to_owned())]),
        }
    }
}

impl QueueSettings {
    /// Returns these settings with `attributes` changed.
    ///
    /// # Errors
    /// `InvalidAttributeName` for an unknown name, `InvalidAttributeValue` for a value out of range and
    /// `InvalidParameterValue` for a malformed redrive or redrive allow policy.
    pub fn with(&self, attributes: &AttributeMap) -> Result<Self, SqsError> {
        let mut settings = self.clone();
        for (name, value) in attributes {
            match name.as_str() {
                "DelaySeconds" => {
                    settings.delay_seconds = within(name, value, 0, MAX_DELAY_SECONDS)?
                }
                "MaximumMessageSize" => {
                    settings.maximum_message_size_bytes =
                        within(name, value, 1024, MAX_MESSAGE_SIZE_BYTES)?
                }
                "MessageRetentionPeriod" => {
                    settings.message_retention_seconds = within(name, value, 60, 1_209_600)?
                }
                "ReceiveMessageWaitTimeSeconds" => {
                    settings.receive_wait_seconds =
                        within(name, value, 0, MAX_RECEIVE_WAIT_SECONDS)?
                }
                "VisibilityTimeout" => {
                    settings.visibility_timeout_seconds =
                        within(name, value, 0, MAX_VISIBILITY_TIMEOUT_SECONDS)?
                }
                // An empty value removes the policy, as in AWS.
                "RedrivePolicy" if value.is_empty() => settings.redrive_policy = None,
                "RedrivePolicy" => settings.redrive_policy = Some(RedrivePolicy::parse(value)?),
                "RedriveAllowPolicy" if value.is_empty() => settings.redrive_allow_policy = None,
                "RedriveAllowPolicy" => {
                    settings.redrive_allow_policy = Some(RedriveAllowPolicy::parse(value)?)
                }
                "Policy" if !value.is_empty() && !is_json_map(value) => {
                    return Err(SqsError::InvalidAttributeValue(name.clone()));
                }
                name if INERT.contains(&name) && value.is_empty() => {
                    settings.inert.remove(name);
                }
                name if INERT.contains(&name) => {
                    settings.inert.insert(name.to_owned(), value.clone());
                }
                _ => return Err(SqsError::InvalidAttributeName(name.clone())),
            }
        }
        Ok(settings)
    }

    /// Parses what `attributes` returns.
    ///
    /// # Errors
    /// As `with`.
    pub fn from_attributes(mut attributes: AttributeMap) -> Result<Self, SqsError> {
        let defaults = Self::default();
        // An attribute that is missing was removed; an empty value removes the default.
        for name in defaults.attributes().into_keys() {
            attributes.entry(name).or_default();
        }
        defaults.with(&attributes)
    }

    /// Returns the attributes as clients read them.
    pub fn attributes(&self) -> AttributeMap {
        let mut attributes = self.inert.clone();
        let mut insert = |name: &str, value: String| attributes.insert(name.to_owned(), value);
        insert("DelaySeconds", self.delay_seconds.to_string());
        insert(
            "MaximumMessageSize",
            self.maximum_message_size_bytes.to_string(),
        );
        insert(
            "MessageRetentionPeriod",
            self.message_retention_seconds.to_string(),
        );
        insert(
            "ReceiveMessageWaitTimeSeconds",
            self.receive_wait_seconds.to_string(),
        );
        insert(
            "VisibilityTimeout",
            self.visibility_timeout_seconds.to_string(),
        );
        if let Some(policy) = &self.redrive_policy {
            insert("RedrivePolicy", policy.to_json());
        }
        if let Some(policy) = &self.redrive_allow_policy {
            insert("RedriveAllowPolicy", policy.to_json());
        }
        attributes
    }
}

fn is_json_map(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok()
}

fn within(name: &str, value: &str, min: u32, max: u32) -> Result<u32, SqsError> {
    value
        .trim()
        .parse()
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| SqsError::InvalidAttributeValue(name.to_owned()))
}
