//! Roles, whose policies are files.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use thiserror::Error;

use super::arn::iam_arn;
use super::policy::{Policy, PolicyError};
use super::variables::PrincipalKeys;
use crate::account::ACCOUNT_ID;
use crate::config::RoleConfig;

/// A role, with an instance profile of the same name.
#[derive(Debug)]
pub struct Role {
    pub name: String,
    pub policies: Vec<Policy>,
    /// The condition keys of the principal, in lower case.
    keys: BTreeMap<String, Vec<String>>,
}

/// Why a role cannot be used.
#[derive(Debug, Error)]
pub enum RoleError {
    #[error("cannot read the policy {file} of the role {role:?}: {error}")]
    Read {
        role: String,
        file: PathBuf,
        error: io::Error,
    },
    #[error("cannot use the policy {file} of the role {role:?}: {error}")]
    Policy {
        role: String,
        file: PathBuf,
        error: PolicyError,
    },
}

impl Role {
    /// Reads the policies of a role.
    ///
    /// # Errors
    /// When a policy cannot be read, or has a part that is not supported.
    pub fn read(config: &RoleConfig) -> Result<Self, RoleError> {
        let keys = principal_keys(&config.name, &config.tags);
        let policies = config.policies.iter().map(|file| {
            let text = std::fs::read_to_string(file).map_err(|error| RoleError::Read {
                role: config.name.clone(),
                file: file.clone(),
                error,
            })?;
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            Policy::parse(&name, &text, &keys).map_err(|error| RoleError::Policy {
                role: config.name.clone(),
                file: file.clone(),
                error,
            })
        });
        let policies = policies.collect::<Result<_, _>>()?;
        Ok(Self::new(&config.name, policies, keys))
    }

    pub fn new(name: &str, policies: Vec<Policy>, keys: PrincipalKeys) -> Self {
        Self {
            name: name.to_owned(),
            policies,
            keys: keys
                .into_iter()
                .map(|(key, value)| (key, vec![value]))
                .collect(),
        }
    }

    /// Returns the identifier that AWS would draw at random. It is the same after a restart.
    pub fn id(&self) -> String {
        role_id(&self.name)
    }

    /// Returns the values of a condition key of the principal.
    pub fn values(&self, key: &str) -> Option<&[String]> {
        self.keys.get(key).map(Vec::as_slice)
    }
}

/// Returns the identifier of the role of a name.
pub fn role_id(name: &str) -> String {
    let digest = hex::encode_upper(Sha256::digest(name));
    format!("AROA{}", &digest[..17])
}

/// Returns the condition keys of a role.
pub fn principal_keys(name: &str, tags: &BTreeMap<String, String>) -> PrincipalKeys {
    let tags = tags.iter().map(|(tag, value)| {
        let tag = tag.to_ascii_lowercase();
        (format!("aws:principaltag/{tag}"), value.clone())
    });
    let mut keys: PrincipalKeys = tags.collect();
    keys.insert("aws:principalaccount".to_owned(), ACCOUNT_ID.to_owned());
    keys.insert("aws:principalarn".to_owned(), iam_arn("role", name));
    // localcloud speaks plain HTTP.
    keys.insert("aws:securetransport".to_owned(), "false".to_owned());
    keys
}
