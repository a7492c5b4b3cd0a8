//! A function's resource policy: which services and callers may invoke it.

use serde_json::{Value, json};

use super::LambdaError;
use super::function::Function;
use crate::account::ACCOUNT_ID;

/// What AddPermission grants: a statement of the resource policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    pub id: String,
    /// `lambda:InvokeFunction` or a pattern.
    action: String,
    /// A service such as `s3.amazonaws.com`, an account, or `*`.
    principal: String,
    source_arn: Option<String>,
    source_account: Option<String>,
    url_auth: Option<String>,
}

impl Permission {
    /// Reads the parameters of AddPermission.
    ///
    /// # Errors
    /// When one is missing.
    pub fn read(request: &Value) -> Result<Self, LambdaError> {
        let text = |name: &str| request[name].as_str().map(str::to_owned);
        let required = |name: &str| {
            let missing = || LambdaError::InvalidParameter(format!("{name} is required"));
            text(name).ok_or_else(missing)
        };
        Ok(Self {
            id: required("StatementId")?,
            action: required("Action")?,
            principal: required("Principal")?,
            source_arn: text("SourceArn"),
            source_account: text("SourceAccount"),
            url_auth: text("FunctionUrlAuthType"),
        })
    }

    /// Returns whether a service may invoke the function on behalf of a resource.
    pub fn allows_service(&self, service: &str, source_arn: &str) -> bool {
        let is_action = ["lambda:InvokeFunction", "lambda:Invoke*", "lambda:*", "*"]
            .contains(&self.action.as_str());
        let is_source = self
            .source_arn
            .as_deref()
            .is_none_or(|pattern| crate::wildcard::Pattern::new(pattern).matches(source_arn));
        let is_account = (self.source_account.as_deref()).is_none_or(|it| it == ACCOUNT_ID);
        is_action && is_account && [service, "*"].contains(&self.principal.as_str()) && is_source
    }

    /// Returns whether everyone may call the function's URL of type `NONE`.
    pub fn allows_public_url(&self) -> bool {
        let is_action = [
            "lambda:InvokeFunctionUrl",
            "lambda:Invoke*",
            "lambda:*",
            "*",
        ]
        .contains(&self.action.as_str());
        is_action && self.principal == "*" && self.url_auth.as_deref().is_none_or(|it| it == "NONE")
    }

    /// Returns the statement as a policy has it.
    pub fn json(&self, function: &Function) -> Value {
        let principal = if self.principal == "*" {
            json!("*")
        } else if self.principal.contains('.') {
            json!({ "Service": self.principal })
        } else {
            json!({ "AWS": self.principal })
        };
        let mut statement = json!({
            "Sid": self.id,
            "Effect": "Allow",
            "Principal": principal,
            "Action": self.action,
            "Resource": function.arn,
        });
        let mut condition = json!({});
        if let Some(arn) = &self.source_arn {
            condition["ArnLike"] = json!({ "AWS:SourceArn": arn });
        }
        let mut equals = json!({});
        if let Some(account) = &self.source_account {
            equals["AWS:SourceAccount"] = account.as_str().into();
        }
        if let Some(kind) = &self.url_auth {
            equals["lambda:FunctionUrlAuthType"] = kind.as_str().into();
        }
        if equals.as_object().is_some_and(|it| !it.is_empty()) {
            condition["StringEquals"] = equals;
        }
        if condition.as_object().is_some_and(|it| !it.is_empty()) {
            statement["Condition"] = condition;
        }
        statement
    }
}

/// Returns a policy as text, as GetPolicy has it.
pub fn policy(statements: &[Permission], function: &Function) -> String {
    let statements: Vec<_> = statements.iter().map(|it| it.json(function)).collect();
    json!({ "Version": "2012-10-17", "Id": "default", "Statement": statements }).to_string()
}
