//! PNG, decoded by the `png` crate: Rust without unsafe code, fuzzed by its authors.

use std::borrow::Cow;

use image::metadata::Orientation;
use png::{BitDepth, ColorType, Decoder, DecodingError, Info, Limits, Reader, Transformations};

use super::deadline_reader::DeadlineReader;
use super::{BYTES_A_FILE, DecodeError, DecodeLimits, Photo, orientation};

const SIGNATURE: usize = 8;
/// A chunk's length, name and checksum.
const CHUNK_FRAME: usize = 12;
/// The last chunk of a file.
const END: &[u8] = b"\0\0\0\0IEND\xAE\x42\x60\x82";

/// Reads everything before the picture data.
pub fn header<'a>(
    encoded: &'a [u8],
    limits: &DecodeLimits,
) -> Result<Reader<DeadlineReader<'a>>, DecodeError> {
    let file = DeadlineReader::new(with_end(encoded)?, limits.deadline());
    let mut decoder = Decoder::new_with_limits(
        file,
        Limits {
            bytes: BYTES_A_FILE as usize,
        },
    );
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    let header = decoder
        .read_header_info()
        .map_err(|error| from_png(error, limits))?;
    limits.check(header.width, header.height)?;
    let reader = decoder
        .read_info()
        .map_err(|error| from_png(error, limits))?;
    check_palette(reader.info())?;
    Ok(reader)
}

/// The decoder panics if the palette has an incomplete color.
fn check_palette(info: &Info<'_>) -> Result<(), DecodeError> {
    match &info.palette {
        None if info.color_type == ColorType::Indexed => {
            Err(DecodeError::Damaged("it has no palette".to_owned()))
        }
        Some(palette) if palette.is_empty() || palette.len() % 3 != 0 => {
            Err(DecodeError::Damaged("its palette is cut".to_owned()))
        }
        _ => Ok(()),
    }
}

pub fn decode(encoded: &[u8], limits: &DecodeLimits) -> Result<(Photo, Orientation), DecodeError> {
    let mut reader = header(encoded, limits)?;
    let turn = reader
        .info()
        .exif_metadata
        .as_deref()
        .map_or(Orientation::NoTransforms, orientation);
    let size = reader
        .output_buffer_size()
        .expect("its pixels were counted");
    let mut values = vec![0; size];
    let frame = reader
        .next_frame(&mut values)
        .map_err(|error| from_png(error, limits))?;
    values.truncate(frame.buffer_size());
    let (width, height) = (frame.width as usize, frame.height as usize);
    let pixels = to_rgb(values, frame.color_type, frame.bit_depth)?;
    Ok((Photo::new(width, height, pixels), turn))
}

fn to_rgb(values: Vec<u8>, color: ColorType, depth: BitDepth) -> Result<Vec<u8>, DecodeError> {
    let values = match depth {
        BitDepth::Eight => values,
        BitDepth::Sixteen => {
            let (wide, _) = values.as_chunks::<2>();
            let rounded = |value: u16| ((u32::from(value) + 128) / 257) as u8;
            wide.iter()
                .map(|bytes| rounded(u16::from_be_bytes(*bytes)))
                .collect()
        }
        _ => unreachable!("fewer bits are expanded to eight"),
    };
    Ok(match color {
        ColorType::Rgb => values,
        ColorType::Rgba => values
            .as_chunks::<4>()
            .0
            .iter()
            .flat_map(|&[red, green, blue, _]| [red, green, blue])
            .collect(),
        ColorType::Grayscale => values.iter().flat_map(|&gray| [gray; 3]).collect(),
        ColorType::GrayscaleAlpha => values
            .as_chunks::<2>()
            .0
            .iter()
            .flat_map(|&[gray, _]| [gray; 3])
            .collect(),
        ColorType::Indexed => unreachable!("palettes are expanded"),
    })
}

/// Returns the file with an end marker: a file may end after its picture data.
fn with_end(encoded: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    let mut position = SIGNATURE;
    let mut has_data = false;
    while let Some((length, after)) = encoded
        .get(position..)
        .and_then(<[u8]>::split_first_chunk::<4>)
    {
        let is_data = after.starts_with(b"IDAT");
        let end = position + CHUNK_FRAME + u32::from_be_bytes(*length) as usize;
        if end > encoded.len() {
            if is_data {
                return Err(DecodeError::Truncated);
            }
            break;
        }
        if after.starts_with(b"IEND") {
            return Ok(encoded.into());
        }
        has_data |= is_data;
        position = end;
    }
    if !has_data {
        return Err(DecodeError::Truncated);
    }
    Ok([&encoded[..position], END].concat().into())
}

fn from_png(error: DecodingError, limits: &DecodeLimits) -> DecodeError {
    match error {
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            DecodeError::TooSlow(limits.max_decode_time)
        }
        DecodingError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated
        }
        DecodingError::LimitsExceeded => {
            DecodeError::Unsupported("a PNG that needs far more memory than its pixels".to_owned())
        }
        error => {
            let text = error.to_string();
            let message = text.lines().next().unwrap_or("unreadable");
            // The picture data ended early.
            if message.to_lowercase().contains("unexpected end")
                || message.contains("no more image data")
            {
                return DecodeError::Truncated;
            }
            DecodeError::Damaged(message.to_owned())
        }
    }
}
