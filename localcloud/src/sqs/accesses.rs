//! The accesses of SQS's calls.
//!
//! Source: "Actions, resources, and condition keys for Amazon SQS",
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html>, and "Amazon SQS API
//! permissions: Actions and resource reference",
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html>.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::move_tasks::source_arn_of;
use super::query::json_of_form;
use super::{SqsError, decode};
use crate::account::ACCOUNT_ID;
use crate::iam::Access;

/// The parameters of any call that name queues.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SqsCall {
    pub queue_url: Option<String>,
    pub queue_name: Option<String>,
    pub source_arn: Option<String>,
    pub destination_arn: Option<String>,
    pub task_handle: Option<String>,
    #[serde(rename = "tags")]
    pub tags: Option<BTreeMap<String, String>>,
}

impl SqsCall {
    /// Reads the body of the JSON protocol.
    ///
    /// # Errors
    /// `SerializationException`. The call must be refused: its action may read less of the body, and succeed.
    pub fn of_json(body: &[u8]) -> Result<Self, SqsError> {
        decode(body)
    }

    /// Reads a form of the query protocol by the translation that carries it out, so that both name the same queue.
    ///
    /// # Errors
    /// As `json_of_form` and `of_json`.
    pub fn of_form(form: &[u8], path: &str) -> Result<Self, SqsError> {
        let (_, body) = json_of_form(form, path)?;
        decode(&body)
    }

    /// Returns the accesses that the call needs in a region.
    pub fn accesses(&self, region: &str, action: &str) -> Vec<Access> {
        let named = |name: &str| format!("arn:aws:sqs:{region}:{ACCOUNT_ID}:{name}");
        // SQS takes the name from the end of the URL, too.
        let of_url = |url: &String| {
            let name = url.trim_end_matches('/').rsplit('/').next();
            named(name.unwrap_or_default())
        };
        let queue = match action {
            "ListQueues" => return vec![Access::new("sqs:ListQueues", "*")],
            "CreateQueue" | "GetQueueUrl" => self.queue_name.as_deref().map(named),
            "StartMessageMoveTask" | "ListMessageMoveTasks" => self.source_arn.clone(),
            "CancelMessageMoveTask" => self.task_handle.as_deref().and_then(source_arn_of),
            _ => self.queue_url.as_ref().map(of_url),
        };
        let queue = queue.unwrap_or_else(|| named("*"));
        let of_queue = |action: &str| Access::new(format!("sqs:{action}"), &queue);
        match action {
            "CreateQueue" if self.tags.is_some() => {
                vec![of_queue(action), of_queue("TagQueue")]
            }
            "StartMessageMoveTask" | "CancelMessageMoveTask" => {
                let on_source = [
                    action,
                    "ReceiveMessage",
                    "DeleteMessage",
                    "GetQueueAttributes",
                ];
                let destination = self.destination_arn.iter();
                let sends = destination.map(|arn| Access::new("sqs:SendMessage", arn));
                on_source.map(of_queue).into_iter().chain(sends).collect()
            }
            // A batch needs the action of its entries.
            action => vec![of_queue(action.trim_end_matches("Batch"))],
        }
    }
}
