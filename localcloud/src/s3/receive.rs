//! The bodies of uploads, verified while they arrive.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use http::{Extensions, HeaderMap};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, TrailingHeaders};

use super::aws_chunked::DecodedTrailers;
use super::checksums::{Algorithm, Checksum, Digests};
use super::failure::{bad_digest, failure, failure_with, internal};
use super::staging::StagedFile;
use super::store::Store;

/// The largest upload or part.
pub const MAX_UPLOAD_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// What the client declares about a body.
#[derive(Debug, Default)]
pub struct DeclaredBody {
    pub content_length: Option<i64>,
    /// Base64.
    pub content_md5: Option<String>,
    pub checksums: Vec<(Algorithm, String)>,
    /// The checksum that follows the bytes.
    pub trailer: Option<Algorithm>,
    /// The checksum to compute if none is declared.
    pub default_algorithm: Option<Algorithm>,
}

/// A body that has arrived and matches its declaration.
#[derive(Debug)]
pub struct ReceivedBody {
    pub staged: StagedFile,
    pub size: u64,
    /// The hexadecimal MD5.
    pub etag: String,
    pub checksum: Option<Checksum>,
}

impl DeclaredBody {
    /// Returns the trailing checksum that the headers announce.
    ///
    /// # Errors
    /// `InvalidRequest` for a trailer that S3 does not support.
    pub fn announced_trailer(headers: &HeaderMap) -> S3Result<Option<Algorithm>> {
        let Some(names) = headers.get("x-amz-trailer") else {
            return Ok(None);
        };
        let names = names.to_str().unwrap_or_default().trim();
        let announced = Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.header().eq_ignore_ascii_case(names));
        announced.map(Some).ok_or_else(|| {
            failure_with(
                S3ErrorCode::InvalidRequest,
                "The value specified in the x-amz-trailer header is not supported",
            )
        })
    }

    /// Reads the bytes and verifies them.
    ///
    /// # Errors
    /// When the bytes differ from the declaration or do not all arrive.
    pub async fn receive(
        mut self,
        store: &Store,
        body: Option<StreamingBlob>,
        trailers: Option<Trailers>,
    ) -> S3Result<ReceivedBody> {
        let too_large = || failure(S3ErrorCode::EntityTooLarge);
        if self
            .content_length
            .is_some_and(|length| length as u64 > MAX_UPLOAD_BYTES)
        {
            return Err(too_large());
        }
        let expected_md5 = self.expected_md5()?;
        let mut digests = Digests::new(self.algorithm()?);
        let mut staged = StagedFile::default();
        let mut size = 0;
        if let Some(mut body) = body {
            while let Some(bytes) = body.next().await {
                let bytes = bytes.map_err(broken_upload)?;
                size += bytes.len() as u64;
                if size > MAX_UPLOAD_BYTES {
                    return Err(too_large());
                }
                digests.update(&bytes);
                staged.push(store, &bytes).await.map_err(internal)?;
            }
        }
        if let Some(trailer) = self.trailer {
            let value = trailers.and_then(|trailers| trailers.take(&trailer.header()));
            let value = value.ok_or_else(|| {
                failure_with(
                    S3ErrorCode::Custom("MalformedTrailerError".into()),
                    "The request contained trailing data that was not well-formed or did not conform to our published schema.",
                )
            })?;
            self.checksums.push((trailer, value));
        }
        let (md5, checksum) = digests.finish();
        if expected_md5.is_some_and(|expected| expected != md5) {
            return Err(failure(S3ErrorCode::BadDigest));
        }
        if let (Some((_, declared)), Some(checksum)) = (self.checksums.first(), &checksum)
            && *declared != checksum.value
        {
            return Err(bad_digest(checksum.algorithm));
        }
        Ok(ReceivedBody {
            staged,
            size,
            etag: hex::encode(md5),
            checksum,
        })
    }

    fn expected_md5(&self) -> S3Result<Option<Vec<u8>>> {
        let Some(text) = &self.content_md5 else {
            return Ok(None);
        };
        match STANDARD.decode(text) {
            Ok(md5) if md5.len() == 16 => Ok(Some(md5)),
            _ => Err(failure(S3ErrorCode::InvalidDigest)),
        }
    }

    fn algorithm(&self) -> S3Result<Option<Algorithm>> {
        let declared = self.checksums.iter().map(|(algorithm, _)| *algorithm);
        let mut all = declared.chain(self.trailer);
        let first = all.next();
        if all.next().is_some() {
            return Err(failure_with(
                S3ErrorCode::InvalidRequest,
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        if let Some((algorithm, value)) = self.checksums.first()
            && !algorithm.accepts(value)
        {
            return Err(failure_with(
                S3ErrorCode::InvalidRequest,
                format!("Value for {} header is invalid.", algorithm.header()),
            ));
        }
        Ok(first.or(self.default_algorithm))
    }
}

/// The headers that follow a body.
#[derive(Debug)]
pub enum Trailers {
    Verified(TrailingHeaders),
    Decoded(DecodedTrailers),
}

impl Trailers {
    /// Returns the trailers of a request whose body `s3s` or `aws_chunked` decodes.
    pub fn of(verified: Option<TrailingHeaders>, extensions: &mut Extensions) -> Option<Self> {
        // Those of a request that a route passes on are an extension.
        let verified = verified.or_else(|| extensions.remove());
        let verified = verified.map(Self::Verified);
        verified.or_else(|| extensions.remove().map(Self::Decoded))
    }

    fn take(self, name: &str) -> Option<String> {
        let headers = match self {
            Self::Verified(trailers) => trailers.take()?,
            Self::Decoded(trailers) => trailers.take(),
        };
        Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
    }
}

/// Translates the error of a body that ended early. `s3s` tells its causes apart only by their texts.
fn broken_upload(error: StdError) -> S3Error {
    let reason = error.to_string();
    if reason.contains("Sha256Mismatch") {
        failure_with(
            S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()),
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    } else if reason.contains("SignatureMismatch") {
        failure(S3ErrorCode::SignatureDoesNotMatch)
    } else {
        tracing::debug!(%error, "an upload ended early");
        failure(S3ErrorCode::IncompleteBody)
    }
}
