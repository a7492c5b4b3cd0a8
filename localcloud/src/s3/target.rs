//! The bucket, key and action of a request, read from its method, path and query.

use http::{Method, Request};

/// Bucket, key and action of a request in path style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Empty for a request to the service.
    pub bucket: String,
    /// Empty for a request to a bucket.
    pub key: String,
    /// S3's name for the action.
    pub action: &'static str,
}

impl Target {
    /// Reads a request; `None` if its path is not percent-encoded UTF-8.
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        let path = percent_decode(request.uri().path().trim_start_matches('/'))?;
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let query = request.uri().query().unwrap_or_default();
        // s3s decodes the names, and refuses a malformed query.
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
        let query: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        let copies = request.headers().contains_key("x-amz-copy-source");
        let action = action(
            request.method(),
            !bucket.is_empty(),
            !key.is_empty(),
            &query,
            copies,
        );
        Some(Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            action,
        })
    }
}

fn action(method: &Method, bucket: bool, key: bool, query: &[&str], copies: bool) -> &'static str {
    let has = |name: &str| query.contains(&name);
    // The action only names the request in metrics and faults; s3s routes it.
    let sub_resource = query.iter().any(|name| SUB_RESOURCES.contains(name));
    match (method.as_str(), bucket, key) {
        ("GET", false, _) => "ListBuckets",
        ("PUT", true, false) if !sub_resource => "CreateBucket",
        ("HEAD", true, false) => "HeadBucket",
        ("DELETE", true, false) if !sub_resource => "DeleteBucket",
        ("POST", true, false) if has("delete") => "DeleteObjects",
        ("POST", true, false) => "PostObject",
        ("GET", true, false) if has("location") => "GetBucketLocation",
        ("GET", true, false) if has("uploads") => "ListMultipartUploads",
        ("GET", true, false) if has("list-type") => "ListObjectsV2",
        ("GET", true, false) if !sub_resource => "ListObjects",
        ("PUT", true, true) if has("uploadId") && copies => "UploadPartCopy",
        ("PUT", true, true) if has("uploadId") => "UploadPart",
        ("PUT", true, true) if sub_resource => "Other",
        ("PUT", true, true) if copies => "CopyObject",
        ("PUT", true, true) => "PutObject",
        ("POST", true, true) if has("uploads") => "CreateMultipartUpload",
        ("POST", true, true) if has("uploadId") => "CompleteMultipartUpload",
        ("GET", true, true) if has("uploadId") => "ListParts",
        ("GET", true, true) if !sub_resource => "GetObject",
        ("HEAD", true, true) => "HeadObject",
        ("DELETE", true, true) if has("uploadId") => "AbortMultipartUpload",
        ("DELETE", true, true) if !sub_resource => "DeleteObject",
        _ => "Other",
    }
}

const SUB_RESOURCES: [&str; 21] = [
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "encryption",
    "inventory",
    "legal-hold",
    "lifecycle",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "publicAccessBlock",
    "replication",
    "retention",
    "tagging",
    "versioning",
    "website",
];

/// Decodes a percent-encoded text; `None` if it is malformed.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_query_are_decoded() {
        for (query, expected) in [
            ("tagging", "Other"),
            ("%74agging", "Other"),
            ("x=tagging", "GetObject"),
        ] {
            let request = Request::get(format!("/b/k?{query}")).body(()).unwrap();
            assert_eq!(Target::of(&request).unwrap().action, expected, "{query}");
        }
    }
}
