//! IAM's managed policies: those of the account, and AWS's own, which are known by their names.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{AccountResult, invalid, required, whole_number};
use crate::clock::Millis;
use crate::common_error::CommonError;
use crate::iam::{AWS_POLICY, CreatedRole, iam_arn, managed_arns, managed_document};

const MAX_POLICIES: usize = 1500;
const MAX_DOCUMENT: usize = 6144;
const MAX_NAME: usize = 128;
/// IAM's default quota of managed policies for a user or a role.
const MAX_ATTACHED: usize = 10;

/// The policies of the account by ARN.
#[derive(Debug, Default)]
pub struct Policies(BTreeMap<String, ManagedPolicy>);

#[derive(Debug)]
struct ManagedPolicy {
    id: String,
    path: String,
    description: Option<String>,
    document: String,
    created: Millis,
}

/// The ARNs of the policies attached to one user or role.
#[derive(Debug, Default, Clone)]
pub struct Attached(BTreeSet<String>);

impl Policies {
    pub fn create(&mut self, request: &Value, now: Millis) -> AccountResult {
        let name = required(request, "PolicyName")?;
        check_name(name, "policyName", MAX_NAME)?;
        let path = path(request)?;
        let arn = iam_arn("policy", &format!("{}{name}", &path[1..]));
        if self.0.contains_key(&arn) {
            let message =
                format!("A policy called {name} already exists. Duplicate names are not allowed.");
            return Err(already_exists(message));
        }
        if self.0.len() >= MAX_POLICIES {
            return Err(limit_exceeded("PoliciesPerAccount", MAX_POLICIES));
        }
        let document = document(request, "PolicyDocument", MAX_DOCUMENT)?;
        CreatedRole::new("any", &BTreeMap::new()).policy(name, document)?;
        let policy = ManagedPolicy {
            id: id("ANPA"),
            path: path.to_owned(),
            description: request["Description"].as_str().map(str::to_owned),
            document: document.to_owned(),
            created: now,
        };
        self.0.insert(arn.clone(), policy);
        Ok(json!({ "Policy": self.described(&arn, 0)? }))
    }

    /// Describes a policy, which is attached to a number of users and roles.
    pub fn get(&self, request: &Value, attachments: impl Fn(&str) -> usize) -> AccountResult {
        let arn = required(request, "PolicyArn")?;
        Ok(json!({ "Policy": self.described(arn, attachments(arn))? }))
    }

    pub fn delete(
        &mut self,
        request: &Value,
        attachments: impl Fn(&str) -> usize,
    ) -> AccountResult {
        let arn = required(request, "PolicyArn")?;
        if !self.0.contains_key(arn) {
            return Err(not_found(arn));
        }
        if attachments(arn) > 0 {
            return Err(delete_conflict(
                "Cannot delete a policy attached to entities.",
            ));
        }
        self.0.remove(arn);
        Ok(Value::Null)
    }

    pub fn list(&self, request: &Value, attachments: impl Fn(&str) -> usize) -> AccountResult {
        let scope = request["Scope"].as_str().unwrap_or("All");
        if !["All", "AWS", "Local"].contains(&scope) {
            return Err(invalid(format!(
                "Value '{scope}' at 'scope' failed to satisfy constraint: Member must satisfy enum value set: [AWS, Local, All]"
            )));
        }
        let only_attached = request["OnlyAttached"] == "true";
        let own = self.0.keys().filter(|_| scope != "AWS").cloned();
        let arns = own.chain(managed_arns().filter(|_| scope != "Local"));
        let policies: Vec<Value> = arns
            .filter(|arn| !only_attached || attachments(arn) > 0)
            .map(|arn| self.described(&arn, attachments(&arn)))
            .collect::<Result<_, _>>()?;
        page(request, "Policies", &policies)
    }

    /// Returns the document of a policy; `None` if it is AWS's and localcloud does not know what it allows.
    pub fn document(&self, arn: &str) -> Option<String> {
        let own = self.0.get(arn).map(|policy| policy.document.clone());
        own.or_else(|| Some(managed_document(arn)?.to_string()))
    }

    fn exists(&self, arn: &str) -> bool {
        let is_aws = arn
            .strip_prefix(AWS_POLICY)
            .is_some_and(|name| !name.is_empty());
        is_aws || self.0.contains_key(arn)
    }

    fn described(&self, arn: &str, attachments: usize) -> Result<Value, CommonError> {
        if !self.exists(arn) {
            return Err(not_found(arn));
        }
        let mut described = json!({
            "PolicyName": name_of(arn), "PolicyId": "ANPAZKAPJZG4ONPM5SVHG", "Arn": arn, "Path": "/",
            "DefaultVersionId": "v1", "AttachmentCount": attachments, "PermissionsBoundaryUsageCount": 0,
            "IsAttachable": true, "CreateDate": 1_423_248_037, "UpdateDate": 1_423_248_037,
        });
        if let Some(own) = self.0.get(arn) {
            described["PolicyId"] = json!(own.id);
            described["Path"] = json!(own.path);
            described["CreateDate"] = json!(own.created / 1000);
            described["UpdateDate"] = json!(own.created / 1000);
            if let Some(description) = &own.description {
                described["Description"] = json!(description);
            }
        } else if arn.starts_with(&format!("{AWS_POLICY}service-role/")) {
            described["Path"] = json!("/service-role/");
        }
        Ok(described)
    }
}

impl Attached {
    pub fn attach(&mut self, policies: &Policies, arn: &str, quota: &str) -> AccountResult {
        if !policies.exists(arn) {
            return Err(no_such_entity(format!(
                "Policy {arn} does not exist or is not attachable."
            )));
        }
        if self.0.len() >= MAX_ATTACHED && !self.0.contains(arn) {
            return Err(limit_exceeded(quota, MAX_ATTACHED));
        }
        self.0.insert(arn.to_owned());
        Ok(Value::Null)
    }

    pub fn detach(&mut self, arn: &str) -> AccountResult {
        match self.0.remove(arn) {
            true => Ok(Value::Null),
            false => Err(no_such_entity(format!("Policy {arn} was not found."))),
        }
    }

    pub fn list(&self, request: &Value) -> AccountResult {
        let policies: Vec<Value> = self
            .0
            .iter()
            .map(|arn| json!({ "PolicyName": name_of(arn), "PolicyArn": arn }))
            .collect();
        page(request, "AttachedPolicies", &policies)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, arn: &str) -> bool {
        self.0.contains(arn)
    }

    pub fn arns(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }
}

/// Returns a page of a listing. A marker is the number of items before.
///
/// # Errors
/// `ValidationError` for a wrong bound or marker.
pub fn page(request: &Value, name: &str, items: &[Value]) -> AccountResult {
    let from = whole_number(request, "Marker")?.unwrap_or(0);
    let most = whole_number(request, "MaxItems")?.unwrap_or(100);
    if !(1..=1000).contains(&most) {
        return Err(invalid("The parameter MaxItems is not from 1 to 1000."));
    }
    let rest = items.get(from..).unwrap_or_default();
    let page = &rest[..rest.len().min(most)];
    let mut reply = json!({ name: page, "IsTruncated": page.len() < rest.len() });
    if page.len() < rest.len() {
        reply["Marker"] = json!((from + page.len()).to_string());
    }
    Ok(reply)
}

/// Returns the path of a new entity.
///
/// # Errors
/// `ValidationError`.
pub fn path(request: &Value) -> Result<&str, CommonError> {
    let path = request["Path"].as_str().unwrap_or("/");
    let is_allowed = |letter: char| letter.is_ascii_graphic();
    let is_path = path.starts_with('/') && path.ends_with('/') && path.chars().all(is_allowed);
    if is_path && path.len() <= 512 {
        return Ok(path);
    }
    Err(invalid(
        "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.",
    ))
}

/// Checks the name of an entity.
///
/// # Errors
/// `ValidationError`.
pub fn check_name(name: &str, field: &str, most: usize) -> Result<(), CommonError> {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || "+=,.@_-".contains(letter);
    if name.len() <= most && name.chars().all(is_allowed) {
        return Ok(());
    }
    Err(invalid(format!(
        "The specified value for {field} is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-"
    )))
}

/// Returns a policy document, which is a JSON object.
///
/// # Errors
/// `MalformedPolicyDocument`, `LimitExceeded`.
pub fn document<'a>(request: &'a Value, field: &str, most: usize) -> Result<&'a str, CommonError> {
    let text = required(request, field)?;
    let characters = text.chars().filter(|letter| !letter.is_whitespace());
    if characters.count() > most {
        return Err(limit_exceeded("PolicySize", most));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(_)) => Ok(text),
        _ => Err(malformed("This policy contains invalid Json")),
    }
}

/// Returns an identifier of an entity.
pub fn id(prefix: &str) -> String {
    let id = Uuid::new_v4().simple().to_string().to_uppercase();
    format!("{prefix}{}", &id[..17])
}

fn name_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

fn not_found(arn: &str) -> CommonError {
    no_such_entity(format!("Policy {arn} was not found."))
}

pub fn no_such_entity(message: String) -> CommonError {
    CommonError::new("NoSuchEntity", StatusCode::NOT_FOUND, message)
}

pub fn already_exists(message: String) -> CommonError {
    CommonError::new("EntityAlreadyExists", StatusCode::CONFLICT, message)
}

pub fn delete_conflict(message: &str) -> CommonError {
    CommonError::new("DeleteConflict", StatusCode::CONFLICT, message)
}

pub fn limit_exceeded(quota: &str, most: usize) -> CommonError {
    let message = format!("Cannot exceed quota for {quota}: {most}");
    CommonError::new("LimitExceeded", StatusCode::CONFLICT, message)
}

pub fn malformed(message: impl Into<String>) -> CommonError {
    CommonError::new("MalformedPolicyDocument", StatusCode::BAD_REQUEST, message)
}
