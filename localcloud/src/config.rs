//! What a localcloud is started with.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::faults::{Faults, FaultsError, Limits};
use crate::sqs::SyncPolicy;

/// Everything that `run` needs besides a listener.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where buckets, queues, logs and user data are kept; a temporary folder, removed at the end, if none is given.
    pub data: Option<PathBuf>,
    /// When what SQS keeps in the data folder is forced to the disk.
    pub sync: SyncPolicy,
    /// What requests must be signed with.
    pub authentication: Authentication,
    /// The region in ARNs and availability zones. Requests for any region are answered.
    pub region: String,
    /// How long an instance's process has from SIGTERM to SIGKILL.
    pub stop_grace: Duration,
    /// How many instances may run at once.
    pub max_instances: usize,
    /// From the start of one instance's process to that of the next, at least; they are `pending` until then.
    pub start_interval: Duration,
    /// EC2's limits whatever the faults say; the faults' buckets stand in place of those for the same actions.
    pub ec2_limits: Limits,
    /// How unkind the services are at first.
    pub faults: Faults,
    /// What instances can be launched from.
    pub images: Vec<Image>,
    /// Instances to launch at the start.
    pub instances: Vec<BootInstance>,
}

/// Whose requests are answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Those signed with these credentials.
    Keys(Credentials),
    /// All: neither the access key nor the signature is looked at, nor whether there is one.
    Any,
}

/// An access key and its secret, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
}

/// A machine image: a command.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// What launches name.
    pub id: String,
    pub name: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment variables, added to those that localcloud was started with.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What the names of those variables begin with that the user data of its instances may set, by lines `NAME=VALUE`. The
    /// image's own `env` goes before.
    #[serde(default)]
    pub user_data_env: Vec<String>,
}

/// An instance to launch at the start.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootInstance {
    /// The image's id.
    pub image: String,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    pub user_data: Option<String>,
}

/// Why a configuration file cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {error}")]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("cannot read {path}: {error}")]
    Parse {
        path: PathBuf,
        error: toml::de::Error,
    },
    #[error("image {0:?} has an empty command")]
    EmptyCommand(String),
    #[error("two images have the id {0:?}")]
    DuplicateImage(String),
    #[error("an instance names the image {0:?}, which is not configured")]
    UnknownImage(String),
    #[error(transparent)]
    Faults(#[from] FaultsError),
    #[error("credentials are written ACCESS_KEY:SECRET_KEY")]
    Credentials,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    image: Vec<Image>,
    #[serde(default)]
    instance: Vec<BootInstance>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: None,
            sync: SyncPolicy::default(),
            authentication: Authentication::default(),
            region: "us-east-1".to_owned(),
            stop_grace: Duration::from_secs(10),
            max_instances: 100,
            start_interval: Duration::ZERO,
            ec2_limits: Limits::default(),
            faults: Faults::default(),
            images: Vec::new(),
            instances: Vec::new(),
        }
    }
}

impl Config {
    /// Adds the images and instances of a TOML file.
    ///
    /// # Errors
    /// When the file cannot be read, or what it says fails `check`.
    pub fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
            path: path.to_owned(),
            error,
        })?;
        let file: File = toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: path.to_owned(),
            error,
        })?;
        self.images.extend(file.image);
        self.instances.extend(file.instance);
        self.check()
    }

    /// Checks that every image can run, every instance has an image and the faults make sense.
    ///
    /// # Errors
    /// Names the first of them at fault.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.faults.check()?;
        let mut ids = HashSet::new();
        for image in &self.images {
            if image.command.is_empty() {
                return Err(ConfigError::EmptyCommand(image.id.clone()));
            }
            if !ids.insert(&image.id) {
                return Err(ConfigError::DuplicateImage(image.id.clone()));
            }
        }
        match self
            .instances
            .iter()
            .find(|instance| !ids.contains(&instance.image))
        {
            Some(instance) => Err(ConfigError::UnknownImage(instance.image.clone())),
            None => Ok(()),
        }
    }
}

impl Default for Authentication {
    fn default() -> Self {
        Self::Keys(Credentials::default())
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            access_key: "test".to_owned(),
            secret_key: "test".to_owned(),
        }
    }
}

impl Credentials {
    /// A pair that nobody can guess.
    #[must_use]
    pub fn random() -> Self {
        let [first, second, third] = [(); 3].map(|()| uuid::Uuid::new_v4().simple().to_string());
        Self {
            access_key: format!("LC{}", first[..18].to_uppercase()),
            secret_key: format!("{second}{third}"),
        }
    }

    /// Those of a localcloud that listens at these addresses, if none are chosen: `test` and `test` where only this machine
    /// can get, and otherwise such as nobody can guess, for whoever has them may run commands.
    #[must_use]
    pub fn usual(mut listening: impl Iterator<Item = SocketAddr>) -> Self {
        if listening.all(|address| address.ip().is_loopback()) {
            Self::default()
        } else {
            Self::random()
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { access_key, .. } = self;
        f.debug_struct("Credentials")
            .field("access_key", access_key)
            .finish_non_exhaustive()
    }
}

impl FromStr for Credentials {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text.split_once(':') {
            Some((access_key, secret_key)) if !access_key.is_empty() && !secret_key.is_empty() => {
                Ok(Self {
                    access_key: access_key.to_owned(),
                    secret_key: secret_key.to_owned(),
                })
            }
            _ => Err(ConfigError::Credentials),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_that_everybody_knows_are_for_loopback_alone() {
        let usual = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|address| address.parse().unwrap());
            Credentials::usual(addresses)
        };
        let known = Credentials::default();
        assert_eq!(usual(&["127.0.0.1:4566", "[::1]:4567"]), known);
        for open in ["0.0.0.0:4566", "[::]:4566", "10.0.0.7:4566"] {
            let (one, other) = (usual(&[open]), usual(&["127.0.0.1:1", open]));
            assert!(one != known && other != known && one != other);
            assert!(one.secret_key.len() >= 40);
            assert!(!format!("{one:?}").contains(&one.secret_key));
        }
    }
}
