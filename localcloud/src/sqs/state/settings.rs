//! The attributes of a queue that its owner sets.

use std::collections::BTreeMap;

use super::error::SqsError;

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
    /// Attributes that are stored and answered, but change nothing here (`Policy`, encryption).
    pub inert: AttributeMap,
}

/// Where messages go that were received too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedrivePolicy {
    pub dead_letter_target_arn: String,
    /// A message received this often goes to the dead-letter queue instead of being delivered once more; 1 to 1000.
    pub max_receive_count: u32,
}

/// The longest visibility timeout: 12 hours.
pub const MAX_VISIBILITY_TIMEOUT_SECONDS: u32 = 43_200;
/// The longest delay of a message.
pub const MAX_DELAY_SECONDS: u32 = 900;
/// The longest wait of a long poll.
pub const MAX_RECEIVE_WAIT_SECONDS: u32 = 20;
/// The largest message, and the largest sum of a batch.
pub const MAX_MESSAGE_SIZE_BYTES: u32 = 1_048_576;

const INERT: [&str; 5] = [
    "Policy",
    "RedriveAllowPolicy",
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
            inert: AttributeMap::from([("SqsManagedSseEnabled".to_owned(), "true".to_owned())]),
        }
    }
}

impl QueueSettings {
    /// These settings with `attributes` applied over them.
    ///
    /// # Errors
    /// `InvalidAttributeName` for a name that cannot be set, `InvalidAttributeValue` for a value out of range and
    /// `InvalidParameterValue` for a malformed redrive policy. Nothing is applied then.
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
                // An empty policy takes the old one away, as in AWS.
                "RedrivePolicy" if value.is_empty() => settings.redrive_policy = None,
                "RedrivePolicy" => settings.redrive_policy = Some(RedrivePolicy::parse(value)?),
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

    /// The settings whose `attributes` these are.
    ///
    /// # Errors
    /// As `with`.
    pub fn from_attributes(mut attributes: AttributeMap) -> Result<Self, SqsError> {
        let defaults = Self::default();
        // What is not there was taken away, which an empty value says.
        for name in defaults.attributes().into_keys() {
            attributes.entry(name).or_default();
        }
        defaults.with(&attributes)
    }

    /// The attributes as clients read them.
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
        attributes
    }
}

impl RedrivePolicy {
    fn parse(text: &str) -> Result<Self, SqsError> {
        let invalid = |reason: &str| {
            SqsError::InvalidParameterValue(format!(
                "Value {text} for parameter RedrivePolicy is invalid. Reason: {reason}."
            ))
        };
        let policy: serde_json::Value = serde_json::from_str(text)
            .map_err(|_| invalid("Redrive policy is not a valid JSON map"))?;
        let dead_letter_target_arn = policy["deadLetterTargetArn"]
            .as_str()
            .ok_or_else(|| {
                invalid("Redrive policy does not contain mandatory attribute: deadLetterTargetArn")
            })?
            .to_owned();
        // Clients write the count as a number or as a string.
        let count = &policy["maxReceiveCount"];
        let max_receive_count = count
            .as_u64()
            .or_else(|| count.as_str().and_then(|digits| digits.parse().ok()))
            .filter(|count| (1..=1000).contains(count))
            .ok_or_else(|| invalid("Invalid value for maxReceiveCount"))?
            as u32;
        Ok(Self {
            dead_letter_target_arn,
            max_receive_count,
        })
    }

    fn to_json(&self) -> String {
        serde_json::json!({
            "deadLetterTargetArn": self.dead_letter_target_arn,
            "maxReceiveCount": self.max_receive_count,
        })
        .to_string()
    }
}

fn within(name: &str, value: &str, least: u32, most: u32) -> Result<u32, SqsError> {
    value
        .trim()
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| SqsError::InvalidAttributeValue(name.to_owned()))
}
