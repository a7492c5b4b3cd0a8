//! Uploads: multipart/form-data in pieces of any size, and what it counts against the budget.
//!
//! An input is a byte that tells the size of the pieces, a line with the Content-Type, and the body.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use futures::stream;
use libfuzzer_sys::fuzz_target;
use muster_fuzz::gateway::byte_budget::ByteBudget;
use muster_fuzz::gateway::error::RequestError;
use muster_fuzz::gateway::http::upload::{Upload, UploadLimits};
use proto::FileName;
use tokio::runtime::{Builder, Runtime};

const LIMITS: UploadLimits = UploadLimits {
    max_image_bytes: 1000,
    timeout: Duration::from_secs(10),
};
const BUDGET: usize = 1 << 20;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let built = Builder::new_current_thread().enable_time().build();
    built.expect("a runtime without I/O needs nothing")
});

fuzz_target!(|input: &[u8]| {
    let Some((&size, rest)) = input.split_first() else {
        return;
    };
    let mut lines = rest.splitn(2, |&byte| byte == b'\n');
    let content_type = HeaderValue::from_bytes(lines.next().unwrap_or_default());
    let (Ok(content_type), body) = (content_type, lines.next().unwrap_or_default()) else {
        return;
    };
    let whole = receive(&content_type, body, body.len().max(1));
    let pieces = receive(&content_type, body, usize::from(size) + 1);
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => {
            assert_eq!(whole, pieces);
            let (_, image) = whole;
            assert!((1..=LIMITS.max_image_bytes).contains(&image.len()));
        }
        (Err(whole), Err(pieces)) => assert_eq!(whole.code, pieces.code, "{whole} {pieces}"),
        (whole, pieces) => panic!("{whole:?}, but in pieces {pieces:?}"),
    }
});

fn receive(
    content_type: &HeaderValue,
    body: &[u8],
    size: usize,
) -> Result<(FileName, Bytes), RequestError> {
    let pieces: Vec<_> = body
        .chunks(size)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    let mut request = Request::new(Body::from_stream(stream::iter(pieces)));
    request
        .headers_mut()
        .insert(CONTENT_TYPE, content_type.clone());
    let budget = ByteBudget::new(BUDGET);
    let received = RUNTIME.block_on(Upload::receive(request, LIMITS, &budget));
    // Dropping the rest gives the reservation back.
    let received = received.map(|upload| (upload.file_name, upload.image));
    assert!(budget.reserve(BUDGET).is_ok(), "all bytes were given back");
    received
}
