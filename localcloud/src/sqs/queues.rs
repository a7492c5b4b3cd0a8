//! Actions on queues.

use super::wire::{
    AddPermission, Attributes, CreateQueue, Empty, GetQueueAttributes, GetQueueUrl,
    ListDeadLetterSourceQueues, ListQueues, QueueRequest, QueueUrl, QueueUrls, RemovePermission,
    SetQueueAttributes, SourceQueueUrls, TagQueue, Tags, UntagQueue,
};
use super::{Sqs, SqsError, queue_name, queue_url};
use crate::account::ACCOUNT_ID;

/// The attributes that a request can name. Those that a queue lacks are left out of the response.
const KNOWN_ATTRIBUTES: [&str; 22] = [
    "All",
    "Policy",
    "VisibilityTimeout",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
    "ApproximateNumberOfMessagesDelayed",
    "DelaySeconds",
    "ReceiveMessageWaitTimeSeconds",
    "RedrivePolicy",
    "FifoQueue",
    "ContentBasedDeduplication",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "DeduplicationScope",
    "FifoThroughputLimit",
    "RedriveAllowPolicy",
    "SqsManagedSseEnabled",
];
const MAX_QUEUES_PER_PAGE: usize = 1000;

impl Sqs {
    pub(super) fn create_queue(
        &self,
        request: CreateQueue,
        base_url: &str,
    ) -> Result<QueueUrl, SqsError> {
        let name = request
            .queue_name
            .ok_or(SqsError::MissingParameter("QueueName"))?;
        self.lock().queues.create_queue(
            &name,
            &request.attributes,
            request.tags,
            self.clock.now(),
        )?;
        Ok(QueueUrl {
            queue_url: queue_url(base_url, &name),
        })
    }

    pub(super) fn delete_queue(&self, request: QueueRequest) -> Result<Empty, SqsError> {
        let name = queue_name(&request.queue_url)?;
        let mut shared = self.lock();
        shared.queues.delete_queue(name)?;
        // The waiting receives then fail, since the queue is gone.
        if let Some(waiters) = shared.waiters.get(name) {
            waiters.notify_waiters();
        }
        Ok(Empty {})
    }

    pub(super) fn get_queue_url(
        &self,
        request: GetQueueUrl,
        base_url: &str,
    ) -> Result<QueueUrl, SqsError> {
        let name = request
            .queue_name
            .ok_or(SqsError::MissingParameter("QueueName"))?;
        if request
            .queue_owner_aws_account_id
            .is_some_and(|owner| owner != ACCOUNT_ID)
        {
            return Err(SqsError::QueueDoesNotExist);
        }
        self.lock().queues.queue(&name)?;
        Ok(QueueUrl {
            queue_url: queue_url(base_url, &name),
        })
    }

    pub(super) fn list_queues(
        &self,
        request: ListQueues,
        base_url: &str,
    ) -> Result<QueueUrls, SqsError> {
        let prefix = request.queue_name_prefix.unwrap_or_default();
        let shared = self.lock();
        let names = shared.queues.queue_names(&prefix);
        let (names, next_token) = page(names, request.max_results, request.next_token)?;
        Ok(QueueUrls {
            queue_urls: urls(base_url, names),
            next_token,
        })
    }

    pub(super) fn list_dead_letter_source_queues(
        &self,
        request: ListDeadLetterSourceQueues,
        base_url: &str,
    ) -> Result<SourceQueueUrls, SqsError> {
        let name = queue_name(&request.queue_url)?;
        let mut shared = self.lock();
        shared.queues.queue(name)?;
        let names = shared.queues.dead_letter_sources(name);
        let (names, next_token) = page(names, request.max_results, request.next_token)?;
        Ok(SourceQueueUrls {
            queue_urls: urls(base_url, names),
            next_token,
        })
    }

    pub(super) fn add_permission(&self, request: AddPermission) -> Result<Empty, SqsError> {
        let name = queue_name(&request.queue_url)?;
        let label = request.label.ok_or(SqsError::MissingParameter("Label"))?;
        if request.aws_account_ids.is_empty() {
            return Err(SqsError::MissingParameter("AWSAccountIds"));
        }
        if request.actions.is_empty() {
            return Err(SqsError::MissingParameter("Actions"));
        }
        let (accounts, actions) = (request.aws_account_ids, request.actions);
        let now = self.clock.now();
        self.lock()
            .queues
            .change_policy(name, now, |settings, arn| {
                settings.add_permission(arn, &label, &accounts, &actions)
            })?;
        Ok(Empty {})
    }

    pub(super) fn remove_permission(&self, request: RemovePermission) -> Result<Empty, SqsError> {
        let name = queue_name(&request.queue_url)?;
        let label = request.label.ok_or(SqsError::MissingParameter("Label"))?;
        let now = self.clock.now();
        self.lock()
            .queues
            .change_policy(name, now, |settings, arn| {
                settings.remove_permission(arn, &label)
            })?;
        Ok(Empty {})
    }

    pub(super) fn get_queue_attributes(
        &self,
        request: GetQueueAttributes,
    ) -> Result<Attributes, SqsError> {
        let name = queue_name(&request.queue_url)?;
        if let Some(unknown) = request
            .attribute_names
            .iter()
            .find(|name| !KNOWN_ATTRIBUTES.contains(&name.as_str()))
        {
            return Err(SqsError::InvalidAttributeName(unknown.clone()));
        }
        let mut attributes = self.lock().queues.attributes(name, self.clock.now())?;
        if !request.attribute_names.iter().any(|name| name == "All") {
            attributes.retain(|name, _| request.attribute_names.contains(name));
        }
        Ok(Attributes { attributes })
    }

    pub(super) fn set_queue_attributes(
        &self,
        request: SetQueueAttributes,
    ) -> Result<Empty, SqsError> {
        let name = queue_name(&request.queue_url)?;
        self.lock()
            .queues
            .set_attributes(name, &request.attributes, self.clock.now())?;
        Ok(Empty {})
    }

    pub(super) fn purge_queue(&self, request: QueueRequest) -> Result<Empty, SqsError> {
        let name = queue_name(&request.queue_url)?;
        self.lock().queues.queue(name)?.purge(self.clock.now())?;
        Ok(Empty {})
    }

    pub(super) fn tag_queue(&self, request: TagQueue) -> Result<Empty, SqsError> {
        let name = queue_name(&request.queue_url)?;
        self.lock().queues.tag_queue(name, request.tags)?;
        Ok(Empty {})
    }

    pub(super) fn untag_queue(&self, request: UntagQueue) -> Result<Empty, SqsError> {
        let name = queue_name(&request.queue_url)?;
        self.lock().queues.queue(name)?.untag(&request.tag_keys);
        Ok(Empty {})
    }

    pub(super) fn list_queue_tags(&self, request: QueueRequest) -> Result<Tags, SqsError> {
        let name = queue_name(&request.queue_url)?;
        Ok(Tags {
            tags: self.lock().queues.queue(name)?.tags().clone(),
        })
    }
}

/// Returns a page of names and the token of the next page. As AWS does, it returns a token only if the request sets
/// `MaxResults`.
fn page<'a>(
    names: impl Iterator<Item = &'a str>,
    max_results: Option<i64>,
    next_token: Option<String>,
) -> Result<(Vec<&'a str>, Option<String>), SqsError> {
    let size = match max_results {
        None => MAX_QUEUES_PER_PAGE,
        Some(size) => usize::try_from(size)
            .ok()
            .filter(|size| (1..=MAX_QUEUES_PER_PAGE).contains(size))
            .ok_or_else(|| {
                SqsError::InvalidParameterValue("MaxResults must be between 1 and 1000.".to_owned())
            })?,
    };
    let after = next_token.unwrap_or_default();
    let mut names = names.filter(|name| *name > after.as_str()).peekable();
    let page: Vec<&str> = names.by_ref().take(size).collect();
    let more = max_results.is_some() && names.peek().is_some();
    let next_token = page.last().filter(|_| more).map(|last| (*last).to_owned());
    Ok((page, next_token))
}

fn urls(base_url: &str, names: Vec<&str>) -> Vec<String> {
    names
        .into_iter()
        .map(|name| queue_url(base_url, name))
        .collect()
}
