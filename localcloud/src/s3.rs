//! S3: the `s3s` protocol over the `s3s-fs` file store, with what that store lacks mended in front of it.

mod key_locks;
mod target;

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tracing::{debug, warn};

pub use target::Target;

use crate::config::Authentication;
use crate::xml::Xml;
use key_locks::{KeyGuard, KeyLocks};

/// The S3 service of one account.
#[derive(Debug)]
pub struct S3 {
    service: S3Service,
    root: PathBuf,
    locks: KeyLocks,
}

/// Uploads up to this size are read before their object is locked, so that a slow client holds nobody up and one that
/// goes away leaves no trace. Larger ones are written as they come.
const READ_FIRST_BYTES: u64 = 16 * 1024 * 1024;
/// The longest name that file systems take.
const MOST_NAME_BYTES: usize = 255;

impl S3 {
    /// A service over a folder, whose sub-folders are the buckets.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn new(root: &Path, authentication: &Authentication) -> io::Result<Self> {
        let store =
            FileSystem::new(root).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut builder = S3ServiceBuilder::new(store);
        if let Authentication::Keys(credentials) = authentication {
            builder.set_auth(SimpleAuth::from_single(
                credentials.access_key.clone(),
                credentials.secret_key.as_str(),
            ));
        }
        Ok(Self {
            service: builder.build(),
            root: root.to_owned(),
            locks: KeyLocks::default(),
        })
    }

    /// Answers one request.
    pub async fn call(&self, target: &Target, request: Request<Incoming>) -> Response<Body> {
        if let Some(refusal) = self.refuse(target) {
            return refusal.response(&target.bucket, &target.key);
        }
        let (parts, body) = request.into_parts();
        let body = match content_length(&parts.headers) {
            Some(length) if length <= READ_FIRST_BYTES => match body.collect().await {
                Ok(collected) => Body::from(collected.to_bytes()),
                Err(error) => {
                    debug!(%error, "client went away while it uploaded");
                    return Refusal::IncompleteBody.response(&target.bucket, &target.key);
                }
            },
            _ => Body::from(body),
        };
        let _guard = self.lock(target).await;
        match self.service.call(Request::from_parts(parts, body)).await {
            Ok(response) => response,
            Err(error) => {
                warn!(?error, action = target.action, "S3 request failed");
                Refusal::InternalError.response(&target.bucket, &target.key)
            }
        }
    }

    async fn lock(&self, target: &Target) -> Option<KeyGuard> {
        let path = || format!("{}/{}", target.bucket, target.key);
        match target.action {
            "GetObject" | "HeadObject" => Some(self.locks.read(&path()).await),
            "PutObject" | "CopyObject" | "DeleteObject" | "CompleteMultipartUpload" => {
                Some(self.locks.write(&path()).await)
            }
            _ => None,
        }
    }

    /// What S3 refuses and s3s-fs would do, or would do wrongly.
    fn refuse(&self, target: &Target) -> Option<Refusal> {
        // Such a name is no bucket's, and s3s says so.
        if !s3s::path::check_bucket_name(&target.bucket) {
            return None;
        }
        let folder = self.root.join(&target.bucket);
        let exists = folder.is_dir();
        if target.action == "CreateBucket" {
            return exists.then_some(Refusal::BucketAlreadyOwnedByYou);
        }
        if !exists {
            return Some(Refusal::NoSuchBucket);
        }
        if target.action == "DeleteBucket" && holds_any_file(&folder) {
            return Some(Refusal::BucketNotEmpty);
        }
        check_key(&target.bucket, &target.key).err()
    }
}

/// An answer that s3s is not asked for.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    BucketAlreadyOwnedByYou,
    BucketNotEmpty,
    IncompleteBody,
    InternalError,
    KeyNotStorable,
    KeyTooLong,
    NoSuchBucket,
}

impl Refusal {
    fn response(self, bucket: &str, key: &str) -> Response<Body> {
        let (status, code, message) = match self {
            Self::BucketAlreadyOwnedByYou => (
                StatusCode::CONFLICT,
                "BucketAlreadyOwnedByYou",
                "Your previous request to create the named bucket succeeded and you already own it.",
            ),
            Self::BucketNotEmpty => (
                StatusCode::CONFLICT,
                "BucketNotEmpty",
                "The bucket you tried to delete is not empty",
            ),
            Self::IncompleteBody => (
                StatusCode::BAD_REQUEST,
                "IncompleteBody",
                "The request body terminated unexpectedly",
            ),
            Self::InternalError => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "We encountered an internal error.",
            ),
            Self::KeyNotStorable => (
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "localcloud stores objects as files and cannot store a key with a '.' or '..' segment or a NUL.",
            ),
            Self::KeyTooLong => (
                StatusCode::BAD_REQUEST,
                "KeyTooLongError",
                "Your key is too long",
            ),
            Self::NoSuchBucket => (
                StatusCode::NOT_FOUND,
                "NoSuchBucket",
                "The specified bucket does not exist",
            ),
        };
        let mut xml = Xml::document();
        xml.element("Error", |xml| {
            xml.text("Code", code);
            xml.text("Message", message);
            xml.text("BucketName", bucket);
            xml.text("Key", key);
        });
        let mut response = Response::new(Body::from(Bytes::from(xml.into_text())));
        *response.status_mut() = status;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/xml"),
        );
        response
    }
}

/// s3s-fs resolves a key as a path, and keeps its metadata in a file whose name holds bucket and key in base64.
fn check_key(bucket: &str, key: &str) -> Result<(), Refusal> {
    if key.contains('\0')
        || key
            .split('/')
            .any(|segment| segment == "." || segment == "..")
    {
        return Err(Refusal::KeyNotStorable);
    }
    let base64_length = |text: &str| (text.len() * 4).div_ceil(3);
    let metadata_name = ".bucket-".len()
        + base64_length(bucket)
        + ".object-".len()
        + base64_length(key)
        + ".metadata.json".len();
    if metadata_name > MOST_NAME_BYTES
        || key
            .split('/')
            .any(|segment| segment.len() > MOST_NAME_BYTES)
    {
        return Err(Refusal::KeyTooLong);
    }
    Ok(())
}

/// Deleting objects leaves their folders, which are no objects.
fn holds_any_file(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => holds_any_file(&entry.path()),
        _ => true,
    })
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
