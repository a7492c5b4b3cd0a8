//! The notification configurations of buckets. Pure.

use std::collections::HashSet;

use s3s::dto::{
    Event, FilterRule, FilterRuleName, LambdaFunctionConfiguration, NotificationConfiguration,
    NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter,
};
use s3s::{S3ErrorCode, S3Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::failure::{failure, invalid_argument, unsupported};

/// A queue or a function, and which events it receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    pub id: String,
    /// Of a queue or a function.
    #[serde(alias = "queue_arn")]
    pub target_arn: String,
    /// With `s3:`; a `*` at the end is a wildcard.
    pub events: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
}

/// S3's events. localcloud sends those of creation, removal and tagging.
const EVENTS: [&str; 27] = [
    "s3:IntelligentTiering",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
    "s3:LifecycleTransition",
    "s3:ObjectAcl:Put",
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Put",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "s3:ObjectRestore:*",
    "s3:ObjectRestore:Completed",
    "s3:ObjectRestore:Delete",
    "s3:ObjectRestore:Post",
    "s3:ObjectTagging:*",
    "s3:ObjectTagging:Delete",
    "s3:ObjectTagging:Put",
    "s3:ReducedRedundancyLostObject",
    "s3:Replication:*",
    "s3:Replication:OperationFailedReplication",
    "s3:Replication:OperationMissedThreshold",
    "s3:Replication:OperationNotTracked",
    "s3:Replication:OperationReplicatedAfterThreshold",
];
const MAX_NOTIFICATIONS: usize = 100;

impl Notification {
    /// Returns whether the target is a function.
    pub fn is_function(&self) -> bool {
        self.target_arn.starts_with("arn:aws:lambda:")
    }

    /// Returns whether the target receives an event (`ObjectCreated:Put`, without `s3:`) about a key.
    pub fn selects(&self, event: &str, key: &str) -> bool {
        let event = format!("s3:{event}");
        self.events.iter().any(|pattern| covers(pattern, &event))
            && key.starts_with(self.prefix.as_deref().unwrap_or_default())
            && key.ends_with(self.suffix.as_deref().unwrap_or_default())
    }

    /// Adds itself to what GetBucketNotificationConfiguration returns.
    pub fn add_to(self, shown: &mut NotificationLists) {
        let rule = |name: &'static str, value: Option<String>| {
            Some(FilterRule {
                name: Some(FilterRuleName::from(name.to_owned())),
                value: Some(value?),
            })
        };
        let is_function = self.is_function();
        let rules: Vec<_> = [rule("Prefix", self.prefix), rule("Suffix", self.suffix)]
            .into_iter()
            .flatten()
            .collect();
        let filter = (!rules.is_empty()).then_some(NotificationConfigurationFilter {
            key: Some(S3KeyFilter {
                filter_rules: Some(rules),
            }),
        });
        let events = self.events.into_iter().map(Into::into).collect();
        if is_function {
            shown.functions.push(LambdaFunctionConfiguration {
                id: Some(self.id),
                lambda_function_arn: self.target_arn,
                events,
                filter,
            });
        } else {
            shown.queues.push(QueueConfiguration {
                id: Some(self.id),
                queue_arn: self.target_arn,
                events,
                filter,
            });
        }
    }

    fn of_queue(configuration: QueueConfiguration) -> S3Result<Self> {
        let QueueConfiguration {
            id,
            queue_arn,
            events,
            filter,
        } = configuration;
        Self::parse(id, queue_arn, events, filter)
    }

    fn of_function(configuration: LambdaFunctionConfiguration) -> S3Result<Self> {
        let LambdaFunctionConfiguration {
            id,
            lambda_function_arn,
            events,
            filter,
        } = configuration;
        Self::parse(id, lambda_function_arn, events, filter)
    }

    fn parse(
        id: Option<String>,
        target_arn: String,
        events: Vec<Event>,
        filter: Option<NotificationConfigurationFilter>,
    ) -> S3Result<Self> {
        let events: Vec<String> = events.into_iter().map(String::from).collect();
        if events.is_empty() {
            return Err(failure(S3ErrorCode::MalformedXML));
        }
        if events.iter().any(|event| !EVENTS.contains(&event.as_str())) {
            return Err(invalid_argument(
                "The event is not supported for notifications",
            ));
        }
        let mut notification = Self {
            id: id.unwrap_or_else(|| Uuid::new_v4().to_string()),
            target_arn,
            events,
            prefix: None,
            suffix: None,
        };
        let rules = filter
            .and_then(|filter| filter.key)
            .and_then(|key| key.filter_rules)
            .unwrap_or_default();
        for rule in rules {
            let name = rule.name.map(|name| name.as_str().to_ascii_lowercase());
            let (field, duplicate) = match name.as_deref() {
                Some("prefix") => (
                    &mut notification.prefix,
                    "Cannot specify more than one prefix rule in a filter.",
                ),
                Some("suffix") => (
                    &mut notification.suffix,
                    "Cannot specify more than one suffix rule in a filter.",
                ),
                _ => {
                    return Err(invalid_argument(
                        "filter rule name must be either prefix or suffix",
                    ));
                }
            };
            if field.is_some() {
                return Err(invalid_argument(duplicate));
            }
            let value = rule.value.unwrap_or_default();
            if value.len() > 1024 {
                return Err(invalid_argument(
                    "Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation",
                ));
            }
            *field = Some(value);
        }
        Ok(notification)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let [prefix, suffix, other_prefix, other_suffix] =
            [&self.prefix, &self.suffix, &other.prefix, &other.suffix]
                .map(|text| text.as_deref().unwrap_or_default());
        let events = self.events.iter().any(|event| {
            other
                .events
                .iter()
                .any(|their| covers(event, their) || covers(their, event))
        });
        events
            && (prefix.starts_with(other_prefix) || other_prefix.starts_with(prefix))
            && (suffix.ends_with(other_suffix) || other_suffix.ends_with(suffix))
    }
}

/// The notifications of a bucket as S3 lists them.
#[derive(Debug, Default)]
pub struct NotificationLists {
    pub queues: Vec<QueueConfiguration>,
    pub functions: Vec<LambdaFunctionConfiguration>,
}

/// Parses and checks a configuration. Whether its queues and functions exist is left to the caller.
///
/// # Errors
/// `NotImplemented` for targets other than queues and functions; `InvalidArgument` and `MalformedXML` as S3 has them.
pub fn parse(configuration: NotificationConfiguration) -> S3Result<Vec<Notification>> {
    let topics = configuration.topic_configurations.unwrap_or_default();
    let functions = configuration
        .lambda_function_configurations
        .unwrap_or_default();
    for (configured, target) in [
        (!topics.is_empty(), "SNS topics"),
        (
            configuration.event_bridge_configuration.is_some(),
            "EventBridge",
        ),
    ] {
        if configured {
            return Err(unsupported(&format!(
                "notifications to {target}; use an SQS queue or a Lambda function"
            )));
        }
    }
    let notifications: Vec<_> = configuration
        .queue_configurations
        .unwrap_or_default()
        .into_iter()
        .map(Notification::of_queue)
        .chain(functions.into_iter().map(Notification::of_function))
        .collect::<S3Result<_>>()?;
    if notifications.len() > MAX_NOTIFICATIONS {
        return Err(invalid_argument("Too many notification configurations"));
    }
    let mut ids = HashSet::new();
    for (position, notification) in notifications.iter().enumerate() {
        if !ids.insert(&notification.id) {
            return Err(invalid_argument(
                "Same ID used for multiple configurations. IDs must be unique",
            ));
        }
        let mut earlier = notifications[..position].iter();
        if earlier.any(|other| notification.overlaps(other)) {
            return Err(invalid_argument(
                "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes are overlapping for the same event type.",
            ));
        }
    }
    Ok(notifications)
}

fn covers(pattern: &str, event: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => event.starts_with(beginning),
        None => pattern == event,
    }
}
