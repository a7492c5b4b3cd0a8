//! IAM's users and the names of the managed policies attached to them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::policies::{
    Attached, Policies, already_exists, check_name, delete_conflict, id, no_such_entity,
};
use super::{AccountResult, required};
use crate::clock::Millis;
use crate::common_error::CommonError;
use crate::config::UserConfig;
use crate::iam::{AWS_POLICY, iam_arn};

const MAX_NAME_LENGTH: usize = 64;

/// The users by name.
#[derive(Debug, Default)]
pub struct Users(BTreeMap<String, User>);

#[derive(Debug)]
struct User {
    id: String,
    created: Millis,
    policies: Attached,
}

impl Users {
    /// Adds a user of the configuration, whose policies are names of AWS's own.
    ///
    /// # Errors
    /// As `create` and `attach`.
    pub fn add(
        &mut self,
        user: &UserConfig,
        policies: &Policies,
        now: Millis,
    ) -> Result<(), CommonError> {
        self.create(&json!({ "UserName": user.name }), now)?;
        for policy in &user.policies {
            let arn = format!("{AWS_POLICY}{policy}");
            self.attach(
                &json!({ "UserName": user.name, "PolicyArn": arn }),
                policies,
            )?;
        }
        Ok(())
    }

    pub fn create(&mut self, request: &Value, now: Millis) -> AccountResult {
        let name = required(request, "UserName")?;
        check_name(name, "userName", MAX_NAME_LENGTH)?;
        if self.0.contains_key(name) {
            let message = format!("User with name {name} already exists.");
            return Err(already_exists(message));
        }
        let user = User {
            id: id("AIDA"),
            created: now,
            policies: Attached::default(),
        };
        let described = user.described(name);
        self.0.insert(name.to_owned(), user);
        Ok(json!({ "User": described }))
    }

    pub fn get(&self, request: &Value) -> AccountResult {
        let name = required(request, "UserName")?;
        let user = self.0.get(name).ok_or_else(|| no_such_user(name))?;
        Ok(json!({ "User": user.described(name) }))
    }

    pub fn delete(&mut self, request: &Value) -> AccountResult {
        let name = required(request, "UserName")?;
        if !self.user(name)?.policies.is_empty() {
            return Err(delete_conflict(
                "Cannot delete entity, must detach all policies first.",
            ));
        }
        self.0.remove(name);
        Ok(Value::Null)
    }

    pub fn attach(&mut self, request: &Value, policies: &Policies) -> AccountResult {
        let policy = required(request, "PolicyArn")?;
        let user = self.user(required(request, "UserName")?)?;
        user.policies.attach(policies, policy, "PoliciesPerUser")
    }

    pub fn detach(&mut self, request: &Value) -> AccountResult {
        let policy = required(request, "PolicyArn")?;
        let user = self.user(required(request, "UserName")?)?;
        user.policies.detach(policy)
    }

    pub fn list_attached(&mut self, request: &Value) -> AccountResult {
        let user = self.user(required(request, "UserName")?)?;
        user.policies.list(request)
    }

    /// Returns the number of users that a policy is attached to.
    pub fn attachments(&self, arn: &str) -> usize {
        let users = self.0.values();
        users.filter(|user| user.policies.contains(arn)).count()
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
