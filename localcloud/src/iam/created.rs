//! Roles that calls create, and change while sessions of them are in use.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::policy::{Policy, PolicyError};
use super::role::{Role, principal_keys};
use super::variables::PrincipalKeys;
use super::{Iam, iam_arn};

/// A role whose policies are texts.
#[derive(Debug)]
pub struct CreatedRole {
    name: String,
    keys: PrincipalKeys,
    policies: Vec<Policy>,
}

impl CreatedRole {
    /// `tags` are what `${aws:PrincipalTag/...}` stands for in its policies.
    pub fn new(name: &str, tags: &BTreeMap<String, String>) -> Self {
        Self {
            name: name.to_owned(),
            keys: principal_keys(name, tags),
            policies: Vec::new(),
        }
    }

    /// Adds a policy.
    ///
    /// # Errors
    /// When it is malformed, or has a part that is not supported.
    pub fn policy(&mut self, name: &str, document: &str) -> Result<(), PolicyError> {
        let policy = Policy::parse(name, document, &self.keys)?;
        self.policies.push(policy);
        Ok(())
    }
}

impl Iam {
    /// Returns a role by its name or ARN, of the configuration or created by a call.
    pub fn role_named(&self, role: &str) -> Option<Arc<Role>> {
        let name = role_name(role);
        let configured = self.roles.get(name).cloned();
        configured.or_else(|| {
            let created = self.created.read().unwrap_or_else(PoisonError::into_inner);
            created.get(name).cloned()
        })
    }

    /// Returns whether a role does not exist. An account without roles, or without authentication, lacks none.
    pub fn lacks(&self, role: &str) -> bool {
        let created = self.created.read().unwrap_or_else(PoisonError::into_inner);
        let has_roles = self.has_roles() || !created.is_empty();
        drop(created);
        self.authenticates() && has_roles && self.role_named(role).is_none()
    }

    /// As `role_named`. Returns a role without policies if calls created and then deleted the role.
    pub fn role_or_deleted(&self, role: &str) -> Option<Arc<Role>> {
        self.role_named(role).or_else(|| {
            let name = role_name(role);
            let deleted = self.deleted.read().unwrap_or_else(PoisonError::into_inner);
            let powerless = || Role::new(name, Vec::new(), PrincipalKeys::default());
            deleted.contains(name).then(|| Arc::new(powerless()))
        })
    }

    /// Returns the names of the configuration's roles.
    pub fn configured_roles(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// Creates a role, or replaces its policies. Sessions have the new ones at once.
    pub fn put_role(&self, role: CreatedRole) {
        let CreatedRole {
            name,
            keys,
            policies,
        } = role;
        let role = Arc::new(Role::new(&name, policies, keys));
        let mut created = self.created.write().unwrap_or_else(PoisonError::into_inner);
        created.insert(name, role);
    }

    /// Removes a role that a call created. Its sessions may do nothing from now on.
    pub fn remove_role(&self, name: &str) {
        {
            // First, so that no function finds neither.
            let mut deleted = self.deleted.write().unwrap_or_else(PoisonError::into_inner);
            deleted.insert(name.to_owned());
        }
        let mut created = self.created.write().unwrap_or_else(PoisonError::into_inner);
        created.remove(name);
    }

    /// Returns the role of a session with its present policies.
    pub(super) fn present(&self, role: &Role) -> Arc<Role> {
        let gone = || Arc::new(Role::new(&role.name, Vec::new(), PrincipalKeys::default()));
        self.role_named(&role.name).unwrap_or_else(gone)
    }
}

/// Returns the name in a name or an ARN.
fn role_name(role: &str) -> &str {
    match role.strip_prefix(&iam_arn("role", "")) {
        // The path is not part of the name.
        Some(path_and_name) => path_and_name.rsplit('/').next().unwrap_or_default(),
        None => role,
    }
}
