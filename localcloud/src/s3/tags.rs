//! The rules for tags of objects and buckets.

use s3s::dto::{Tag, Tagging};
use s3s::{S3ErrorCode, S3Result};

use super::failure::{failure_with, invalid_argument};
use super::store::Tags;

/// Reads the `x-amz-tagging` header of an upload, which is a form.
///
/// # Errors
/// `InvalidArgument`, `InvalidTag` and `BadRequest` as S3 has them.
pub fn from_header(header: Option<&str>) -> S3Result<Tags> {
    let Some(header) = header else {
        return Ok(Tags::new());
    };
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(header).map_err(|_| {
        invalid_argument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
        )
    })?;
    collect(pairs, "Object", 10)
}

/// Reads the tags that a request sets for an object.
///
/// # Errors
/// `InvalidTag` and `BadRequest` as S3 has them.
pub fn of_object(tagging: Tagging) -> S3Result<Tags> {
    collect(pairs(tagging), "Object", 10)
}

/// Reads the tags that a request sets for a bucket.
///
/// # Errors
/// `InvalidTag` and `BadRequest` as S3 has them.
pub fn of_bucket(tagging: Tagging) -> S3Result<Tags> {
    collect(pairs(tagging), "Bucket", 50)
}

pub fn to_tag_set(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag {
            key: Some(key.clone()),
            value: Some(value.clone()),
        })
        .collect()
}

fn pairs(tagging: Tagging) -> impl Iterator<Item = (String, String)> {
    let pair = |tag: Tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
    tagging.tag_set.into_iter().map(pair)
}

fn collect(
    pairs: impl IntoIterator<Item = (String, String)>,
    kind: &str,
    limit: usize,
) -> S3Result<Tags> {
    let invalid = |message| failure_with(S3ErrorCode::InvalidTag, message);
    let mut tags = Tags::new();
    for (key, value) in pairs {
        if key.is_empty() || key.chars().count() > 128 || key.starts_with("aws:") {
            return Err(invalid("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > 256 {
            return Err(invalid("The TagValue you have provided is invalid"));
        }
        if tags.insert(key, value).is_some() {
            return Err(invalid("Cannot provide multiple Tags with the same key"));
        }
    }
    if tags.len() > limit {
        return Err(failure_with(
            S3ErrorCode::Custom("BadRequest".into()),
            format!("{kind} tags cannot be greater than {limit}"),
        ));
    }
    Ok(tags)
}
