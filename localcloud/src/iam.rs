//! IAM: roles, the credentials of instances that have one, and whether a role's policies allow a call.
//!
//! | module | does |
//! |---|---|
//! | `policy`, `variables`, `condition` | parse policy documents; pure |
//! | `evaluate` | decides whether policies allow an access; pure |
//! | `access` | one action on one resource, and its condition keys |
//! | `role`, `session` | roles, and their credentials |
//! | `created`, `managed` | roles that calls create, and what AWS's own policies allow |
//! | `record` | a file with one line for each access of a role |

mod access;
mod arn;
mod condition;
mod created;
mod evaluate;
mod managed;
mod policy;
mod record;
mod role;
mod session;
#[cfg(test)]
mod tests;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use http::request::Parts;
use subtle::ConstantTimeEq;
use thiserror::Error;
use time::OffsetDateTime;

use crate::auth::{AuthError, Signature, session_token};
use crate::clock::Clock;
use crate::config::{Authentication, RoleConfig};
pub use access::Access;
#[cfg(test)]
pub use access::describe;
pub use arn::iam_arn;
use evaluate::{Decision, decide};
use record::{Record, Recorder};
use role::Role;
use session::{Session, Sessions};

pub use created::CreatedRole;
pub use managed::{AWS_POLICY, arns as managed_arns, document as managed_document};
pub use policy::PolicyError;
pub use role::{RoleError, role_id};
pub use session::SessionCredentials;

/// The roles of the account, and the keys that its callers sign with.
#[derive(Debug)]
pub struct Iam {
    clock: Clock,
    authentication: Authentication,
    region: String,
    /// Of the configuration.
    roles: BTreeMap<String, Arc<Role>>,
    /// Created by calls.
    created: RwLock<BTreeMap<String, Arc<Role>>>,
    /// The names of created roles that calls deleted.
    deleted: RwLock<BTreeSet<String>>,
    sessions: Mutex<Sessions>,
    recorder: Option<Recorder>,
}

/// Who makes a call.
#[derive(Debug, Clone)]
pub enum Caller {
    /// The account itself, which may do everything.
    Account,
    /// An instance with a role, or a caller that assumed one.
    Role(Arc<Session>),
}

/// The owner of an access key, and the key's secret.
#[derive(Debug)]
pub struct Identity {
    pub caller: Caller,
    pub secret_key: String,
}

/// A call that a role's policies do not allow. Displays as the end of AWS's messages.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "User: {principal} is not authorized to perform: {action} on resource: {resource} {}",
    because(.explicitly, .action)
)]
pub struct Denied {
    principal: String,
    /// As the service spells it in messages.
    pub action: String,
    resource: String,
    explicitly: bool,
}

impl Iam {
    /// Reads the roles' policies and opens the record.
    ///
    /// # Errors
    /// When a policy or the record's file cannot be used.
    pub fn new(
        clock: Clock,
        region: &str,
        authentication: Authentication,
        roles: &[RoleConfig],
        session_time: Duration,
    ) -> Result<Self, RoleError> {
        let roles = roles.iter().map(|role| {
            let role = Role::read(role)?;
            Ok((role.name.clone(), Arc::new(role)))
        });
        Ok(Self {
            clock,
            authentication,
            region: region.to_owned(),
            roles: roles.collect::<Result<_, RoleError>>()?,
            created: RwLock::default(),
            deleted: RwLock::default(),
            sessions: Mutex::new(Sessions::new(session_time)),
            recorder: None,
        })
    }

    /// Returns an account without roles.
    #[cfg(any(test, fuzzing))]
    pub fn without_roles(clock: Clock, authentication: Authentication) -> Arc<Self> {
        let iam = Self::new(clock, "us-east-1", authentication, &[], Duration::ZERO);
        Arc::new(iam.expect("there is no policy to read"))
    }

    /// Appends each access of a role to a file from now on.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn record_to(&mut self, file: &Path) -> io::Result<()> {
        self.recorder = Some(Recorder::open(file)?);
        Ok(())
    }

    /// Writes what is not written yet. Later accesses are not recorded.
    pub fn close(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.close();
        }
    }

    /// Returns the region in ARNs.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Returns how calls are authenticated.
    pub fn authentication(&self) -> &Authentication {
        &self.authentication
    }

    /// Returns whether calls are authenticated.
    pub fn authenticates(&self) -> bool {
        matches!(self.authentication, Authentication::Keys(_))
    }

    /// Returns whether the configuration has roles. Without any, every name of an instance profile is accepted.
    pub fn has_roles(&self) -> bool {
        !self.roles.is_empty()
    }

    /// Returns the role of an instance profile, by its name or ARN. Each role has a profile of its name.
    pub fn role_of_profile(&self, profile: &str) -> Option<&Arc<Role>> {
        let arn = iam_arn("instance-profile", "");
        self.roles
            .get(profile.strip_prefix(&arn).unwrap_or(profile))
    }

    /// Returns the secret of an access key. The session token is checked by `identify`.
    pub fn secret_of(&self, access_key: &str) -> Option<String> {
        if let Authentication::Keys(account) = &self.authentication
            && access_key == account.access_key
        {
            return Some(account.secret_key.clone());
        }
        let session = self.sessions().find(access_key)?;
        Some(session.credentials.secret_key.clone())
    }

    /// Returns the owner of an access key.
    ///
    /// # Errors
    /// `UnknownKey`; `WrongToken` and `ExpiredToken` for a key of a role.
    pub fn identify(&self, access_key: &str, token: Option<&str>) -> Result<Identity, AuthError> {
        if let Authentication::Keys(account) = &self.authentication
            && access_key == account.access_key
        {
            return Ok(Identity {
                caller: Caller::Account,
                secret_key: account.secret_key.clone(),
            });
        }
        let session = self.sessions().find(access_key);
        let session = session.ok_or(AuthError::UnknownKey)?;
        let (known, given) = (&session.credentials, token.unwrap_or_default());
        if !bool::from(known.token.as_bytes().ct_eq(given.as_bytes())) {
            return Err(AuthError::WrongToken);
        }
        if known.expires <= self.clock.now() {
            return Err(AuthError::ExpiredToken);
        }
        let secret_key = known.secret_key.clone();
        Ok(Identity {
            caller: Caller::Role(session),
            secret_key,
        })
    }

    /// Verifies a request to `service` with its whole body, and returns its caller. Without authentication, every caller is
    /// the account.
    ///
    /// # Errors
    /// When it is not signed with known credentials, or its signature is not valid at `now`.
    pub fn verify(
        &self,
        request: &Parts,
        body: &[u8],
        service: &'static str,
        now: OffsetDateTime,
    ) -> Result<Caller, AuthError> {
        if !self.authenticates() {
            return Ok(Caller::Account);
        }
        let signature = Signature::of(request)?.ok_or(AuthError::Missing)?;
        let token = session_token(&request.headers, &request.uri);
        let identity = self.identify(&signature.access_key, token.as_deref())?;
        signature.verify(request, body, service, &identity.secret_key, now)?;
        Ok(identity.caller)
    }

    /// Returns whether a request names a known access key, or needs none. Verifying its signature takes the whole body.
    pub fn knows_signer(&self, request: &Parts) -> bool {
        let signature = || Signature::of(request).ok().flatten();
        !self.authenticates()
            || signature().is_some_and(|it| self.secret_of(&it.access_key).is_some())
    }

    /// Returns the present credentials of an instance with a role.
    pub fn credentials(&self, role: &Arc<Role>, instance_id: &str) -> SessionCredentials {
        let session = self.sessions().of(role, instance_id, self.clock.now());
        session.credentials.clone()
    }

    /// Begins a session of a role that a caller assumes for `lifetime`.
    pub fn assume(&self, role: &Arc<Role>, name: &str, lifetime: Duration) -> Arc<Session> {
        self.sessions()
            .assume(role, name, lifetime, self.clock.now())
    }

    /// Checks that the caller may make every access of a call, and records the decisions.
    ///
    /// # Errors
    /// The first denied access.
    pub fn authorize(&self, caller: &Caller, accesses: &[Access]) -> Result<(), Denied> {
        let Caller::Role(session) = caller else {
            return Ok(());
        };
        accesses
            .iter()
            .try_for_each(|access| self.check(session, access))
    }

    fn check(&self, session: &Session, access: &Access) -> Result<(), Denied> {
        let role = self.present(&session.role);
        let decision = decide(&role, access);
        if let Some(recorder) = &self.recorder {
            recorder.add(&Record::of(session, access, &decision));
        }
        match decision {
            Decision::Allowed(_) => Ok(()),
            refused => Err(Denied {
                principal: session.arn(),
                action: access.action.clone(),
                resource: access.resource.clone(),
                explicitly: matches!(refused, Decision::Denied(_)),
            }),
        }
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn because(explicitly: &bool, action: &str) -> String {
    match explicitly {
        true => "with an explicit deny in an identity-based policy".to_owned(),
        false => format!("because no identity-based policy allows the {action} action"),
    }
}
