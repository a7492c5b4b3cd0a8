//! The credentials of instances, functions and callers that act by a role: an access key, its secret and a session token,
//! which expire.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::role::Role;
use crate::account::ACCOUNT_ID;
use crate::clock::Millis;

/// The time for which expired credentials are known, so that their use is refused as expired.
const KEPT_FOR: Millis = 24 * 60 * 60 * 1000;
/// Of more sessions than these, the expired ones are forgotten at once.
const MAX_SESSIONS: usize = 10_000;

/// An instance that acts by its role, or a caller that assumed one.
#[derive(Debug)]
pub struct Session {
    pub role: Arc<Role>,
    /// The instance's identifier, or the name that AssumeRole gives.
    pub name: String,
    pub credentials: SessionCredentials,
}

/// What the metadata service gives an instance, and STS a caller. `Debug` hides the secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionCredentials {
    pub access_key: String,
    pub secret_key: String,
    pub token: String,
    pub issued: Millis,
    pub expires: Millis,
}

/// The sessions of all instances and functions.
#[derive(Debug)]
pub struct Sessions {
    lifetime: Millis,
    by_access_key: HashMap<String, Arc<Session>>,
    /// The access key of the present session, by role and instance.
    present: HashMap<(String, String), String>,
    /// The sessions of one lifetime, the oldest first.
    issued: VecDeque<Arc<Session>>,
    /// The sessions of AssumeRole, the oldest first.
    assumed: VecDeque<Arc<Session>>,
}

impl Sessions {
    pub fn new(lifetime: Duration) -> Self {
        Self {
            lifetime: lifetime.as_millis() as Millis,
            by_access_key: HashMap::new(),
            present: HashMap::new(),
            issued: VecDeque::new(),
            assumed: VecDeque::new(),
        }
    }

    /// Returns the session of an access key, expired or not.
    pub fn find(&self, access_key: &str) -> Option<Arc<Session>> {
        self.by_access_key.get(access_key).cloned()
    }

    /// Returns the present session of an instance. A new one begins when half of the lifetime is over.
    pub fn of(&mut self, role: &Arc<Role>, instance_id: &str, now: Millis) -> Arc<Session> {
        let owner = (role.name.clone(), instance_id.to_owned());
        let present = self.present.get(&owner).and_then(|key| self.find(key));
        if let Some(session) = present
            && now < session.credentials.renew_at()
        {
            return session;
        }
        self.prune(now);
        let session = Arc::new(Session {
            role: Arc::clone(role),
            name: instance_id.to_owned(),
            credentials: SessionCredentials::issue(now, now + self.lifetime),
        });
        let access_key = session.credentials.access_key.clone();
        self.present.insert(owner, access_key.clone());
        self.by_access_key.insert(access_key, Arc::clone(&session));
        self.issued.push_back(Arc::clone(&session));
        session
    }

    /// Begins a session of AssumeRole. Of more than 10,000 of them, the oldest ends.
    pub fn assume(
        &mut self,
        role: &Arc<Role>,
        name: &str,
        lifetime: Duration,
        now: Millis,
    ) -> Arc<Session> {
        let expires = now + lifetime.as_millis() as Millis;
        let session = Arc::new(Session {
            role: Arc::clone(role),
            name: name.to_owned(),
            credentials: SessionCredentials::issue(now, expires),
        });
        let access_key = session.credentials.access_key.clone();
        self.by_access_key.insert(access_key, Arc::clone(&session));
        self.assumed.push_back(Arc::clone(&session));
        if self.assumed.len() > MAX_SESSIONS
            && let Some(oldest) = self.assumed.pop_front()
        {
            self.by_access_key.remove(&oldest.credentials.access_key);
        }
        session
    }

    /// Forgets old sessions. All have one lifetime, so the oldest expires first.
    fn prune(&mut self, now: Millis) {
        while let Some(oldest) = self.issued.front() {
            let expires = oldest.credentials.expires;
            let is_too_many = now >= expires && self.issued.len() > MAX_SESSIONS;
            if now < expires + KEPT_FOR && !is_too_many {
                return;
            }
            if let Some(session) = self.issued.pop_front() {
                let access_key = &session.credentials.access_key;
                self.by_access_key.remove(access_key);
                let owner = (session.role.name.clone(), session.name.clone());
                if self.present.get(&owner) == Some(access_key) {
                    self.present.remove(&owner);
                }
            }
        }
    }

    /// Returns the most entries of any of the tables.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        let tables = [self.present.len(), self.issued.len(), self.assumed.len()];
        tables
            .into_iter()
            .fold(self.by_access_key.len(), usize::max)
    }
}

impl Session {
    /// Returns the ARN that messages name.
    pub fn arn(&self) -> String {
        let (role, name) = (&self.role.name, &self.name);
        format!("arn:aws:sts::{ACCOUNT_ID}:assumed-role/{role}/{name}")
    }

    /// Returns the unique identifier of role and session.
    pub fn id(&self) -> String {
        format!("{}:{}", self.role.id(), self.name)
    }
}

impl SessionCredentials {
    /// Returns when new credentials are to be used: half of these credentials' time remains for work that has begun.
    pub fn renew_at(&self) -> Millis {
        self.issued + (self.expires - self.issued) / 2
    }

    fn issue(issued: Millis, expires: Millis) -> Self {
        let random = || Uuid::new_v4().into_bytes();
        let key = Uuid::new_v4().simple().to_string().to_uppercase();
        Self {
            // The forms of AWS: 20 letters, 40 letters, and many.
            access_key: format!("ASIA{}", &key[..16]),
            secret_key: STANDARD.encode([random(), random()].concat())[..40].to_owned(),
            token: STANDARD.encode([(); 9].map(|()| random()).concat()),
            issued,
            expires,
        }
    }
}

impl std::fmt::Debug for SessionCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionCredentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}
