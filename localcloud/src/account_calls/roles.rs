//! IAM's roles that callers make, and their policies. They are kept and described; what a configured role may do is enforced
//! by `iam`.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::users::{AWS_POLICY, no_such_entity};
use super::{Reply, invalid, required};
use crate::clock::Millis;
use crate::common_error::CommonError;
use crate::iam::iam_arn;

const MAX_NAME_LENGTH: usize = 64;
const MAX_ROLES: usize = 1_000;

/// The roles by name.
#[derive(Debug, Default)]
pub struct Roles(BTreeMap<String, Role>);

#[derive(Debug)]
struct Role {
    id: String,
    created: Millis,
    description: String,
    trust: String,
    /// The documents of the inline policies, by name.
    inline: BTreeMap<String, String>,
    /// The ARNs of the attached policies.
    attached: BTreeSet<String>,
}

impl Roles {
    pub fn create(&mut self, request: &Value, now: Millis) -> Reply {
        let name = required(request, "RoleName")?;
        let is_allowed =
            |letter: char| letter.is_ascii_alphanumeric() || "+=,.@_-".contains(letter);
        if name.len() > MAX_NAME_LENGTH || !name.chars().all(is_allowed) {
            return Err(invalid(
                "The specified value for roleName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-",
            ));
        }
        let trust = document(request, "AssumeRolePolicyDocument")?;
        if self.0.contains_key(name) {
            let message = format!("Role with name {name} already exists.");
            return Err(CommonError::new(
                "EntityAlreadyExists",
                StatusCode::CONFLICT,
                message,
            ));
        }
        if self.0.len() >= MAX_ROLES {
            let message = format!("Cannot exceed quota for RolesPerAccount: {MAX_ROLES}");
            return Err(CommonError::new(
                "LimitExceeded",
                StatusCode::CONFLICT,
                message,
            ));
        }
        let id = Uuid::new_v4().simple().to_string().to_uppercase();
        let role = Role {
            id: format!("AROA{}", &id[..17]),
            created: now,
            description: request["Description"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            trust,
            inline: BTreeMap::new(),
            attached: BTreeSet::new(),
        };
        let described = role.described(name);
        self.0.insert(name.to_owned(), role);
        Ok(json!({ "Role": described }))
    }

    pub fn get(&mut self, request: &Value) -> Reply {
        let name = required(request, "RoleName")?;
        Ok(json!({ "Role": self.role(request)?.described(name) }))
    }

    pub fn list(&self) -> Reply {
        let roles: Vec<_> = self
            .0
            .iter()
            .map(|(name, role)| role.described(name))
            .collect();
        Ok(json!({ "Roles": roles, "IsTruncated": false }))
    }

    pub fn delete(&mut self, request: &Value) -> Reply {
        let name = required(request, "RoleName")?;
        let role = self.role(request)?;
        let rest = [
            ("delete policies", role.inline.is_empty()),
            ("detach all policies", role.attached.is_empty()),
        ];
        if let Some((what, _)) = rest.iter().find(|(_, is_done)| !is_done) {
            let message = format!("Cannot delete entity, must {what} first.");
            return Err(CommonError::new(
                "DeleteConflict",
                StatusCode::CONFLICT,
                message,
            ));
        }
        self.0.remove(name);
        Ok(Value::Null)
    }

    pub fn put_policy(&mut self, request: &Value) -> Reply {
        let name = required(request, "PolicyName")?.to_owned();
        let policy = document(request, "PolicyDocument")?;
        self.role(request)?.inline.insert(name, policy);
        Ok(Value::Null)
    }

    pub fn get_policy(&mut self, request: &Value) -> Reply {
        let (name, role) = (
            required(request, "PolicyName")?,
            required(request, "RoleName")?,
        );
        let policy = self.role(request)?.inline.get(name);
        let policy = policy.ok_or_else(|| no_inline_policy(name))?;
        Ok(json!({ "RoleName": role, "PolicyName": name, "PolicyDocument": encoded(policy) }))
    }

    pub fn delete_policy(&mut self, request: &Value) -> Reply {
        let name = required(request, "PolicyName")?;
        let policy = self.role(request)?.inline.remove(name);
        policy
            .map(|_| Value::Null)
            .ok_or_else(|| no_inline_policy(name))
    }

    pub fn list_policies(&mut self, request: &Value) -> Reply {
        let names: Vec<_> = self.role(request)?.inline.keys().cloned().collect();
        Ok(json!({ "PolicyNames": names, "IsTruncated": false }))
    }

    pub fn attach(&mut self, request: &Value) -> Reply {
        let policy = required(request, "PolicyArn")?;
        let role = self.role(request)?;
        described_policy(policy)?;
        role.attached.insert(policy.to_owned());
        Ok(Value::Null)
    }

    pub fn detach(&mut self, request: &Value) -> Reply {
        let policy = required(request, "PolicyArn")?;
        if self.role(request)?.attached.remove(policy) {
            Ok(Value::Null)
        } else {
            Err(no_such_entity(format!("Policy {policy} was not found.")))
        }
    }

    pub fn list_attached(&mut self, request: &Value) -> Reply {
        let attached = self.role(request)?.attached.iter();
        let attached: Vec<_> = attached
            .map(|arn| json!({ "PolicyName": name_of(arn), "PolicyArn": arn }))
            .collect();
        Ok(json!({ "AttachedPolicies": attached, "IsTruncated": false }))
    }

    fn role(&mut self, request: &Value) -> Result<&mut Role, CommonError> {
        let name = required(request, "RoleName")?;
        let missing = || no_such_entity(format!("The role with name {name} cannot be found."));
        self.0.get_mut(name).ok_or_else(missing)
    }
}

impl Role {
    fn described(&self, name: &str) -> Value {
        json!({
            "Path": "/", "RoleName": name, "RoleId": self.id, "Arn": iam_arn("role", name),
            "CreateDate": self.created / 1000, "AssumeRolePolicyDocument": encoded(&self.trust),
            "Description": self.description, "MaxSessionDuration": 3600,
        })
    }
}

/// Describes one of AWS's own policies, which are known by their names alone.
pub fn get_managed_policy(request: &Value) -> Reply {
    described_policy(required(request, "PolicyArn")?)
}

fn described_policy(arn: &str) -> Reply {
    if arn.strip_prefix(AWS_POLICY).is_none_or(str::is_empty) {
        return Err(no_such_entity(format!(
            "Policy {arn} does not exist or is not attachable."
        )));
    }
    Ok(json!({ "Policy": {
        "PolicyName": name_of(arn), "Arn": arn, "Path": "/", "DefaultVersionId": "v1",
        "AttachmentCount": 0, "IsAttachable": true, "CreateDate": 0, "UpdateDate": 0,
    } }))
}

fn name_of(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or_default()
}

/// Returns a policy document of a request, which has to be JSON.
fn document(request: &Value, name: &str) -> Result<String, CommonError> {
    let text = required(request, name)?;
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => Ok(text.to_owned()),
        _ => Err(CommonError::new(
            "MalformedPolicyDocument",
            StatusCode::BAD_REQUEST,
            "Syntax errors in policy.",
        )),
    }
}

/// Returns a document percent-encoded, as IAM returns it.
fn encoded(document: &str) -> String {
    let pair = serde_urlencoded::to_string([("", document)]).unwrap_or_default();
    pair.trim_start_matches('=').replace('+', "%20")
}

fn no_inline_policy(name: &str) -> CommonError {
    no_such_entity(format!("The role policy with name {name} cannot be found."))
}
