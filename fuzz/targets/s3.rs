//! localcloud's S3, and the signatures of all its services. An input is requests, ended by NUL: a line with method and
//! path, lines with headers, an empty line, the body. They are made in order, in a bucket `bkt`: to a service that takes any
//! signature or none, and to one that verifies them.

#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use localcloud::fuzzing::{Clock, Iam, S3, Sqs, Target, signed_service};
use localcloud::{Authentication, Credentials};
use muster_fuzz::{is_xml, request};
use time::OffsetDateTime;
use time::macros::{datetime, format_description};
use tokio::runtime::{Builder, Runtime};

const MOST_REQUESTS: usize = 8;
const NOW: OffsetDateTime = datetime!(2026-11-28 12:00:00 UTC);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
});
static KEYS: LazyLock<Arc<Iam>> = LazyLock::new(|| {
    let keys = Authentication::Keys(Credentials {
        access_key: "test".to_owned(),
        secret_key: "test".to_owned(),
    });
    Iam::without_roles(Clock::start(), keys)
});

fuzz_target!(|input: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let open = |iam| {
        let sqs = Arc::new(Sqs::new(Clock::start(), "us-east-1"));
        S3::new(folder.path(), iam, "us-east-1", Clock::start(), sqs, None)
            .expect("the folder is there")
    };
    let any = Iam::without_roles(Clock::start(), Authentication::Any);
    let (open_to_all, signed_only) = (open(any), open(Arc::clone(&KEYS)));
    let creation = request(b"PUT /bkt").expect("it is a request");
    let refused = call(&signed_only, forged(creation.clone()));
    assert_eq!(refused, Some(StatusCode::FORBIDDEN));
    assert_eq!(call(&open_to_all, creation), Some(StatusCode::OK));
    for bytes in input.split(|&byte| byte == 0).take(MOST_REQUESTS) {
        let Some(request) = request(bytes) else {
            continue;
        };
        let (parts, body) = request.clone().into_parts();
        let _ = KEYS.verify(&parts, &body, "sqs", NOW);
        call(&signed_only, forged(request.clone()));
        call(&open_to_all, request);
    }
});

/// Adds a forged signature to a request without one. A service that verifies it computes the true one before it refuses.
fn forged(mut request: Request<Bytes>) -> Request<Bytes> {
    let is_signed = signed_service(&request).is_some();
    let headers = request.headers_mut();
    if is_signed || headers.contains_key(AUTHORIZATION) {
        return request;
    }
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let now = OffsetDateTime::now_utc().format(format);
    let now = now.expect("it has a date and a time");
    let value = |text: &str| HeaderValue::from_str(text).expect("it is ASCII");
    headers.insert("x-amz-date", value(&now));
    for (name, default) in [
        (HOST, "localhost:4566"),
        (
            HeaderName::from_static("x-amz-content-sha256"),
            "UNSIGNED-PAYLOAD",
        ),
    ] {
        headers.entry(name).or_insert(value(default));
    }
    let names = headers.keys().map(HeaderName::as_str);
    let mut signed: Vec<_> = names
        .filter(|name| *name == "host" || name.starts_with("x-amz-"))
        .collect();
    signed.sort_unstable();
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=test/{}/us-east-1/s3/aws4_request, SignedHeaders={}, Signature={:064}",
        &now[..8],
        signed.join(";"),
        0
    );
    headers.insert(AUTHORIZATION, value(&authorization));
    request
}

/// Calls the service and returns the status; `None` for a path that the router refuses.
fn call(s3: &S3, mut request: Request<Bytes>) -> Option<StatusCode> {
    let target = Target::of(&request)?;
    // The server checks that a length is that of the body. Without one, S3 refuses documents unread.
    if !request.headers().contains_key(TRANSFER_ENCODING) {
        let length = HeaderValue::from(request.body().len());
        request.headers_mut().insert(CONTENT_LENGTH, length);
    }
    let request = request.map(|body| s3s::Body::http_body(Full::new(body)));
    let (parts, body) = RUNTIME.block_on(async {
        let (parts, body) = s3.call(&target, request).await.into_parts();
        let body = body.collect().await;
        (parts, body.map(|body| body.to_bytes()).unwrap_or_default())
    });
    let text = String::from_utf8_lossy(&body);
    let status = parts.status.as_u16();
    // What S3 has and localcloud does not is answered with 501.
    assert!(status < 500 || status == 501, "{status} {text}");
    // Only replies with an object have it. The target's action may be another one: it is a name for metrics.
    let is_object = parts.headers.contains_key(ACCEPT_RANGES);
    assert!(is_object || text.is_empty() || is_xml(&text), "{text}");
    Some(parts.status)
}
