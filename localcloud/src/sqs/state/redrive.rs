//! What dead-letter queues and their sources say about each other.

use serde_json::{Value, json};

use super::error::SqsError;

/// Where messages go that were received too often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedrivePolicy {
    pub dead_letter_target_arn: String,
    /// A message received this often goes to the dead-letter queue instead of being delivered once more; 1 to 1000.
    pub max_receive_count: u32,
}

/// Whose dead-letter queue a queue may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedriveAllowPolicy {
    AllowAll,
    DenyAll,
    /// Of these sources, by ARN.
    ByQueue(Vec<String>),
}

const MOST_SOURCES: usize = 10;

impl RedrivePolicy {
    /// Reads the attribute's JSON.
    ///
    /// # Errors
    /// `InvalidParameterValue`.
    pub fn parse(text: &str) -> Result<Self, SqsError> {
        let invalid = |reason: &str| invalid("RedrivePolicy", text, reason);
        let policy: Value = serde_json::from_str(text)
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

    /// As `parse` reads it.
    pub fn to_json(&self) -> String {
        json!({
            "deadLetterTargetArn": self.dead_letter_target_arn,
            "maxReceiveCount": self.max_receive_count,
        })
        .to_string()
    }
}

impl RedriveAllowPolicy {
    /// Reads the attribute's JSON.
    ///
    /// # Errors
    /// `InvalidParameterValue`.
    pub fn parse(text: &str) -> Result<Self, SqsError> {
        let invalid = |reason: &str| invalid("RedriveAllowPolicy", text, reason);
        let policy: Value = serde_json::from_str(text)
            .map_err(|_| invalid("Redrive allow policy is not a valid JSON map"))?;
        let sources = &policy["sourceQueueArns"];
        let permission = policy["redrivePermission"].as_str();
        match permission {
            Some("byQueue") => {}
            Some("allowAll" | "denyAll") if !sources.is_null() => {
                return Err(invalid(
                    "sourceQueueArns can only be specified when redrivePermission is byQueue",
                ));
            }
            Some("allowAll") => return Ok(Self::AllowAll),
            Some("denyAll") => return Ok(Self::DenyAll),
            _ => {
                return Err(invalid(
                    "redrivePermission must be allowAll, denyAll or byQueue",
                ));
            }
        }
        let sources: Vec<String> = sources
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|arn| arn.as_str().map(str::to_owned))
            .collect();
        if (1..=MOST_SOURCES).contains(&sources.len()) {
            Ok(Self::ByQueue(sources))
        } else {
            Err(invalid("sourceQueueArns must hold 1 to 10 ARNs"))
        }
    }

    /// As `parse` reads it.
    pub fn to_json(&self) -> String {
        match self {
            Self::AllowAll => json!({ "redrivePermission": "allowAll" }),
            Self::DenyAll => json!({ "redrivePermission": "denyAll" }),
            Self::ByQueue(sources) => json!({
                "redrivePermission": "byQueue",
                "sourceQueueArns": sources,
            }),
        }
        .to_string()
    }

    /// Whether a queue with this ARN may give its dead messages here.
    pub fn allows(&self, source_arn: &str) -> bool {
        match self {
            Self::AllowAll => true,
            Self::DenyAll => false,
            Self::ByQueue(sources) => sources.iter().any(|allowed| allowed == source_arn),
        }
    }
}

fn invalid(parameter: &str, text: &str, reason: &str) -> SqsError {
    SqsError::InvalidParameterValue(format!(
        "Value {text} for parameter {parameter} is invalid. Reason: {reason}."
    ))
}
