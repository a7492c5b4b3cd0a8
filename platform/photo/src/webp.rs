//! WebP, decoded by libwebp (the `webp` crate builds it from source), which is fuzzed for the browsers that use it.
//!
//! This module reads the container (RIFF), and libwebp only gets the bitstream. Transparency, metadata and further pictures of
//! an animation are not decoded.

use std::sync::{Mutex, PoisonError};

use image::metadata::Orientation;
use webp::{BitstreamFeatures, Decoder, PixelLayout};

use super::{DecodeError, DecodeLimits, Photo, orientation};

/// RIFF, the number of following bytes, WEBP.
const FILE_HEADER: usize = 12;
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
    bitstream: &'a [u8],
    is_lossless: bool,
    canvas: [u32; 2],
    picture: [u32; 2],
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
    let (mut canvas, mut bitstream, mut frame) = (None, None, None);
    let mut turn = Orientation::NoTransforms;
    for (name, content) in chunks(body) {
        match name {
            b"VP8X" if canvas.is_none() => {
                let sides = content.get(4..10).ok_or_else(too_short)?;
                canvas = Some(
                    [number(&sides[..3]), number(&sides[3..])].map(|side| side.unwrap_or(0) + 1),
                );
            }
            b"VP8 " | b"VP8L" if bitstream.is_none() => bitstream = Some((name, content)),
            b"ANMF" if frame.is_none() => frame = Some(content),
            b"EXIF" => turn = orientation(content),
            _ => {}
        }
    }
    let mut offset = [0, 0];
    if let (None, Some(frame)) = (bitstream, frame) {
        let position = frame.get(..FRAME_HEADER).ok_or_else(too_short)?;
        // In units of two pixels.
        offset =
            [number(&position[..3]), number(&position[3..6])].map(|half| 2 * half.unwrap_or(0));
        bitstream =
            chunks(&frame[FRAME_HEADER..]).find(|(name, _)| matches!(*name, b"VP8 " | b"VP8L"));
    }
    let (name, bitstream) =
        bitstream.ok_or_else(|| DecodeError::Damaged("it has no picture".to_owned()))?;
    let is_lossless = name == b"VP8L";
    // libwebp would read a bitstream without its signature as a file or a part of one.
    let has_signature = if is_lossless {
        bitstream.starts_with(&LOSSLESS_SIGNATURE)
    } else {
        bitstream.get(3..6) == Some(&LOSSY_START_CODE)
    };
    if !has_signature {
        return Err(unreadable());
    }
    let features = BitstreamFeatures::new(bitstream).ok_or_else(unreadable)?;
    let picture = [features.width(), features.height()];
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
        bitstream,
        is_lossless,
        canvas,
        picture,
        offset,
        orientation: turn,
    })
}

pub fn decode(encoded: &[u8], limits: &DecodeLimits) -> Result<(Photo, Orientation), DecodeError> {
    let header = header(encoded, limits)?;
    let _alone = header
        .is_lossless
        .then(|| LOSSLESS.lock().unwrap_or_else(PoisonError::into_inner));
    let image = Decoder::new(header.bitstream)
        .decode()
        .ok_or_else(unreadable)?;
    if [image.width(), image.height()] != header.picture {
        return Err(unreadable());
    }
    let channels = match image.layout() {
        PixelLayout::Rgb => 3,
        PixelLayout::Rgba => 4,
    };
    let [width, height] = header.canvas.map(|side| side as usize);
    let [left, top] = header.offset.map(|side| side as usize);
    let mut pixels = vec![0; width * height * 3];
    for (y, row) in image
        .chunks_exact(header.picture[0] as usize * channels)
        .enumerate()
    {
        let start = ((top + y) * width + left) * 3;
        let (to, _) = pixels[start..].as_chunks_mut::<3>();
        for (to, from) in to.iter_mut().zip(row.chunks_exact(channels)) {
            to.copy_from_slice(&from[..3]);
        }
    }
    Ok((Photo::new(width, height, pixels), header.orientation))
}

/// Returns names and contents of the chunks, up to the first incomplete one.
fn chunks(mut rest: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (name, after) = rest.split_first_chunk::<4>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let content = after.get(..length)?;
        // Chunks begin at even offsets.
        rest = after.get(length + length % 2..).unwrap_or_default();
        Some((name, content))
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
