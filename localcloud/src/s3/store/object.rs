//! What is known about objects, uploads and their parts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Tags;
use crate::clock::Millis;
use crate::s3::checksums::{Algorithm, Checksum};

/// An object but for its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    pub key: String,
    /// Of this very version of it, and growing from one to the next.
    pub number: u64,
    pub size: u64,
    /// Without its quotes.
    pub etag: String,
    pub modified: Millis,
    pub description: Description,
    pub tags: Tags,
    pub checksum: Option<Checksum>,
    /// Of an object that was uploaded in parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ObjectPart>,
}

/// What the uploader says about an object.
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
    /// Seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website_redirect_location: Option<String>,
    /// None is STANDARD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// A part of a finished object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPart {
    pub number: u16,
    pub size: u64,
    pub checksum: Option<Checksum>,
}

/// An upload in parts that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    pub id: String,
    pub key: String,
    pub initiated: Millis,
    pub description: Description,
    pub tags: Tags,
    pub algorithm: Option<Algorithm>,
    /// Whether the object's checksum is to be one of its parts' checksums.
    pub composite: bool,
}

/// A part that waits for the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub number: u16,
    pub size: u64,
    pub etag: String,
    pub modified: Millis,
    pub checksum: Option<Checksum>,
}

impl Object {
    pub fn storage_class(&self) -> &str {
        self.description
            .storage_class
            .as_deref()
            .unwrap_or("STANDARD")
    }
}
