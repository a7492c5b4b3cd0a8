//! The metadata of objects, uploads and parts, as their files have it.

use std::collections::BTreeMap;

use s3s::dto::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use time::OffsetDateTime;

use super::Tags;
use crate::clock::Millis;
use crate::s3::checksums::{Algorithm, Checksum};
use crate::s3::conditions::http_date;

/// An object's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    pub key: String,
    /// Grows from one version of the object to the next.
    pub number: u64,
    pub size: u64,
    /// The entity tag without quotes.
    pub etag: String,
    pub modified: Millis,
    pub description: Description,
    pub tags: Tags,
    pub checksum: Option<Checksum>,
    /// Empty unless the object is a multipart upload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ObjectPart>,
}

/// The headers and user metadata that the uploader sets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Description {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// Any text.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "read_expires"
    )]
    pub expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website_redirect_location: Option<String>,
    /// `None` is `STANDARD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// A part of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPart {
    pub number: u16,
    pub size: u64,
    pub checksum: Option<Checksum>,
}

/// An unfinished multipart upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    pub id: String,
    pub key: String,
    pub initiated: Millis,
    pub description: Description,
    pub tags: Tags,
    pub algorithm: Option<Algorithm>,
    /// Whether the object's checksum is computed from the parts' checksums.
    pub composite: bool,
}

/// A part of an unfinished upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub number: u16,
    pub size: u64,
    pub etag: String,
    pub modified: Millis,
    pub checksum: Option<Checksum>,
}

/// Reads a text, or the seconds since the Unix epoch that earlier versions wrote.
fn read_expires<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Text(String),
        Seconds(i64),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Text(text) => Some(text),
        Stored::Seconds(seconds) => {
            let time = OffsetDateTime::from_unix_timestamp(seconds).ok();
            time.and_then(|time| http_date(&Timestamp::from(time)))
        }
    })
}

impl Description {
    pub fn storage_class(&self) -> &str {
        self.storage_class.as_deref().unwrap_or("STANDARD")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expires_is_read_as_earlier_versions_wrote_it() {
        let read = |text: &str| serde_json::from_str::<Description>(text).map(|it| it.expires);
        for (text, expected) in [
            (
                r#"{"expires": 2000000000}"#,
                Some("Wed, 18 May 2033 03:33:20 GMT"),
            ),
            (r#"{"expires": "5d"}"#, Some("5d")),
            ("{}", None),
        ] {
            let expires = read(text).ok().flatten();
            assert_eq!(expires.as_deref(), expected, "{text}");
        }
    }
}
