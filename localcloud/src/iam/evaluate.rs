//! Whether a role's policies allow an access: an Allow must apply, and no Deny.

use super::access::Access;
use super::policy::{Effect, Policy, Statement};
use super::role::Role;

#[derive(Debug, Clone, Copy)]
pub enum Decision<'a> {
    Allowed(Applied<'a>),
    /// A statement denies it.
    Denied(Applied<'a>),
    /// No statement allows it.
    NotAllowed,
}

/// The statement that decides, with the action and the resource of it that match.
#[derive(Debug, Clone, Copy)]
pub struct Applied<'a> {
    pub policy: &'a Policy,
    pub statement: &'a Statement,
    pub action: &'a str,
    pub resource: &'a str,
}

impl Role {
    /// Returns whether the role's policies allow an access, without a caller and without a record of it.
    pub fn allows(&self, access: &Access) -> bool {
        matches!(decide(self, access), Decision::Allowed(_))
    }
}

/// Decides by the policies of a role.
pub fn decide<'a>(role: &'a Role, access: &Access) -> Decision<'a> {
    let action = access.action.to_ascii_lowercase();
    let values = |key: &str| access.values(key).or_else(|| role.values(key));
    let applied = |effect: Effect| {
        let policies = role.policies.iter();
        let mut statements =
            policies.flat_map(|policy| policy.statements.iter().map(move |it| (policy, it)));
        statements.find_map(|(policy, statement)| {
            if statement.effect != effect {
                return None;
            }
            let (action, resource) = statement.applies(&action, &access.resource, values)?;
            Some(Applied {
                policy,
                statement,
                action,
                resource,
            })
        })
    };
    match (applied(Effect::Deny), applied(Effect::Allow)) {
        (Some(denied), _) => Decision::Denied(denied),
        (None, Some(allowed)) => Decision::Allowed(allowed),
        (None, None) => Decision::NotAllowed,
    }
}
