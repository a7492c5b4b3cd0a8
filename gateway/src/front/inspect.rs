use bytes::Bytes;
use photo::{DecodeError, DecodeLimits};
use sha2::{Digest, Sha256};

use crate::error::{ErrorCode, RequestError};

/// A photo whose header was read. Its pixels are decoded by a worker only.
#[derive(Debug, Clone)]
pub struct Photo {
    pub bytes: Bytes,
    /// Lower case hexadecimal.
    pub sha256: String,
}

impl Photo {
    /// # Errors
    /// When a worker would refuse the photo by its header.
    pub fn inspect(bytes: Bytes, limits: &DecodeLimits) -> Result<Self, RequestError> {
        photo::inspect(&bytes, limits).map_err(|error| refused(&error))?;
        let sha256 = hexadecimal(&Sha256::digest(&bytes));
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

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sha_256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hexadecimal(&Sha256::digest(b"")), empty);
    }

    #[test]
    fn other_files_are_no_images() {
        for file in [b"hello, this is text".as_slice(), b"GIF89a\x01\x00\x01\x00"] {
            let refused = Photo::inspect(Bytes::copy_from_slice(file), &DecodeLimits::default());
            assert_eq!(refused.unwrap_err().code, ErrorCode::NotAnImage);
        }
    }
}
