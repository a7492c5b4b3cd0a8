//! IAM's users and the names of the managed policies attached to them.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Reply, invalid, required, whole_number};
use crate::clock::Millis;
use crate::common_error::CommonError;
use crate::config::User as UserConfig;
use crate::iam::iam_arn;

/// IAM's default quota of managed policies for a user.
const MAX_POLICIES: usize = 10;
const MAX_NAME_LENGTH: usize = 64;
/// What the ARNs of AWS's own policies begin with.
pub const AWS_POLICY: &str = "arn:aws:iam::aws:policy/";

/// The users by name.
#[derive(Debug, Default)]
pub struct Users(BTreeMap<String, User>);

#[derive(Debug)]
struct User {
    id: String,
    created: Millis,
    /// The ARNs of the attached policies.
    policies: BTreeSet<String>,
}

impl Users {
    /// Adds a user of the configuration, whose policies are names of AWS's own.
    ///
    /// # Errors
    /// As `create` and `attach`.
    pub fn add(&mut self, user: &UserConfig, now: Millis) -> Result<(), CommonError> {
        self.create(&json!({ "UserName": user.name }), now)?;
        for policy in &user.policies {
            let arn = format!("{AWS_POLICY}{policy}");
            self.attach(&json!({ "UserName": user.name, "PolicyArn": arn }))?;
        }
        Ok(())
    }

    pub fn create(&mut self, request: &Value, now: Millis) -> Reply {
        let name = required(request, "UserName")?;
        let is_allowed =
            |letter: char| letter.is_ascii_alphanumeric() || "+=,.@_-".contains(letter);
        if name.len() > MAX_NAME_LENGTH || !name.chars().all(is_allowed) {
            return Err(invalid(
                "The specified value for userName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-",
            ));
        }
        if self.0.contains_key(name) {
            return Err(CommonError::new(
                "EntityAlreadyExists",
                StatusCode::CONFLICT,
                format!("User with name {name} already exists."),
            ));
        }
        let id = Uuid::new_v4().simple().to_string().to_uppercase();
        let user = User {
            id: format!("AIDA{}", &id[..17]),
            created: now,
            policies: BTreeSet::new(),
        };
        let described = user.described(name);
        self.0.insert(name.to_owned(), user);
        Ok(json!({ "User": described }))
    }

    pub fn get(&self, request: &Value) -> Reply {
        let name = required(request, "UserName")?;
        let user = self.0.get(name).ok_or_else(|| no_such_user(name))?;
        Ok(json!({ "User": user.described(name) }))
    }

    pub fn delete(&mut self, request: &Value) -> Reply {
        let name = required(request, "UserName")?;
        if !self.user(name)?.policies.is_empty() {
            return Err(CommonError::new(
                "DeleteConflict",
                StatusCode::CONFLICT,
                "Cannot delete entity, must detach all policies first.",
            ));
        }
        self.0.remove(name);
        Ok(Value::Null)
    }

    pub fn attach(&mut self, request: &Value) -> Reply {
        let policy = required(request, "PolicyArn")?;
        let user = self.user(required(request, "UserName")?)?;
        // The account has no policies of its own, and AWS's are known by their names alone.
        if policy.strip_prefix(AWS_POLICY).is_none_or(str::is_empty) {
            return Err(no_such_entity(format!(
                "Policy {policy} does not exist or is not attachable."
            )));
        }
        if user.policies.len() >= MAX_POLICIES && !user.policies.contains(policy) {
            return Err(CommonError::new(
                "LimitExceeded",
                StatusCode::CONFLICT,
                format!("Cannot exceed quota for PoliciesPerUser: {MAX_POLICIES}"),
            ));
        }
        user.policies.insert(policy.to_owned());
        Ok(Value::Null)
    }

    pub fn detach(&mut self, request: &Value) -> Reply {
        let policy = required(request, "PolicyArn")?;
        let user = self.user(required(request, "UserName")?)?;
        if user.policies.remove(policy) {
            Ok(Value::Null)
        } else {
            Err(no_such_entity(format!("Policy {policy} was not found.")))
        }
    }

    pub fn list_attached(&mut self, request: &Value) -> Reply {
        let user = self.user(required(request, "UserName")?)?;
        let from = whole_number(request, "Marker")?.unwrap_or(0);
        let most = whole_number(request, "MaxItems")?.unwrap_or(100);
        if !(1..=1000).contains(&most) {
            return Err(invalid("The parameter MaxItems is not from 1 to 1000."));
        }
        let page: Vec<Value> = user
            .policies
            .iter()
            .skip(from)
            .take(most)
            .map(|arn| {
                let name = arn.rsplit('/').next().unwrap_or_default();
                json!({ "PolicyName": name, "PolicyArn": arn })
            })
            .collect();
        let next = from.saturating_add(page.len());
        let mut reply =
            json!({ "AttachedPolicies": page, "IsTruncated": next < user.policies.len() });
        if next < user.policies.len() {
            reply["Marker"] = json!(next.to_string());
        }
        Ok(reply)
    }

    fn user(&mut self, name: &str) -> Result<&mut User, CommonError> {
        self.0.get_mut(name).ok_or_else(|| no_such_user(name))
    }
}

impl User {
    fn described(&self, name: &str) -> Value {
        json!({
            "Path": "/", "UserName": name, "UserId": self.id, "Arn": iam_arn("user", name),
            "CreateDate": self.created / 1000,
        })
    }
}

fn no_such_user(name: &str) -> CommonError {
    no_such_entity(format!("The user with name {name} cannot be found."))
}

pub fn no_such_entity(message: String) -> CommonError {
    CommonError::new("NoSuchEntity", StatusCode::NOT_FOUND, message)
}
