//! Reads the signature of a request from the `Authorization` header, or from the query of a presigned URL.

use http::request::Parts;
use http::{HeaderMap, Request, Uri, header};
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use super::AuthError;

/// A signature and its scope.
#[derive(Debug)]
pub struct Signature {
    pub access_key: String,
    /// As in the scope, such as `20261125`.
    pub date: String,
    pub region: String,
    pub service: String,
    pub signed_headers: Vec<String>,
    /// Lower-case hexadecimal.
    pub signature: String,
    pub time: OffsetDateTime,
    /// As it was sent, such as `20261125T023000Z`.
    pub time_text: String,
    /// The lifetime of a presigned URL.
    pub expires: Option<Duration>,
}

/// A week, the longest lifetime of a presigned URL.
const MAX_EXPIRES_SECONDS: u32 = 604_800;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

impl Signature {
    /// Reads a request's signature, if it has one.
    pub fn of(request: &Parts) -> Result<Option<Self>, AuthError> {
        if let Some(authorization) = request.headers.get(header::AUTHORIZATION) {
            let authorization = authorization
                .to_str()
                .map_err(|_| incomplete("Authorization header is not ASCII."))?;
            return Self::of_header(authorization, request).map(Some);
        }
        let query = request.uri.query().unwrap_or_default();
        if query.contains("X-Amz-Signature=") {
            return Self::of_query(query).map(Some);
        }
        Ok(None)
    }

    fn of_header(authorization: &str, request: &Parts) -> Result<Self, AuthError> {
        let fields = authorization.strip_prefix(ALGORITHM).ok_or_else(|| {
            incomplete("Authorization header does not begin with AWS4-HMAC-SHA256.")
        })?;
        let field = |name: &str| {
            fields
                .split(',')
                .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
                .ok_or_else(|| {
                    incomplete(&format!(
                        "Authorization header requires '{name}' parameter."
                    ))
                })
        };
        let time = ["x-amz-date", "date"]
            .into_iter()
            .find_map(|name| request.headers.get(name)?.to_str().ok())
            .ok_or_else(|| {
                incomplete(
                    "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
                )
            })?;
        Self::read(
            field("Credential")?,
            field("SignedHeaders")?,
            field("Signature")?,
            time,
            None,
        )
    }

    fn of_query(query: &str) -> Result<Self, AuthError> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|_| incomplete("The query cannot be read."))?;
        let field = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
                .ok_or_else(|| incomplete(&format!("The query requires '{name}' parameter.")))
        };
        let expires = match field("X-Amz-Expires") {
            Ok(seconds) => seconds
                .parse()
                .ok()
                .filter(|seconds| (1..=MAX_EXPIRES_SECONDS).contains(seconds))
                .ok_or_else(|| incomplete("X-Amz-Expires must be from 1 to 604800."))?,
            // An older kind of query request has the lifetime of a signed header.
            Err(_) => 900,
        };
        Self::read(
            field("X-Amz-Credential")?,
            field("X-Amz-SignedHeaders")?,
            field("X-Amz-Signature")?,
            field("X-Amz-Date")?,
            Some(Duration::seconds(i64::from(expires))),
        )
    }

    fn read(
        credential: &str,
        signed_headers: &str,
        signature: &str,
        time_text: &str,
        expires: Option<Duration>,
    ) -> Result<Self, AuthError> {
        let mut parts = credential.rsplitn(5, '/');
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let (Some("aws4_request"), Some(service), Some(region), Some(date), Some(access_key)) =
            (part(), part(), part(), part(), part())
        else {
            return Err(incomplete(
                "Credential must have the form KEY/DATE/REGION/SERVICE/aws4_request.",
            ));
        };
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let time = PrimitiveDateTime::parse(time_text, format)
            .map_err(|_| incomplete("X-Amz-Date must have the form 20260102T030405Z."))?
            .assume_utc();
        if !time_text.starts_with(date) {
            return Err(incomplete(
                "Date in Credential scope does not match X-Amz-Date.",
            ));
        }
        Ok(Self {
            access_key: access_key.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_headers: signed_headers.split(';').map(str::to_owned).collect(),
            signature: signature.to_owned(),
            time,
            time_text: time_text.to_owned(),
            expires,
        })
    }

    /// Returns the credential without its key.
    pub(super) fn scope(&self) -> String {
        let Self {
            date,
            region,
            service,
            ..
        } = self;
        format!("{date}/{region}/{service}/aws4_request")
    }
}

/// Returns the session token of a request, from its header or its query.
pub fn session_token(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    if let Some(token) = headers.get("x-amz-security-token") {
        return token.to_str().ok().map(str::to_owned);
    }
    let query = uri
        .query()
        .filter(|it| it.contains("X-Amz-Security-Token="))?;
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).ok()?;
    let mut pairs = pairs.into_iter();
    let token = pairs.find(|(name, _)| name == "X-Amz-Security-Token");
    token.map(|(_, token)| token)
}

/// Returns the service that a request is signed for, without verifying the signature.
pub fn signed_service<B>(request: &Request<B>) -> Option<String> {
    if let Some(authorization) = request.headers().get(header::AUTHORIZATION) {
        let authorization = authorization.to_str().ok()?;
        // Only S3 has the older signature, which has no scope.
        let scope = authorization
            .split_once("Credential=")
            .map(|(_, rest)| rest.split(',').next().unwrap_or_default());
        return Some(scope.map_or("s3", service_of_scope).to_owned());
    }
    let credential = request
        .uri()
        .query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
    Some(service_of_scope(&credential.replace("%2F", "/")).to_owned())
}

fn service_of_scope(scope: &str) -> &str {
    scope.rsplit('/').nth(1).unwrap_or_default()
}

fn incomplete(reason: &str) -> AuthError {
    AuthError::Incomplete(reason.to_owned())
}
