//! The redrive policies of sources and of dead-letter queues.

use serde_json::{Value, json};

use super::error::SqsError;

/// The dead-letter queue of a source, and when messages go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedrivePolicy {
    pub dead_letter_target_arn: String,
    /// After so many receives (1 to 1000) a message goes to the dead-letter queue.
    pub max_receive_count: u32,
}

/// The sources that may use a queue as their dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedriveAllowPolicy {
    AllowAll,
    DenyAll,
    /// The sources' ARNs.
    ByQueue(Vec<String>),
}

const MAX_SOURCES: usize = 10;

impl RedrivePolicy {
    /// Parses the attribute's JSON.
    ///
    /// # Errors
    /// `InvalidParameterValue`.
    pub fn parse(text: &str) -> Result<Self, SqsError> {
        let invalid = |reason: &str| SqsError::invalid_value("RedrivePolicy", text, reason);
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

    /// Returns the JSON that `parse` reads.
    pub fn to_json(&self) -> String {
        json!({
            "deadLetterTargetArn": self.dead_letter_target_arn,
            "maxReceiveCount": self.max_receive_count,
        })
        .to_string()
    }
}

impl RedriveAllowPolicy {
    /// Parses the attribute's JSON.
    ///
    /// # Errors
    /// `InvalidParameterValue`.
    pub fn parse(text: &str) -> Result<Self, SqsError> {
        let invalid = |reason: &str| SqsError::invalid_value("RedriveAllowPolicy", text, reason);
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
        if (1..=MAX_SOURCES).contains(&sources.len()) {
            Ok(Self::ByQueue(sources))
        } else {
            Err(invalid("sourceQueueArns must hold 1 to 10 ARNs"))
        }
    }

    /// Returns the JSON that `parse` reads.
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

    /// Returns whether a source may use the queue as its dead-letter queue.
    pub fn allows(&self, source_arn: &str) -> bool {
        match self {
            Self::AllowAll => true,
            Self::DenyAll => false,
            Self::ByQueue(sources) => sources.iter().any(|allowed| allowed == source_arn),
        }
    }
}
