//! Results in the object store.

use bytes::Bytes;
use platform::objects::{Metadata, ObjectError, Objects, Put};
use proto::FileName;
use sha2::{Digest, Sha256};

/// Metadata key of a result: the digest of its photo.
const PHOTO_SHA256: &str = "photo-sha256";
/// Attempts at a key that is neither free nor readable.
const ATTEMPTS: u32 = 4;

/// Returns the SHA-256 of a photo in lower case hexadecimal, as jobs and metadata have it.
#[must_use]
pub fn digest(photo: &[u8]) -> String {
    hex::encode(Sha256::digest(photo))
}

/// Stores a result under the first of its [keys](result_keys) that is free or has a result of the same photo, which it
/// replaces. Returns [`Put::Exists`], and stores nothing, when other photos' results have all of them.
///
/// # Errors
/// When the object store cannot be reached or refuses.
pub async fn store_result(
    results: &Objects,
    object_key: &FileName,
    photo_sha256: &str,
    result: &str,
) -> Result<Put, ObjectError> {
    let metadata = Metadata::from([(PHOTO_SHA256.to_owned(), photo_sha256.to_owned())]);
    let body = Bytes::copy_from_slice(result.as_bytes());
    for key in result_keys(object_key, photo_sha256) {
        for attempt in 1.. {
            let put = results.put_if_absent(&key, body.clone(), metadata.clone());
            if put.await? == Put::Stored {
                return Ok(Put::Stored);
            }
            match results.metadata(&key).await {
                Ok(stored)
                    if stored
                        .get(PHOTO_SHA256)
                        .is_some_and(|it| it == photo_sha256) =>
                {
                    results.put(&key, body, metadata).await?;
                    return Ok(Put::Stored);
                }
                Ok(_) => break,
                // Another worker's put is under way, or the object was deleted meanwhile.
                Err(ObjectError::NotFound(_)) if attempt < ATTEMPTS => {}
                Err(ObjectError::NotFound(key)) => {
                    let why = format!("{key} is neither free nor there");
                    return Err(ObjectError::Unavailable(why));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(Put::Exists)
}

/// Returns the keys to try for a result: the object key without its extension, then with the digest added to it, since
/// `a.jpg` and `a.png` share the first. A client may have sent another photo under the name with the short digest.
pub fn result_keys(object_key: &FileName, photo_sha256: &str) -> [String; 3] {
    let derived = |tag: &str| object_key.derived(tag).stem().to_owned();
    [
        object_key.stem().to_owned(),
        derived(&photo_sha256[..16]),
        derived(photo_sha256),
    ]
}
