//! Reads the files to convert. Errors name them.

use std::path::Path;

use super::error::{ContentError, ConvertError};
use super::torch_file::TorchFile;

/// Reads a file of torch and converts it.
pub fn with_torch_file<T>(
    path: &Path,
    convert: impl FnOnce(&TorchFile<'_>) -> Result<T, ContentError>,
) -> Result<T, ConvertError> {
    let bytes = read(path)?;
    TorchFile::parse(&bytes)
        .map_err(ContentError::from)
        .and_then(|file| convert(&file))
        .map_err(|reason| content_error(path, reason))
}

pub fn read(path: &Path) -> Result<Vec<u8>, ConvertError> {
    std::fs::read(path).map_err(|source| ConvertError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Returns the error of a file's content.
pub fn content_error(path: &Path, reason: ContentError) -> ConvertError {
    ConvertError::Content {
        path: path.to_owned(),
        reason,
    }
}
