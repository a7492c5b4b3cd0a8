//! Photos: front's `inspect` and the workers' `decode` agree, and no photo takes more memory than it may.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use muster_fuzz::memory;
use photo::{BYTES_A_FILE, BYTES_A_PIXEL, DecodeError, DecodeLimits, LOSSLESS_WEBP_BYTES};

const LIMITS: DecodeLimits = DecodeLimits {
    max_pixels: 1 << 20,
    max_decode_time: Duration::from_secs(10),
};

fuzz_target!(|file: &[u8]| {
    let inspected = photo::inspect(file, &LIMITS);
    let (decoded, bytes) = memory::peak(|| photo::decode(file, &LIMITS));
    match (inspected, decoded) {
        (Err(refused), decoded) => assert_eq!(decoded, Err(refused)),
        // Picture data may be damaged or cut short; all else was to be told from the headers.
        (Ok(()), Err(error)) => assert!(may_come_late(&error), "inspected, but refused: {error}"),
        (Ok(()), Ok(_)) => {}
    }
    let is_lossless_webp = file.windows(4).any(|name| name == b"VP8L");
    let besides = if is_lossless_webp {
        LOSSLESS_WEBP_BYTES
    } else {
        0
    };
    let most = BYTES_A_PIXEL * LIMITS.max_pixels + BYTES_A_FILE + besides;
    assert!(bytes as u64 <= most, "{bytes} bytes");
});

fn may_come_late(error: &DecodeError) -> bool {
    match error {
        DecodeError::NotAnImage | DecodeError::TooManyPixels { .. } => false,
        // libjpeg knows markers that are not walked over before.
        DecodeError::Unsupported(what) => what.starts_with("JPEG ("),
        DecodeError::Damaged(_) | DecodeError::Truncated | DecodeError::TooSlow(_) => true,
    }
}
