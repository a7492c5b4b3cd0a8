//! WebP, decoded by libwebp (`libwebp-sys` builds it from source), which is fuzzed for the browsers that use it.
//!
//! This module reads the container (RIFF), and libwebp only gets the picture's chunk. Transparency, metadata and further
//! pictures of an animation are not decoded.

use std::sync::{Mutex, PoisonError};

use image::metadata::Orientation;

use super::{DecodeError, DecodeLimits, Photo, orientation};

mod libwebp;

/// RIFF, the number of following bytes, WEBP.
const FILE_HEADER: usize = 12;
/// A chunk's name and the length of its content.
const CHUNK_HEADER: usize = 8;
/// The chunk of a lossless picture.
const LOSSLESS_NAME: &[u8] = b"VP8L";
/// A frame's position, size, duration and flags.
const FRAME_HEADER: usize = 16;

/// The first byte of a lossless picture: WebP Lossless Bitstream Specification, 3.
const LOSSLESS_SIGNATURE: [u8; 1] = [0x2F];
/// The bytes after the three bytes of a key frame's tag: RFC 6386, 9.1.
const LOSSY_START_CODE: [u8; 3] = [0x9D, 0x01, 0x2A];

/// Held while a lossless picture is decoded: see [`super::LOSSLESS_WEBP_BYTES`].
static LOSSLESS: Mutex<()> = Mutex::new(());

/// The first picture of a file, and its position on the canvas.
#[derive(Debug)]
pub struct Header<'a> {
    /// The picture, with its chunk's header.
    chunk: &'a [u8],
    canvas: [u32; 2],
    /// Position of the picture's upper left corner.
    offset: [u32; 2],
    orientation: Orientation,
}

pub fn header<'a>(encoded: &'a [u8], limits: &DecodeLimits) -> Result<Header<'a>, DecodeError> {
    let length = encoded
        .get(4..8)
        .and_then(number)
        .ok_or(DecodeError::Truncated)?;
    let body = encoded
        .get(FILE_HEADER..8 + length as usize)
        .ok_or(DecodeError::Truncated)?;
    let (mut canvas, mut picture_chunk, mut frame) = (None, None, None);
    let mut turn = Orientation::NoTransforms;
    for (name, chunk) in chunks(body) {
        let content = &chunk[CHUNK_HEADER..];
        match name {
            b"VP8X" if canvas.is_none() => {
                let sides = content.get(4..10).ok_or_else(too_short)?;
                canvas = Some(
                    [number(&sides[..3]), number(&sides[3..])].map(|side| side.unwrap_or(0) + 1),
                );
            }
            b"VP8 " | b"VP8L" if picture_chunk.is_none() => picture_chunk = Some(chunk),
            b"ANMF" if frame.is_none() => frame = Some(content),
            b"EXIF" => turn = orientation(content),
            _ => {}
        }
    }
    let mut offset = [0, 0];
    if let (None, Some(frame)) = (picture_chunk, frame) {
        let position = frame.get(..FRAME_HEADER).ok_or_else(too_short)?;
        // In units of two pixels.
        offset =
            [number(&position[..3]), number(&position[3..6])].map(|half| 2 * half.unwrap_or(0));
        picture_chunk = chunks(&frame[FRAME_HEADER..])
            .find(|(name, _)| matches!(*name, b"VP8 " | b"VP8L"))
            .map(|(_, chunk)| chunk);
    }
    let chunk =
        picture_chunk.ok_or_else(|| DecodeError::Damaged("it has no picture".to_owned()))?;
    let bitstream = &chunk[CHUNK_HEADER..];
    // libwebp would read a bitstream without its signature as a file or a part of one.
    let has_signature = if chunk.starts_with(LOSSLESS_NAME) {
        bitstream.starts_with(&LOSSLESS_SIGNATURE)
    } else {
        bitstream.get(3..6) == Some(&LOSSY_START_CODE)
    };
    if !has_signature {
        return Err(unreadable());
    }
    let picture = libwebp::size(bitstream).ok_or_else(unreadable)?;
    let canvas = canvas.unwrap_or(picture);
    for [width, height] in [canvas, picture] {
        limits.check(width, height)?;
    }
    if (0..2)
        .any(|axis| u64::from(offset[axis]) + u64::from(picture[axis]) > u64::from(canvas[axis]))
        || (frame.is_none() && canvas != picture)
    {
        return Err(DecodeError::Damaged(
            "its picture does not fit its canvas".to_owned(),
        ));
    }
    Ok(Header {
        chunk,
        canvas,
        offset,
        orientation: turn,
    })
}

pub fn decode(encoded: &[u8], limits: &DecodeLimits) -> Result<(Photo, Orientation), DecodeError> {
    let header = header(encoded, limits)?;
    let _alone = header
        .chunk
        .starts_with(LOSSLESS_NAME)
        .then(|| LOSSLESS.lock().unwrap_or_else(PoisonError::into_inner));
    let [width, height] = header.canvas.map(|side| side as usize);
    let [left, top] = header.offset.map(|side| side as usize);
    let mut pixels = vec![0; width * height * 3];
    let first = &mut pixels[(top * width + left) * 3..];
    libwebp::decode(header.chunk, first, width * 3, limits)?;
    Ok((Photo::new(width, height, pixels), header.orientation))
}

/// Returns names of the chunks and the chunks themselves, without padding, up to the first incomplete one.
fn chunks(mut rest: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (name, after) = rest.split_first_chunk::<4>()?;
        let length = CHUNK_HEADER + u32::from_le_bytes(*after.first_chunk()?) as usize;
        let chunk = rest.get(..length)?;
        // Chunks begin at even offsets.
        rest = rest.get(length + length % 2..).unwrap_or_default();
        Some((name, chunk))
    })
}

/// Reads up to four bytes, little-endian.
fn number(bytes: &[u8]) -> Option<u32> {
    let mut four = [0; 4];
    four.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u32::from_le_bytes(four))
}

fn too_short() -> DecodeError {
    DecodeError::Damaged("a part of it is too short".to_owned())
}

fn unreadable() -> DecodeError {
    DecodeError::Damaged("its picture cannot be decoded".to_owned())
}
