//! Uploads of photos and clips: multipart/form-data in pieces of any size, and what a photo counts against the budget.
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
use futures::{future, stream};
use libfuzzer_sys::fuzz_target;
use muster_fuzz::gateway::byte_budget::ByteBudget;
use muster_fuzz::gateway::error::RequestError;
use muster_fuzz::gateway::http::upload::{Upload, UploadLimits};
use muster_fuzz::gateway::http::videos::clip_upload::ClipUpload;
use proto::FileName;
use proto::v1::SubmitVideoRequest;
use proto::v1::submit_video_request::Part;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

const LIMITS: UploadLimits = UploadLimits {
    max_image_bytes: 1000,
    timeout: Duration::from_secs(10),
};
const BUDGET: usize = 1 << 20;
const MAX_CLIP_BYTES: u64 = 1000;

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
    let whole = receive_clip(&content_type, body, body.len().max(1));
    let pieces = receive_clip(&content_type, body, usize::from(size) + 1);
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => {
            assert_eq!(whole, pieces);
            assert!((1..=MAX_CLIP_BYTES).contains(&(whole.clip.len() as u64)));
            assert_eq!(whole.size, Some(whole.clip.len() as u64));
        }
        (Err(whole), Err(pieces)) => assert_eq!(whole.code, pieces.code, "{whole} {pieces}"),
        (whole, pieces) => panic!("{whole:?}, but in pieces {pieces:?}"),
    }
});

/// What is sent of an upload of a clip.
#[derive(Debug, Default, PartialEq)]
struct Clip {
    /// As text, since a number may be NaN.
    settings: String,
    clip: Vec<u8>,
    size: Option<u64>,
}

fn receive_clip(
    content_type: &HeaderValue,
    body: &[u8],
    size: usize,
) -> Result<Clip, RequestError> {
    let (parts, body) = request(content_type, body, size).into_parts();
    RUNTIME.block_on(async {
        let mut upload = ClipUpload::begin(parts, body.into_data_stream(), MAX_CLIP_BYTES).await?;
        let (sender, mut receiver) = mpsc::channel::<SubmitVideoRequest>(1);
        let receive = async {
            let mut clip = Clip::default();
            while let Some(message) = receiver.recv().await {
                match message.part {
                    Some(Part::Settings(settings)) => clip.settings = format!("{settings:?}"),
                    Some(Part::Chunk(chunk)) => clip.clip.extend_from_slice(&chunk),
                    Some(Part::Size(size)) => clip.size = Some(size),
                    None => {}
                }
            }
            clip
        };
        let (sent, clip) = future::join(upload.send(sender), receive).await;
        sent.map(|()| clip)
    })
}

fn receive(
    content_type: &HeaderValue,
    body: &[u8],
    size: usize,
) -> Result<(FileName, Bytes), RequestError> {
    let request = request(content_type, body, size);
    let budget = ByteBudget::new(BUDGET);
    let received = RUNTIME.block_on(Upload::receive(request, LIMITS, &budget));
    // Dropping the rest gives the reservation back.
    let received = received.map(|upload| (upload.file_name, upload.image));
    assert!(budget.reserve(BUDGET).is_ok(), "all bytes were given back");
    received
}

fn request(content_type: &HeaderValue, body: &[u8], size: usize) -> Request {
    let pieces: Vec<_> = body
        .chunks(size)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    let mut request = Request::new(Body::from_stream(stream::iter(pieces)));
    request
        .headers_mut()
        .insert(CONTENT_TYPE, content_type.clone());
    request
}
