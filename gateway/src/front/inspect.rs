use bytes::Bytes;
use photo::{DecodeError, DecodeLimits};
use sha2::{Digest, Sha256};

use crate::error::{ErrorCode, RequestError};

/// A photo whose headers are valid. Only a worker decodes its pixels.
#[derive(Debug, Clone)]
pub struct InspectedPhoto {
    pub bytes: Bytes,
    /// In lower-case hexadecimal.
    pub sha256: String,
}

impl InspectedPhoto {
    /// Checks the headers and computes the digest.
    ///
    /// # Errors
    /// When a worker would refuse the photo by its headers.
    pub fn inspect(bytes: Bytes, limits: &DecodeLimits) -> Result<Self, RequestError> {
        photo::inspect(&bytes, limits).map_err(|error| refused(&error))?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Ok(Self { bytes, sha256 })
    }
}

fn refused(error: &DecodeError) -> RequestError {
    let code = match error {
        DecodeError::NotAnImage | DecodeError::Unsupported(_) => ErrorCode::NotAnImage,
        DecodeError::Damaged(_) | DecodeError::Truncated => ErrorCode::DamagedImage,
        DecodeError::TooManyPixels { .. } | DecodeError::TooSlow(_) => ErrorCode::TooManyPixels,
    };
    RequestError::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_not_images() {
        for file in [b"hello, this is text".as_slice(), b"GIF89a\x01\x00\x01\x00"] {
            let refused =
                InspectedPhoto::inspect(Bytes::copy_from_slice(file), &DecodeLimits::default());
            assert_eq!(refused.unwrap_err().code, ErrorCode::NotAnImage);
        }
    }
}
