//! Results in the object store.

use bytes::Bytes;
use platform::objects::{Metadata, ObjectError, Objects, Put};
use proto::FileName;
use sha2::{Digest, Sha256};

/// Metadata key of a result: the digest of its photo.
const PHOTO_SHA256: &str = "photo-sha256";

/// Returns the SHA-256 of a photo in lower case hexadecimal, as jobs and metadata have it.
#[must_use]
pub fn digest(photo: &[u8]) -> String {
    let digest = Sha256::digest(photo);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Stores a result under the object key without its extension, and replaces a result of the same photo. If another
/// photo's result has that key (`a.jpg` and `a.png`), the digest is added to it.
///
/// # Errors
/// When the object store cannot be reached or refuses.
pub async fn store_result(
    results: &Objects,
    object_key: &FileName,
    photo_sha256: &str,
    result: &str,
) -> Result<(), ObjectError> {
    let metadata = Metadata::from([(PHOTO_SHA256.to_owned(), photo_sha256.to_owned())]);
    let body = Bytes::copy_from_slice(result.as_bytes());
    let key = object_key.stem();
    if results
        .put_if_absent(key, body.clone(), metadata.clone())
        .await?
        == Put::Stored
    {
        return Ok(());
    }
    let stored = results.metadata(key).await?;
    if stored
        .get(PHOTO_SHA256)
        .is_some_and(|stored| stored == photo_sha256)
    {
        return results.put(key, body, metadata).await;
    }
    let derived = object_key.derived(&photo_sha256[..16]);
    results.put(derived.stem(), body, metadata).await
}
