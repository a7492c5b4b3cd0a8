//! The configuration of localcloud.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::account::DEFAULT_REGION;
use crate::faults::{Faults, FaultsError, RateLimits};
use crate::toml_file::{self, FileError};

/// The configuration that `run` needs besides a listener.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder of buckets, queues, logs and user data. `None` means a temporary folder, removed at the end.
    pub data: Option<PathBuf>,
    /// When SQS forces its data to the disk.
    pub sync: SyncPolicy,
    /// The credentials that requests must be signed with.
    pub authentication: Authentication,
    /// The region in ARNs and availability zones. Requests may be signed for any region.
    pub region: String,
    /// The time from SIGTERM to SIGKILL when an instance stops.
    pub stop_grace: Duration,
    /// The most instances that run at once.
    pub max_instances: usize,
    /// The least time between the starts of two instances' processes; an instance is `pending` until its own.
    pub start_interval: Duration,
    /// EC2's rate limits without any faults. A limit of the faults replaces that of the same action.
    pub ec2_limits: RateLimits,
    /// The faults at the start.
    pub faults: Faults,
    /// The images that instances can be launched from.
    pub images: Vec<Image>,
    /// The instances to launch at the start.
    pub instances: Vec<BootInstance>,
    /// The roles that instances can have. Without any, instance profiles are only echoed.
    pub roles: Vec<RoleConfig>,
    /// The users that IAM's calls know at the start.
    pub users: Vec<UserConfig>,
    /// The alarms that CloudWatch has at the start, each as the parameters of PutMetricAlarm.
    pub alarms: Vec<serde_json::Value>,
    /// How long the credentials of a role are valid. Instances get new ones after half of it.
    pub role_session: Duration,
    /// How functions run.
    pub lambda: LambdaConfig,
    /// The file to which each access of a role is appended as a line of JSON.
    pub record_calls: Option<PathBuf>,
}

/// What of SQS survives a failure of the machine. The end of the process alone loses nothing under any policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// What the operating system has written.
    Never,
    /// All but about the last second.
    #[default]
    EverySecond,
    /// All acknowledged changes: calls wait for the disk, several of them for one sync.
    Always,
}

/// How functions run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LambdaConfig {
    /// The account's concurrency: the most invocations at once.
    pub concurrency: usize,
    /// The time before the first retry of an event; the second one waits twice as long.
    pub retry_delay: Duration,
    /// How long a frozen environment is kept.
    pub idle_time: Duration,
}

/// Which requests are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Requests signed with these credentials.
    Keys(Credentials),
    /// All requests, with any signature or none.
    Any,
}

/// An access key and its secret, which `Debug` hides.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
}

/// A machine image, which is a command.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    pub id: String,
    pub name: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment variables, added to those that localcloud was started with.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Name prefixes of the variables that user data may set with lines `NAME=VALUE`. The image's `env` takes precedence.
    #[serde(default)]
    pub user_data_env: Vec<String>,
}

/// An instance that is launched at the start.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootInstance {
    /// The identifier of its image.
    pub image: String,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    pub user_data: Option<String>,
    /// The role that it has.
    pub instance_profile: Option<String>,
}

/// A role with an instance profile of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleConfig {
    pub name: String,
    /// The files of its policies.
    pub policies: Vec<PathBuf>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A user of IAM. Nothing signs as it, and its policies are only listed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    pub name: String,
    /// The names of AWS's managed policies that are attached to it.
    #[serde(default)]
    pub policies: Vec<String>,
}

/// Why a configuration file cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("image {0:?} has an empty command: name a program")]
    EmptyCommand(String),
    #[error("two images have the id {0:?}")]
    DuplicateImage(String),
    #[error(
        "an instance names the image {0:?}, which is not configured: add an [[image]] with that id"
    )]
    UnknownImage(String),
    #[error("two roles have the name {0:?}")]
    DuplicateRole(String),
    #[error(
        "an instance has the instance profile {0:?}, which is not configured: add a [[role]] with that name"
    )]
    UnknownProfile(String),
    #[error("{0}")]
    Role(String),
    #[error("a [[user]] or an [[alarm]] cannot be used: {0}")]
    Account(String),
    #[error("cannot record calls in {file}: {error}")]
    Record { file: PathBuf, error: io::Error },
    #[error(transparent)]
    Faults(#[from] FaultsError),
    #[error("credentials have the form ACCESS_KEY:SECRET_KEY")]
    Credentials,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    image: Vec<Image>,
    #[serde(default)]
    instance: Vec<BootInstance>,
    #[serde(default)]
    role: Vec<RoleConfig>,
    #[serde(default)]
    user: Vec<UserConfig>,
    #[serde(default)]
    alarm: Vec<serde_json::Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: None,
            sync: SyncPolicy::default(),
            authentication: Authentication::default(),
            region: DEFAULT_REGION.to_owned(),
            stop_grace: Duration::from_secs(10),
            max_instances: 100,
            start_interval: Duration::ZERO,
            ec2_limits: RateLimits::default(),
            faults: Faults::default(),
            images: Vec::new(),
            instances: Vec::new(),
            roles: Vec::new(),
            users: Vec::new(),
            alarms: Vec::new(),
            role_session: Duration::from_secs(6 * 60 * 60),
            lambda: LambdaConfig::default(),
            record_calls: None,
        }
    }
}

impl Default for LambdaConfig {
    fn default() -> Self {
        Self {
            // What a new account has.
            concurrency: 10,
            retry_delay: Duration::from_secs(1),
            idle_time: Duration::from_secs(300),
        }
    }
}

impl Config {
    /// Adds the images, instances, roles, users and alarms of a TOML file.
    ///
    /// # Errors
    /// When the file cannot be read, or the result fails `check`.
    pub fn add_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let file: File = toml_file::read(path)?;
        self.images.extend(file.image);
        self.instances.extend(file.instance);
        self.roles.extend(file.role);
        self.users.extend(file.user);
        self.alarms.extend(file.alarm);
        self.check()
    }

    /// Checks that every image has a command, every instance an image and a known profile, and every fault valid values.
    /// Policies are read later.
    ///
    /// # Errors
    /// Names the first invalid value.
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
        let mut roles = HashSet::new();
        if let Some(twice) = self.roles.iter().find(|role| !roles.insert(&role.name)) {
            return Err(ConfigError::DuplicateRole(twice.name.clone()));
        }
        for instance in &self.instances {
            if !ids.contains(&instance.image) {
                return Err(ConfigError::UnknownImage(instance.image.clone()));
            }
            if let Some(profile) = &instance.instance_profile
                && !roles.contains(profile)
            {
                return Err(ConfigError::UnknownProfile(profile.clone()));
            }
        }
        Ok(())
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
    /// Returns credentials that cannot be guessed.
    #[must_use]
    pub fn random() -> Self {
        let [first, second, third] = [(); 3].map(|()| uuid::Uuid::new_v4().simple().to_string());
        Self {
            access_key: format!("LC{}", first[..18].to_uppercase()),
            secret_key: format!("{second}{third}"),
        }
    }

    /// Returns the default credentials of a localcloud that listens at these addresses.
    ///
    /// They are `test` and `test` if only this machine can connect, else random: a caller with credentials can run commands.
    #[must_use]
    pub fn default_for(mut listening: impl Iterator<Item = SocketAddr>) -> Self {
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

impl FromStr for SyncPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            "second" => Ok(Self::EverySecond),
            "always" => Ok(Self::Always),
            other => Err(format!("{other:?} is not never, second or always")),
        }
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
    fn public_credentials_are_for_loopback_only() {
        let default_for = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|address| address.parse().unwrap());
            Credentials::default_for(addresses)
        };
        let known = Credentials::default();
        assert_eq!(default_for(&["127.0.0.1:4566", "[::1]:4567"]), known);
        for open in ["0.0.0.0:4566", "[::]:4566", "10.0.0.7:4566"] {
            let (one, other) = (default_for(&[open]), default_for(&["127.0.0.1:1", open]));
            assert!(one != known && other != known && one != other);
            assert!(one.secret_key.len() >= 40);
            assert!(!format!("{one:?}").contains(&one.secret_key));
        }
    }
}
