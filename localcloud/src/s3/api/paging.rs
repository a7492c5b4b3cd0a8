//! What the lists of buckets, objects, uploads and parts share.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use s3s::S3Result;
use s3s::dto::EncodingType;

use crate::s3::encoding::url_encode;
use crate::s3::failure::invalid_argument;

const MAX_ENTRIES_PER_PAGE: i32 = 1000;

/// How a list writes keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyEncoding {
    Plain,
    Url,
}

impl KeyEncoding {
    pub fn of(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self::Plain),
            Some("url") => Ok(Self::Url),
            Some(_) => Err(invalid_argument(
                "Invalid Encoding Method specified in Request",
            )),
        }
    }

    pub fn write(self, text: impl AsRef<str>) -> String {
        match self {
            Self::Plain => text.as_ref().to_owned(),
            Self::Url => url_encode(text.as_ref()),
        }
    }

    pub fn optional(self, text: Option<String>) -> Option<String> {
        text.map(|text| self.write(text))
    }
}

/// Returns the size of a page, at most 1000.
pub fn page_size(requested: Option<i32>) -> S3Result<i32> {
    match requested.unwrap_or(MAX_ENTRIES_PER_PAGE) {
        size if size >= 0 => Ok(size.min(MAX_ENTRIES_PER_PAGE)),
        _ => Err(invalid_argument(
            "Argument maxKeys must be an integer between 0 and 2147483647",
        )),
    }
}

/// Cuts a list to a page; true if entries are left over.
pub fn truncate<T>(entries: &mut Vec<T>, size: i32) -> bool {
    let truncated = entries.len() > size as usize;
    entries.truncate(size as usize);
    truncated
}

/// Returns the token of the page after a name.
pub fn encode_token(name: &str) -> String {
    URL_SAFE.encode(name)
}

pub fn decode_token(token: &str) -> S3Result<String> {
    let bytes = URL_SAFE.decode(token).ok();
    bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .filter(|name| !name.is_empty())
        .ok_or_else(|| invalid_argument("The continuation token provided is incorrect"))
}
