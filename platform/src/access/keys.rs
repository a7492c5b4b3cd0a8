use super::*;

use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The prefix of every key, by which secret scanners find a leaked one.
const PREFIX: &str = "muster_";
const MAX_NAME_BYTES: usize = 40;

/// A permission of a key.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Recognize photos
    Recognize,
    /// Change the gallery. No service needs it yet
    Enrol,
    /// Read and change the scaler, read front's demand, use gRPC reflection
    Operate,
}

impl Role {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Recognize => "recognize",
            Self::Enrol => "enrol",
            Self::Operate => "operate",
        }
    }
}

/// One key; the secret itself is not kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub roles: Vec<Role>,
    /// Calls a second; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Time of creation, in RFC 3339.
    pub created: String,
    salt: String,
    /// SHA-256 of the salt and the key, in hexadecimal.
    sha256: String,
}

/// All keys by name. The key file is TOML, with a table for each key.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Keys(pub BTreeMap<String, Key>);

impl Keys {
    /// Reads a key file.
    ///
    /// # Errors
    /// When the file cannot be read or parsed.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file);
        let text =
            text.with_context(|| format!("cannot read the API keys in {}", file.display()))?;
        let keys: Self = toml::from_str(&text)
            .with_context(|| format!("{} is not a file of API keys", file.display()))?;
        for (name, key) in &keys.0 {
            check_name(name)?;
            check_rate(key.rate).with_context(|| format!("of the key {name}"))?;
        }
        Ok(keys)
    }

    /// Replaces the file atomically. The new one has the owner and the mode of the one before, so that services that run as
    /// another user can still read it; a first one has mode 0600.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut name = file.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let write = || {
            let before = std::fs::metadata(file).ok();
            let mut options = std::fs::OpenOptions::new();
            let mut output = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            if let Some(before) = before {
                std::os::unix::fs::fchown(&output, Some(before.uid()), Some(before.gid()))
                    .context("it belongs to another user: run this as that user, or as root")?;
                output.set_permissions(before.permissions())?;
            }
            output.write_all(toml::to_string(self)?.as_bytes())?;
            output.sync_all()?;
            anyhow::Ok(std::fs::rename(&new, file)?)
        };
        write().with_context(|| format!("cannot write {}", file.display()))
    }

    /// Adds a key and returns its text. Only its digest is kept.
    ///
    /// # Errors
    /// When the name exists, or the name or the rate is invalid.
    pub fn add(&mut self, name: &str, roles: &[Role], rate: Option<f64>) -> anyhow::Result<Token> {
        check_name(name)?;
        check_rate(rate)?;
        anyhow::ensure!(
            !self.0.contains_key(name),
            "a key {name} exists already; choose another name, or remove that key"
        );
        let text = format!("{PREFIX}{name}_{}", Token::random().expose());
        let salt = uuid::Uuid::new_v4().simple().to_string();
        let mut roles = roles.to_vec();
        roles.sort_unstable();
        roles.dedup();
        let key = Key {
            roles,
            rate,
            created: OffsetDateTime::now_utc()
                .replace_nanosecond(0)?
                .format(&Rfc3339)?,
            sha256: digest(&salt, &text),
            salt,
        };
        self.0.insert(name.to_owned(), key);
        Token::parse(&text)
    }

    /// Returns the key with this text. Digests are compared in constant time.
    pub(super) fn find(&self, text: &str) -> Option<(&str, &Key)> {
        let (name, _) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let (name, key) = self.0.get_key_value(name)?;
        let is_right = digest(&key.salt, text)
            .as_bytes()
            .ct_eq(key.sha256.as_bytes());
        bool::from(is_right).then_some((name, key))
    }

    /// Returns the key with this text, if it has the role.
    pub(super) fn authorize(&self, text: &str, role: Role) -> Result<(&str, &Key), Denied> {
        let (name, key) = self.find(text).ok_or(Denied::WrongKey)?;
        if !key.roles.contains(&role) {
            let name = name.to_owned();
            return Err(Denied::WrongRole { name, role });
        }
        Ok((name, key))
    }
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    anyhow::ensure!(
        (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_allowed),
        "{name:?} is no key name; give 1 to {MAX_NAME_BYTES} lower-case letters, digits and hyphens"
    );
    Ok(())
}

fn check_rate(rate: Option<f64>) -> anyhow::Result<()> {
    // Slower than once a day is a mistake; the upper bound keeps the time between two calls above zero.
    let is_sound = |rate: f64| (1e-5..=1e6).contains(&rate);
    anyhow::ensure!(
        rate.is_none_or(is_sound),
        "give a rate of 0.00001 to 1000000 calls a second"
    );
    Ok(())
}

fn digest(salt: &str, text: &str) -> String {
    let digest = Sha256::new().chain_update(salt).chain_update(text);
    hex::encode(digest.finalize())
}
