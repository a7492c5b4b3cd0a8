//! Permissions, which are statements of the queue policy. localcloud does not enforce them.

use serde_json::{Map, Value, json};

use super::{NAME_RULE, QueueSettings, SqsError, is_name};

const ATTRIBUTE: &str = "Policy";
const MAX_STATEMENTS: usize = 20;
/// The actions that a permission can name; `*` is all of them.
const ACTIONS: [&str; 9] = [
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
];

impl QueueSettings {
    /// Adds a statement to the policy.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a label that is taken and for an invalid account or action; `OverLimit` beyond 20
    /// statements.
    pub fn add_permission(
        &mut self,
        queue_arn: &str,
        label: &str,
        accounts: &[String],
        actions: &[String],
    ) -> Result<(), SqsError> {
        if !is_name(label) {
            return Err(SqsError::invalid_value("Label", label, NAME_RULE));
        }
        let is_account = |account: &str| {
            account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit())
        };
        if let Some(other) = accounts.iter().find(|account| !is_account(account)) {
            return Err(SqsError::invalid_value(
                "PrincipalId",
                other,
                "Unable to verify",
            ));
        }
        if let Some(other) = actions.iter().find(|one| !ACTIONS.contains(&one.as_str())) {
            return Err(SqsError::invalid_value(
                "ActionName",
                other,
                &format!(
                    "Please refer to the appropriate WSDL for a list of valid actions: {}",
                    ACTIONS[1..].join(", ")
                ),
            ));
        }
        let mut policy = self.policy(queue_arn);
        let statements = statements(&mut policy);
        if statements.iter().any(|one| one["Sid"] == label) {
            return Err(SqsError::invalid_value("Label", label, "Already exists"));
        }
        if statements.len() >= MAX_STATEMENTS {
            return Err(SqsError::TooManyPermissions(statements.len() + 1));
        }
        let principals = accounts
            .iter()
            .map(|account| format!("arn:aws:iam::{account}:root"));
        let actions = actions.iter().map(|action| format!("SQS:{action}"));
        statements.push(json!({
            "Sid": label,
            "Effect": "Allow",
            "Principal": { "AWS": one_or_many(principals) },
            "Action": one_or_many(actions),
            "Resource": queue_arn,
        }));
        self.set_policy(policy);
        Ok(())
    }

    /// Removes a statement from the policy.
    ///
    /// # Errors
    /// `InvalidParameterValue` if no statement has this label.
    pub fn remove_permission(&mut self, queue_arn: &str, label: &str) -> Result<(), SqsError> {
        let mut policy = self.policy(queue_arn);
        let statements = statements(&mut policy);
        let before = statements.len();
        statements.retain(|one| one["Sid"] != label);
        if statements.len() == before {
            let reason = "can't find label on existing policy";
            return Err(SqsError::invalid_value("Label", label, reason));
        }
        if statements.is_empty() {
            self.inert.remove(ATTRIBUTE);
        } else {
            self.set_policy(policy);
        }
        Ok(())
    }

    fn policy(&self, queue_arn: &str) -> Map<String, Value> {
        let present = self.inert.get(ATTRIBUTE);
        match present.and_then(|text| serde_json::from_str(text).ok()) {
            Some(Value::Object(policy)) => policy,
            _ => Map::from_iter([
                ("Version".to_owned(), json!("2012-10-17")),
                (
                    "Id".to_owned(),
                    json!(format!("{queue_arn}/SQSDefaultPolicy")),
                ),
            ]),
        }
    }

    fn set_policy(&mut self, policy: Map<String, Value>) {
        let text = Value::Object(policy).to_string();
        self.inert.insert(ATTRIBUTE.to_owned(), text);
    }
}

/// Returns the policy's statements. A policy may have a single statement without a list.
fn statements(policy: &mut Map<String, Value>) -> &mut Vec<Value> {
    let statements = policy.entry("Statement").or_insert_with(|| json!([]));
    if !statements.is_array() {
        *statements = Value::Array(vec![statements.take()]);
    }
    statements
        .as_array_mut()
        .expect("it was made an array just now")
}

fn one_or_many(texts: impl Iterator<Item = String>) -> Value {
    let texts: Vec<String> = texts.collect();
    match texts.as_slice() {
        [only] => only.as_str().into(),
        _ => texts.into(),
    }
}
