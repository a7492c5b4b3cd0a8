//! The accesses that calls need, and what a role may not reach by way of a function.
//!
//! Source: "Actions, resources, and condition keys for AWS Lambda",
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awslambda.html>.

use http::request::Parts;
use serde_json::Value;

use super::api::action_of;
use super::function::{self, name_of};
use super::{Lambda, LambdaError};
use crate::iam::{Access, iam_arn};

/// What a function's role needs for a queue that starts the function.
const OF_POLLING: [&str; 3] = [
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
];

/// A call as its policies see it.
#[derive(Debug)]
pub struct LambdaCall {
    action: &'static str,
    /// In the path: of a function, a mapping or a resource.
    name: String,
    /// `Null` without a body of JSON, and for Invoke.
    request: Value,
}

impl LambdaCall {
    pub fn of(parts: &Parts, body: &[u8]) -> Self {
        let (action, name) = action_of(&parts.method, parts.uri.path());
        let request = match action {
            "Invoke" => Value::Null,
            _ => serde_json::from_slice(body).unwrap_or_default(),
        };
        Self {
            action,
            name,
            request,
        }
    }
}

impl Lambda {
    /// Returns the accesses that a call needs.
    pub fn accesses(&self, call: &LambdaCall) -> Vec<Access> {
        let LambdaCall {
            action,
            name,
            request,
        } = call;
        let permission = match *action {
            "Invoke" => "InvokeFunction",
            other => other,
        };
        let named = request["FunctionName"].as_str().unwrap_or_default();
        let resource = match *action {
            "ListFunctions" | "GetAccountSettings" | "ListEventSourceMappings" => "*".to_owned(),
            "CreateFunction" | "CreateEventSourceMapping" => {
                function::arn(&self.region, name_of(named))
            }
            _ if action.contains("EventSourceMapping") => "*".to_owned(),
            _ => function::arn(&self.region, name_of(name)),
        };
        let mut accesses = vec![Access::new(format!("lambda:{permission}"), resource)];
        match *action {
            "CreateFunction" => {
                accesses.extend(code_access(&request["Code"]));
                accesses.extend(self.pass_role(request));
            }
            "UpdateFunctionConfiguration" => accesses.extend(self.pass_role(request)),
            "UpdateFunctionCode" => accesses.extend(code_access(request)),
            _ => {}
        }
        accesses
    }

    /// Returns the access that hands a role over to a function.
    fn pass_role(&self, request: &Value) -> Option<Access> {
        let arn = request["Role"].as_str()?;
        // The path in an ARN does not tell roles apart.
        let role = self.iam.role_named(arn);
        let arn = role.map_or_else(|| arn.to_owned(), |role| iam_arn("role", &role.name));
        let pass = Access::new("iam:PassRole", arn);
        Some(pass.with("iam:PassedToService", "lambda.amazonaws.com"))
    }

    /// Checks that a call of a role gives a function no more than AWS would: not the messages of a queue that the
    /// function's role may not receive.
    ///
    /// # Errors
    /// `InvalidParameter`.
    pub fn check_grants(&self, call: &LambdaCall) -> Result<(), LambdaError> {
        let text = |name: &str| call.request[name].as_str();
        match call.action {
            "CreateEventSourceMapping" => self.check_polling(
                text("FunctionName").unwrap_or_default(),
                text("EventSourceArn").unwrap_or_default(),
            ),
            "UpdateEventSourceMapping" => {
                match (text("FunctionName"), self.event_source_mapping(&call.name)) {
                    (Some(function), Ok(mapping)) => {
                        let queue = mapping["EventSourceArn"].as_str().unwrap_or_default();
                        self.check_polling(function, queue)
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn check_polling(&self, function: &str, queue_arn: &str) -> Result<(), LambdaError> {
        let role = {
            let state = self.lock();
            let entry = state.functions.get(name_of(function));
            entry.map(|entry| entry.function.role.clone())
        };
        let role = role.and_then(|role| self.iam.role_or_deleted(&role));
        let denied = role.and_then(|role| {
            let mut needed = OF_POLLING.into_iter();
            needed.find(|action| !role.allows(&Access::new(*action, queue_arn)))
        });
        match denied {
            Some(action) => {
                let action = action.trim_start_matches("sqs:");
                Err(LambdaError::InvalidParameter(format!(
                    "The provided execution role does not have permissions to call {action} on SQS"
                )))
            }
            None => Ok(()),
        }
    }
}

/// Returns the access that reads code from S3. Code in the request takes precedence.
fn code_access(code: &Value) -> Option<Access> {
    let bucket = code["S3Bucket"].as_str()?;
    if code["ZipFile"].is_string() {
        return None;
    }
    let key = code["S3Key"].as_str().unwrap_or_default();
    Some(Access::new(
        "s3:GetObject",
        format!("arn:aws:s3:::{bucket}/{key}"),
    ))
}
