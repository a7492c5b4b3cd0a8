//! File names, as they are and as a part's Content-Disposition spells them.

#![no_main]

use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use muster_fuzz::gateway::http::disposition::Disposition;
use proto::FileName;
use proto::file_name::MAX_BYTES;

fuzz_target!(|input: &[u8]| {
    if let Some(name) = std::str::from_utf8(input)
        .ok()
        .and_then(|text| text.parse().ok())
    {
        check(&name);
    }
    let Ok(header) = HeaderValue::from_bytes(input) else {
        return;
    };
    let headers = HeaderMap::from_iter([(CONTENT_DISPOSITION, header)]);
    if let Some(Ok(name)) = Disposition::of_part(&headers).file_name() {
        check(&name);
    }
});

fn check(name: &FileName) {
    assert_eq!(name.to_string().parse().as_ref(), Ok(name));
    // The answer is STEM:NAME.
    assert!(!name.stem().is_empty() && !name.stem().contains([':', '/', '\n']));
    let derived = name.derived("0123456789abcdef");
    assert!(derived.as_str().len() <= MAX_BYTES);
    assert_eq!(derived.to_string().parse().as_ref(), Ok(&derived));
}
