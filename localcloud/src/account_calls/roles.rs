//! IAM's roles: those of the configuration, which calls cannot change, and those that calls create.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::policies::{
    Attached, Policies, already_exists, check_name, delete_conflict, document, limit_exceeded,
    malformed, no_such_entity, page, path,
};
use super::{AccountResult, invalid, required, whole_number};
use crate::clock::Millis;
use crate::common_error::CommonError;
use crate::iam::{CreatedRole, Iam, iam_arn};
use crate::percent_encoding::percent_encoded;

const MAX_ROLES: usize = 1000;
const MAX_NAME: usize = 64;
const MAX_TAGS: usize = 50;
const MAX_TRUST: usize = 2048;
/// The most characters of all inline policies of a role, without white space.
const MAX_INLINE: usize = 10_240;

/// The roles that calls created, by name.
#[derive(Debug, Default)]
pub struct Roles(BTreeMap<String, AccountRole>);

#[derive(Debug)]
struct AccountRole {
    id: String,
    path: String,
    created: Millis,
    trust: String,
    description: Option<String>,
    session_seconds: usize,
    tags: BTreeMap<String, String>,
    attached: Attached,
    inline: BTreeMap<String, String>,
}

/// What the calls of roles need beside the roles.
pub struct Context<'a> {
    pub iam: &'a Iam,
    pub policies: &'a Policies,
    pub now: Millis,
}

impl Roles {
    /// Handles a call; `None` for an action that is not of roles.
    pub fn call(
        &mut self,
        action: &str,
        request: &Value,
        context: &Context<'_>,
    ) -> Option<AccountResult> {
        Some(match action {
            "CreateRole" => self.create(request, context),
            "ListRoles" => self.list(request, context),
            "GetRole" => self.get(request, context),
            "DeleteRole" => self.delete(request, context),
            "AttachRolePolicy" => self.change(request, context, |role| {
                let arn = required(request, "PolicyArn")?;
                role.attached.attach(context.policies, arn, "PoliciesPerRole")
            }),
            "DetachRolePolicy" => self.change(request, context, |role| {
                role.attached.detach(required(request, "PolicyArn")?)
            }),
            "PutRolePolicy" => {
                self.change(request, context, |role| put_inline(role, request))
            }
            "DeleteRolePolicy" => self.change(request, context, |role| {
                let name = required(request, "PolicyName")?;
                let removed = role.inline.remove(name);
                removed.map(|_| Value::Null).ok_or_else(|| no_inline(name))
            }),
            "UpdateAssumeRolePolicy" => self.change(request, context, |role| {
                role.trust = document(request, "PolicyDocument", MAX_TRUST)?.to_owned();
                Ok(Value::Null)
            }),
            "ListAttachedRolePolicies" => self.read(request, context, |role| {
                role.map_or_else(|| Attached::default().list(request), |role| role.attached.list(request))
            }),
            "GetRolePolicy" => self.read(request, context, |role| {
                let name = required(request, "PolicyName")?;
                let document = role.and_then(|role| role.inline.get(name));
                let document = document.ok_or_else(|| no_inline(name))?;
                Ok(json!({
                    "RoleName": request["RoleName"], "PolicyName": name, "PolicyDocument": percent_encoded(document),
                }))
            }),
            "ListRolePolicies" => self.read(request, context, |role| {
                let names = role.into_iter().flat_map(|role| role.inline.keys());
                let names: Vec<Value> = names.map(|name| json!(name)).collect();
                page(request, "PolicyNames", &names)
            }),
            _ => return None,
        })
    }

    /// Returns for how many seconds a role may be assumed at most: an hour for one of the configuration.
    pub fn session_seconds(&self, name: &str) -> usize {
        self.0.get(name).map_or(3600, |role| role.session_seconds)
    }

    /// Returns the number of roles that a policy is attached to.
    pub fn attachments(&self, arn: &str) -> usize {
        let roles = self.0.values();
        roles.filter(|role| role.attached.contains(arn)).count()
    }

    fn create(&mut self, request: &Value, context: &Context<'_>) -> AccountResult {
        let name = required(request, "RoleName")?;
        check_name(name, "roleName", MAX_NAME)?;
        if context.iam.role_named(name).is_some() {
            let message = format!("Role with name {name} already exists.");
            return Err(already_exists(message));
        }
        if self.0.len() >= MAX_ROLES {
            return Err(limit_exceeded("RolesPerAccount", MAX_ROLES));
        }
        let session_seconds = whole_number(request, "MaxSessionDuration")?.unwrap_or(3600);
        if !(3600..=43_200).contains(&session_seconds) {
            return Err(invalid(
                "The parameter MaxSessionDuration is not from 3600 to 43200.",
            ));
        }
        let role = AccountRole {
            id: crate::iam::role_id(name),
            path: path(request)?.to_owned(),
            created: context.now,
            trust: document(request, "AssumeRolePolicyDocument", MAX_TRUST)?.to_owned(),
            description: request["Description"].as_str().map(str::to_owned),
            session_seconds,
            tags: tags(request)?,
            attached: Attached::default(),
            inline: BTreeMap::new(),
        };
        let described = role.described(name);
        role.publish(name, context)?;
        self.0.insert(name.to_owned(), role);
        Ok(json!({ "Role": described }))
    }

    fn get(&self, request: &Value, context: &Context<'_>) -> AccountResult {
        let name = required(request, "RoleName")?;
        self.read(request, context, |role| {
            let mut role = role.map_or_else(|| configured(name), |role| role.described(name));
            role["RoleLastUsed"] = Value::Object(Map::new());
            Ok(json!({ "Role": role }))
        })
    }

    fn list(&self, request: &Value, context: &Context<'_>) -> AccountResult {
        let prefix = request["PathPrefix"].as_str().unwrap_or("/");
        let created = self
            .0
            .iter()
            .map(|(name, role)| (name.as_str(), role.described(name)));
        let configured = context
            .iam
            .configured_roles()
            .map(|name| (name, configured(name)));
        let roles: BTreeMap<&str, Value> = created.chain(configured).collect();
        let in_path = |role: &Value| {
            role["Path"]
                .as_str()
                .is_some_and(|path| path.starts_with(prefix))
        };
        let roles: Vec<Value> = roles.into_values().filter(in_path).collect();
        page(request, "Roles", &roles)
    }

    fn delete(&mut self, request: &Value, context: &Context<'_>) -> AccountResult {
        let name = required(request, "RoleName")?;
        let role = self.created(name, context)?;
        if !role.attached.is_empty() {
            return Err(delete_conflict(
                "Cannot delete entity, must detach all policies first.",
            ));
        }
        if !role.inline.is_empty() {
            return Err(delete_conflict(
                "Cannot delete entity, must delete policies first.",
            ));
        }
        self.0.remove(name);
        context.iam.remove_role(name);
        Ok(Value::Null)
    }

    /// Reads a role; `None` stands for one of the configuration.
    fn read(
        &self,
        request: &Value,
        context: &Context<'_>,
        read: impl FnOnce(Option<&AccountRole>) -> AccountResult,
    ) -> AccountResult {
        let name = required(request, "RoleName")?;
        match self.0.get(name) {
            None if context.iam.role_named(name).is_none() => Err(no_such_role(name)),
            role => read(role),
        }
    }

    /// Changes a role, if its policies can be used afterwards.
    fn change(
        &mut self,
        request: &Value,
        context: &Context<'_>,
        change: impl FnOnce(&mut AccountRole) -> AccountResult,
    ) -> AccountResult {
        let name = required(request, "RoleName")?;
        let role = self.created(name, context)?;
        let before = (role.attached.clone(), role.inline.clone());
        let reply = change(role)?;
        if let Err(error) = role.publish(name, context) {
            (role.attached, role.inline) = before;
            return Err(error);
        }
        Ok(reply)
    }

    fn created(
        &mut self,
        name: &str,
        context: &Context<'_>,
    ) -> Result<&mut AccountRole, CommonError> {
        let is_configured = context.iam.role_named(name).is_some();
        self.0.get_mut(name).ok_or_else(|| match is_configured {
            true => {
                let message =
                    format!("The role {name} is of localcloud's configuration: change it there.");
                CommonError::new("UnmodifiableEntity", StatusCode::BAD_REQUEST, message)
            }
            false => no_such_role(name),
        })
    }
}

impl AccountRole {
    /// Puts its policies into force.
    fn publish(&self, name: &str, context: &Context<'_>) -> Result<(), CommonError> {
        let mut role = CreatedRole::new(name, &self.tags);
        for (policy, document) in &self.inline {
            role.policy(policy, document)?;
        }
        for arn in self.attached.arns() {
            // What AWS's other policies allow is not known here: they allow nothing.
            if let Some(document) = context.policies.document(arn) {
                role.policy(arn, &document)?;
            }
        }
        context.iam.put_role(role);
        Ok(())
    }

    fn described(&self, name: &str) -> Value {
        let mut described = json!({
            "Path": self.path, "RoleName": name, "RoleId": self.id,
            "Arn": iam_arn("role", &format!("{}{name}", &self.path[1..])), "CreateDate": self.created / 1000,
            "AssumeRolePolicyDocument": percent_encoded(&self.trust), "MaxSessionDuration": self.session_seconds,
        });
        if !self.tags.is_empty() {
            let tags = self.tags.iter();
            let tags: Vec<_> = tags
                .map(|(key, value)| json!({ "Key": key, "Value": value }))
                .collect();
            described["Tags"] = json!(tags);
        }
        if let Some(description) = &self.description {
            described["Description"] = json!(description);
        }
        described
    }
}

fn put_inline(role: &mut AccountRole, request: &Value) -> AccountResult {
    let name = required(request, "PolicyName")?;
    check_name(name, "policyName", 128)?;
    let text = document(request, "PolicyDocument", MAX_INLINE)?;
    let other = role
        .inline
        .iter()
        .filter(|(it, _)| *it != name)
        .map(|(_, text)| text.as_str());
    let characters = other.chain([text]).flat_map(str::chars);
    if characters.filter(|letter| !letter.is_whitespace()).count() > MAX_INLINE {
        return Err(limit_exceeded("RolePolicySize", MAX_INLINE));
    }
    role.inline.insert(name.to_owned(), text.to_owned());
    Ok(Value::Null)
}

/// Describes a role of the configuration, which instances have.
fn configured(name: &str) -> Value {
    let trust = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Principal": { "Service": ["ec2.amazonaws.com", "lambda.amazonaws.com"] }, "Action": "sts:AssumeRole",
        }],
    });
    json!({
        "Path": "/", "RoleName": name, "RoleId": crate::iam::role_id(name), "Arn": iam_arn("role", name),
        "CreateDate": 0, "AssumeRolePolicyDocument": percent_encoded(trust.to_string()), "MaxSessionDuration": 3600,
    })
}

fn no_such_role(name: &str) -> CommonError {
    no_such_entity(format!("The role with name {name} cannot be found."))
}

fn no_inline(name: &str) -> CommonError {
    no_such_entity(format!("The role policy with name {name} cannot be found."))
}

impl From<crate::iam::PolicyError> for CommonError {
    fn from(error: crate::iam::PolicyError) -> Self {
        malformed(error.0)
    }
}

/// Reads the tags of a request, at most 50 as on AWS.
fn tags(request: &Value) -> Result<BTreeMap<String, String>, CommonError> {
    let tags = request["Tags"].as_array().into_iter().flatten();
    let tags = tags.map(|tag| {
        Ok((
            required(tag, "Key")?.to_owned(),
            tag["Value"].as_str().unwrap_or_default().to_owned(),
        ))
    });
    let tags: BTreeMap<_, _> = tags.collect::<Result<_, CommonError>>()?;
    if tags.len() > MAX_TAGS {
        return Err(limit_exceeded("TagsPerRole", MAX_TAGS));
    }
    Ok(tags)
}
