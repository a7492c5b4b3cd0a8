//! The requests and responses of the actions, with the names of the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::state::AttributeMap;

/// Declares requests. Their members are in Pascal case on the wire, and may be missing.
macro_rules! requests {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Default, Deserialize)]
            #[serde(rename_all = "PascalCase", default)]
            pub struct $name {
                $($(#[$field_meta])* pub $field: $type,)*
            }
        )*
    };
}

/// Declares responses. Their members are in Pascal case on the wire.
macro_rules! responses {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Serialize)]
            #[serde(rename_all = "PascalCase")]
            pub struct $name {
                $($(#[$field_meta])* pub $field: $type,)*
            }
        )*
    };
}

requests! {
    CreateQueue {
        queue_name: Option<String>,
        attributes: AttributeMap,
        /// The protocol's only member that is not in Pascal case.
        #[serde(rename = "tags")]
        tags: AttributeMap,
    }
    GetQueueUrl {
        queue_name: Option<String>,
        #[serde(rename = "QueueOwnerAWSAccountId")]
        queue_owner_aws_account_id: Option<String>,
    }
    ListQueues {
        queue_name_prefix: Option<String>,
        max_results: Option<i64>,
        next_token: Option<String>,
    }
    ListDeadLetterSourceQueues {
        queue_url: Option<String>,
        max_results: Option<i64>,
        next_token: Option<String>,
    }
    AddPermission {
        queue_url: Option<String>,
        label: Option<String>,
        #[serde(rename = "AWSAccountIds")]
        aws_account_ids: Vec<String>,
        actions: Vec<String>,
    }
    RemovePermission {
        queue_url: Option<String>,
        label: Option<String>,
    }
    StartMessageMoveTask {
        source_arn: Option<String>,
        destination_arn: Option<String>,
        max_number_of_messages_per_second: Option<i64>,
    }
    CancelMessageMoveTask {
        task_handle: Option<String>,
    }
    ListMessageMoveTasks {
        source_arn: Option<String>,
        max_results: Option<i64>,
    }
    /// A request that only names a queue.
    QueueRequest {
        queue_url: Option<String>,
    }
    GetQueueAttributes {
        queue_url: Option<String>,
        attribute_names: Vec<String>,
    }
    SetQueueAttributes {
        queue_url: Option<String>,
        attributes: AttributeMap,
    }
    TagQueue {
        queue_url: Option<String>,
        tags: AttributeMap,
    }
    UntagQueue {
        queue_url: Option<String>,
        tag_keys: Vec<String>,
    }
    /// A message of `SendMessage` or `SendMessageBatch`.
    MessageInput {
        message_body: Option<String>,
        delay_seconds: Option<i64>,
        message_attributes: BTreeMap<String, WireAttribute>,
        message_system_attributes: BTreeMap<String, WireAttribute>,
        message_deduplication_id: Option<String>,
        message_group_id: Option<String>,
    }
    /// A message of `DeleteMessage` or `DeleteMessageBatch`.
    DeleteInput {
        receipt_handle: Option<String>,
    }
    /// A message of `ChangeMessageVisibility` or `ChangeMessageVisibilityBatch`.
    ChangeVisibilityInput {
        receipt_handle: Option<String>,
        visibility_timeout: Option<i64>,
    }
    ReceiveMessage {
        queue_url: Option<String>,
        attribute_names: Vec<String>,
        message_system_attribute_names: Vec<String>,
        message_attribute_names: Vec<String>,
        max_number_of_messages: Option<i64>,
        visibility_timeout: Option<i64>,
        wait_time_seconds: Option<i64>,
    }
}

responses! {
    /// A response without members.
    Empty {}
    QueueUrl {
        queue_url: String,
    }
    QueueUrls {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        queue_urls: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<String>,
    }
    /// The response of `ListDeadLetterSourceQueues`, which spells its member differently.
    SourceQueueUrls {
        #[serde(rename = "queueUrls")]
        queue_urls: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_token: Option<String>,
    }
    MoveTaskStarted {
        task_handle: String,
    }
    MoveTaskCancelled {
        approximate_number_of_messages_moved: u64,
    }
    MoveTasks {
        results: Vec<WireMoveTask>,
    }
    WireMoveTask {
        #[serde(skip_serializing_if = "Option::is_none")]
        task_handle: Option<String>,
        status: &'static str,
        source_arn: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        destination_arn: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_number_of_messages_per_second: Option<u32>,
        approximate_number_of_messages_moved: u64,
        approximate_number_of_messages_to_move: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        failure_reason: Option<&'static str>,
        /// Milliseconds since the Unix epoch.
        started_timestamp: u64,
    }
    Attributes {
        #[serde(skip_serializing_if = "AttributeMap::is_empty")]
        attributes: AttributeMap,
    }
    Tags {
        #[serde(skip_serializing_if = "AttributeMap::is_empty")]
        tags: AttributeMap,
    }
    SendResult {
        message_id: String,
        #[serde(rename = "MD5OfMessageBody")]
        md5_of_message_body: String,
        #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
        md5_of_message_attributes: Option<String>,
        #[serde(rename = "MD5OfMessageSystemAttributes", skip_serializing_if = "Option::is_none")]
        md5_of_message_system_attributes: Option<String>,
    }
    SendResultEntry {
        id: String,
        #[serde(flatten)]
        result: SendResult,
    }
    ResultEntry {
        id: String,
    }
    FailedEntry {
        id: String,
        sender_fault: bool,
        code: &'static str,
        message: String,
    }
    Messages {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        messages: Vec<WireMessage>,
    }
    WireMessage {
        message_id: String,
        receipt_handle: String,
        #[serde(rename = "MD5OfBody")]
        md5_of_body: String,
        body: String,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        attributes: BTreeMap<&'static str, String>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        message_attributes: BTreeMap<String, WireAttribute>,
        #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
        md5_of_message_attributes: Option<String>,
    }
}

/// A message attribute, in requests and in responses.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WireAttribute {
    pub data_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
    /// The model has lists; SQS rejects them.
    #[serde(skip_serializing)]
    pub string_list_values: Vec<String>,
    #[serde(skip_serializing)]
    pub binary_list_values: Vec<String>,
}

/// A request for one message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Single<T> {
    pub queue_url: Option<String>,
    #[serde(flatten)]
    pub input: T,
}

/// A request for several messages.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Batch<T> {
    pub queue_url: Option<String>,
    #[serde(default = "Vec::new")]
    pub entries: Vec<BatchEntry<T>>,
}

/// An entry of a batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BatchEntry<T> {
    #[serde(default)]
    pub id: String,
    #[serde(flatten)]
    pub input: T,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BatchResponse<S> {
    /// AWS sends an empty list rather than none.
    pub successful: Vec<S>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedEntry>,
}
