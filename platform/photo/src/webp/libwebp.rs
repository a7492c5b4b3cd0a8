//! libwebp's incremental decoder, whose pixels equal those of the decoder that takes a whole file.
#![allow(unsafe_code, reason = "libwebp is C and takes pointers")]

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr::{NonNull, null_mut};
use std::time::Instant;

use libwebp_sys::{
    VP8StatusCode, WEBP_CSP_MODE, WebPBitstreamFeatures, WebPGetFeatures, WebPIDecGetRGB,
    WebPIDecoder, WebPIDelete, WebPINewRGB, WebPIUpdate,
};

use super::{LOSSLESS_NAME, unreadable};
use crate::{DecodeError, DecodeLimits};

/// How many pieces a chunk is decoded in, and the fewest bytes of a piece. With each piece libwebp decodes up to eight rows
/// of a lossless picture again.
const PIECES: usize = 32;
const SHORTEST_PIECE: usize = 16 << 10;

/// Reads width and height, in pixels, of a bitstream without its chunk's name and length.
pub fn size(bitstream: &[u8]) -> Option<[u32; 2]> {
    let mut features = MaybeUninit::<WebPBitstreamFeatures>::zeroed();
    // SAFETY: zero is valid for each field, all of them numbers. libwebp reads the bytes of the slice.
    let (status, features) = unsafe {
        let status = WebPGetFeatures(bitstream.as_ptr(), bitstream.len(), features.as_mut_ptr());
        (status, features.assume_init())
    };
    let sides = [features.width, features.height].map(|side| u32::try_from(side).unwrap_or(0));
    (status == VP8StatusCode::VP8_STATUS_OK).then_some(sides)
}

/// Decodes a chunk, its name and length included, to rows of red, green and blue. The first row begins with `pixels`, and
/// rows are `stride` bytes apart.
///
/// The deadline is checked between pieces of the chunk. A piece takes a time in proportion to the pixels that it holds, which
/// may be all of them in a file that is made for it.
///
/// # Errors
/// When the picture is damaged, larger than `pixels`, or takes too long.
pub fn decode(
    chunk: &[u8],
    pixels: &mut [u8],
    stride: usize,
    limits: &DecodeLimits,
) -> Result<(), DecodeError> {
    let deadline = limits.deadline();
    let stride = c_int::try_from(stride).map_err(|_| unreadable())?;
    let (mode, size) = (WEBP_CSP_MODE::MODE_RGB, pixels.len());
    // SAFETY: libwebp checks the picture against size and stride before it writes. The decoder ends within this function,
    // while `pixels` are borrowed.
    let decoder = unsafe { WebPINewRGB(mode, pixels.as_mut_ptr(), size, stride) };
    let decoder = Decoder(NonNull::new(decoder).ok_or_else(unreadable)?);
    let piece = (chunk.len() / PIECES).max(SHORTEST_PIECE);
    let is_lossless = chunk.starts_with(LOSSLESS_NAME);
    let mut given = 0;
    loop {
        if Instant::now() > deadline {
            return Err(DecodeError::TooSlow(limits.max_decode_time));
        }
        // With each piece the prefix codes of a lossless picture are read again from the first, until they are complete.
        let further = if is_lossless && !decoder.has_header() {
            piece.max(given)
        } else {
            piece
        };
        given = chunk.len().min(given + further);
        // SAFETY: the first `given` bytes of the chunk, which is borrowed for longer than the decoder lives. Each call has
        // the same start and at least as many bytes.
        let status = unsafe { WebPIUpdate(decoder.0.as_ptr(), chunk.as_ptr(), given) };
        match status {
            VP8StatusCode::VP8_STATUS_OK => return Ok(()),
            VP8StatusCode::VP8_STATUS_SUSPENDED if given < chunk.len() => {}
            _ => return Err(unreadable()),
        }
    }
}

struct Decoder(NonNull<WebPIDecoder>);

impl Decoder {
    /// Returns whether everything before the pixels is decoded.
    fn has_header(&self) -> bool {
        let mut width = 0;
        let (row, height, stride) = (null_mut(), null_mut(), null_mut());
        // SAFETY: the decoder lives, and libwebp leaves out what has no pointer. It sets the width with the header.
        unsafe { WebPIDecGetRGB(self.0.as_ptr(), row, &mut width, height, stride) };
        width > 0
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: `WebPINewRGB` made it, and it is deleted once.
        unsafe { WebPIDelete(self.0.as_ptr()) };
    }
}
