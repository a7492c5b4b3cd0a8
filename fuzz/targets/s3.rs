//! localcloud's S3, and the signatures of all its services. An input is requests, ended by NUL: a line with method and
//! path, lines with headers, an empty line, the body. They are made in order, in a bucket `bkt`.

#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use localcloud::fuzzing::{Clock, Iam, S3, Sqs, Target, signed_service};
use localcloud::{Authentication, Credentials};
use muster_fuzz::{is_xml, request};
use time::OffsetDateTime;
use time::macros::datetime;
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
    call(&open_to_all, request(b"PUT /bkt").expect("it is a request"));
    for bytes in input.split(|&byte| byte == 0).take(MOST_REQUESTS) {
        let Some(request) = request(bytes) else {
            continue;
        };
        let _ = signed_service(&request);
        let (parts, body) = request.clone().into_parts();
        let _ = KEYS.verify(&parts, &body, "sqs", NOW);
        call(&signed_only, request.clone());
        call(&open_to_all, request);
    }
});

fn call(s3: &S3, request: Request<Bytes>) {
    let Some(target) = Target::of(&request) else {
        return;
    };
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
    if target.action != "GetObject" {
        assert!(is_xml(&text), "{text}");
    }
}
