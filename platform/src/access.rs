//! Authentication and authorization by API key.
//!
//! `gateway keys add` makes a random key and prints it once; the key file holds salted SHA-256 digests. A fast digest is
//! enough for secrets of 244 random bits; passwords would need a slow one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName};
use subtle::ConstantTimeEq;
use tonic::Status;

use crate::reload::Reloading;
use crate::token::Token;
pub use grant::Grant;
pub use keys::{Key, Keys, Role};

mod grant;
mod keys;

/// The header and gRPC metadata that carry a key; `authorization: Bearer KEY` is accepted too.
pub const KEY_HEADER: &str = "x-api-key";
/// Headers whose values are never logged.
pub const SECRET_HEADERS: [HeaderName; 3] =
    [AUTHORIZATION, COOKIE, HeaderName::from_static(KEY_HEADER)];
/// The environment variable that holds a client's key.
pub const KEY_VARIABLE: &str = "MUSTER_API_KEY";

/// Access settings of a service.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Access")]
pub struct AccessArgs {
    /// API key file, made by `gateway keys` [default: none; callers need no key, and the service listens on loopback only]
    #[arg(long, env = "MUSTER_API_KEYS", value_name = "FILE")]
    pub api_keys: Option<PathBuf>,
    /// Listen on any address without an API key file
    #[arg(long, env = "MUSTER_ALLOW_ANYBODY", value_parser = clap::builder::FalseyValueParser::new())]
    pub allow_anybody: bool,
}

impl AccessArgs {
    /// Reads the keys of a service that listens at `address`.
    ///
    /// # Errors
    /// When the file cannot be read, or there is none and the address is not a loopback address.
    pub fn open(&self, address: SocketAddr) -> anyhow::Result<Authenticator> {
        let Some(file) = &self.api_keys else {
            anyhow::ensure!(
                self.allow_anybody || address.ip().to_canonical().is_loopback(),
                "refusing to listen on {address} without API keys: make a key file (see `gateway keys --help`) and give it by \
                 --api-keys FILE, listen on 127.0.0.1, or add --allow-anybody"
            );
            return Ok(Authenticator::open_to_all());
        };
        Authenticator::by_keys(file)
    }
}

/// Checks the API keys of calls. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Authenticator(Option<Arc<KeyChecks>>);

#[derive(Debug)]
struct KeyChecks {
    keys: Reloading<Keys>,
    /// By key name, the theoretical arrival time of the next call.
    arrivals: Mutex<BTreeMap<String, Instant>>,
}

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error(
        "an API key is needed: send the header `x-api-key: KEY` or `authorization: Bearer KEY`"
    )]
    NoKey,
    #[error("the API key is not valid")]
    WrongKey,
    #[error("the API key {name} lacks the role {}", .role.name())]
    WrongRole { name: String, role: Role },
    #[error("the API key {name} is used more often than its limit allows")]
    TooOften { name: String, retry_after: Duration },
}

impl Authenticator {
    /// Returns one that allows every call.
    #[must_use]
    pub fn open_to_all() -> Self {
        Self(None)
    }

    /// Reads the keys in `file`, and reads them again when it changes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn by_keys(file: &Path) -> anyhow::Result<Self> {
        let path = file.to_owned();
        let keys = Reloading::open(vec![path.clone()], move || Keys::read(&path))?;
        Ok(Self(Some(Arc::new(KeyChecks {
            keys,
            arrivals: Mutex::default(),
        }))))
    }

    #[must_use]
    pub fn needs_key(&self) -> bool {
        self.0.is_some()
    }

    /// Checks that a call with these headers has a valid key with `role`, and counts it against the key's rate.
    ///
    /// # Errors
    /// Why the call is denied.
    pub fn check(&self, headers: &HeaderMap, role: Role) -> Result<(), Denied> {
        self.0
            .as_ref()
            .map_or(Ok(()), |checks| checks.check(headers, role, Instant::now()))
    }
}

impl KeyChecks {
    fn check(&self, headers: &HeaderMap, role: Role, now: Instant) -> Result<(), Denied> {
        let text = presented_key(headers).ok_or(Denied::NoKey)?;
        let keys = self.keys.get();
        let (name, key) = keys.authorize(text, role)?;
        if let Some(rate) = key.rate {
            self.count(name.to_owned(), rate, now)?;
        }
        Ok(())
    }

    /// Limits a key to `rate` calls a second with a burst of one second: the generic cell rate algorithm (ITU-T I.371).
    fn count(&self, name: String, rate: f64, now: Instant) -> Result<(), Denied> {
        let interval = Duration::from_secs_f64(1.0 / rate);
        let burst = interval.mul_f64(rate.max(1.0));
        let arrivals = self.arrivals.lock();
        let mut arrivals = arrivals.unwrap_or_else(PoisonError::into_inner);
        let next = arrivals.get(&name).map_or(now, |next| now.max(*next)) + interval;
        let retry_after = next.saturating_duration_since(now + burst);
        if !retry_after.is_zero() {
            return Err(Denied::TooOften { name, retry_after });
        }
        arrivals.insert(name, next);
        Ok(())
    }
}

/// Returns the key in the headers of a call.
#[must_use]
pub fn presented_key(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get(KEY_HEADER) {
        return key.to_str().ok();
    }
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key)
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        let message = denied.to_string();
        match denied {
            Denied::NoKey | Denied::WrongKey => Self::unauthenticated(message),
            Denied::WrongRole { .. } => Self::permission_denied(message),
            Denied::TooOften { retry_after, .. } => {
                let mut status = Self::resource_exhausted(message);
                let seconds = retry_after.as_secs_f64().ceil() as u64;
                status.metadata_mut().insert("retry-after", seconds.into());
                status
            }
        }
    }
}

/// Returns a gRPC request that carries the token, if there is one.
#[must_use]
pub fn called_with<T>(token: Option<&Token>, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Some(token) = token {
        let metadata = request.metadata_mut();
        metadata.insert(AUTHORIZATION.as_str(), token.bearer());
    }
    request
}

/// A client's API key.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Access")]
pub struct KeyArgs {
    /// File with the API key to send [default: the environment variable MUSTER_API_KEY]
    #[arg(long, env = "MUSTER_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,
}

impl KeyArgs {
    /// Reads the key from the file or the environment.
    ///
    /// # Errors
    /// When the file cannot be read or holds no key.
    pub fn key(&self) -> anyhow::Result<Option<Token>> {
        Token::read(self.api_key_file.as_deref(), KEY_VARIABLE)
    }

    /// Returns a gRPC request that carries the key, if there is one.
    ///
    /// # Errors
    /// As [`key`](Self::key).
    pub fn call<T>(&self, message: T) -> anyhow::Result<tonic::Request<T>> {
        Ok(called_with(self.key()?.as_ref(), message))
    }
}

#[cfg(test)]
mod tests;
