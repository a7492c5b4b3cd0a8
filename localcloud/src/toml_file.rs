//! Reads TOML files.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

/// Why a file cannot be read.
#[derive(Debug, Error)]
#[error("cannot read {path}: {reason}")]
pub struct FileError {
    path: PathBuf,
    reason: String,
}

/// Reads a value from a file.
///
/// # Errors
/// When the file cannot be read, or has another form.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let error = |reason: String| FileError {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|cause| error(cause.to_string()))?;
    toml::from_str(&text).map_err(|cause| error(cause.to_string()))
}
