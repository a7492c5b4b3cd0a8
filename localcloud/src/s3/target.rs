//! The bucket, key and action of a request, read from its method, host, path and query.

use http::{Method, Request, header};
use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

use crate::browser::is_name_of_aws;

/// Bucket, key and action of a request.
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
        let path = request.uri().path();
        let host = request.headers().get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        let (bucket, key) = match host.and_then(bucket_of_host) {
            Some(bucket) => {
                let key = percent_decode(path.strip_prefix('/').unwrap_or(path))?;
                (bucket.to_owned(), key)
            }
            None => {
                let path = percent_decode(path.trim_start_matches('/'))?;
                let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
                (bucket.to_owned(), key.to_owned())
            }
        };
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
            bucket,
            key,
            action,
        })
    }
}

/// Tells `s3s` which bucket a host names.
#[derive(Debug, Clone, Copy)]
pub struct VirtualHosts;

impl S3Host for VirtualHosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let parsed = VirtualHost::new(host);
        Ok(match bucket_of_host(host) {
            Some(bucket) => parsed.with_bucket(bucket),
            None => parsed,
        })
    }
}

/// Returns the bucket of a host such as `bucket.localhost:4566` or `bucket.s3.us-east-1.amazonaws.com`; `None` for the host
/// of a service.
pub fn bucket_of_host(host: &str) -> Option<&str> {
    let name = host.split(':').next().unwrap_or_default();
    let name = name.trim_end_matches('.');
    let end = if is_name_of_aws(name) {
        // S3 has names such as `s3-fips`, too.
        name.rfind(".s3.").max(name.rfind(".s3-"))
    } else if name == "localhost" || name.ends_with(".localhost") {
        name.rfind(".s3.").or_else(|| name.rfind(".localhost"))
    } else {
        None
    };
    let bucket = &name[..end?];
    (!bucket.is_empty() && bucket != "s3").then_some(bucket)
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
    fn a_host_may_name_the_bucket() {
        for (host, path, bucket, key) in [
            ("b.localhost:4566", "/folder/k", "b", "folder/k"),
            ("b.localhost", "//k", "b", "/k"),
            ("b.localhost", "/", "b", ""),
            ("a.b.s3.us-east-1.amazonaws.com", "/k", "a.b", "k"),
            ("b.s3.amazonaws.com", "/k", "b", "k"),
            ("b.s3.localhost:4566", "/k", "b", "k"),
            ("b.s3-fips.us-east-1.amazonaws.com", "/k", "b", "k"),
            ("b.s3.cn-north-1.amazonaws.com.cn", "/k", "b", "k"),
            ("b.s3.evilamazonaws.com", "/b/k", "b", "k"),
            ("b.s3-data.localhost", "/k", "b.s3-data", "k"),
            ("s3.us-east-1.amazonaws.com", "/b/k", "b", "k"),
            ("s3.localhost", "/b/k", "b", "k"),
            ("localhost:4566", "/b/k", "b", "k"),
            ("127.0.0.1:4566", "/b/k", "b", "k"),
            ("[::1]:4566", "/b/k", "b", "k"),
            ("host.docker.internal", "/b/k", "b", "k"),
        ] {
            let request = Request::get(path).header(header::HOST, host);
            let target = Target::of(&request.body(()).unwrap()).unwrap();
            assert_eq!((&*target.bucket, &*target.key), (bucket, key), "{host}");
        }
    }

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
