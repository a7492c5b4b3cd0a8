//! JPEG, decoded with libjpeg-turbo's arithmetic (the `mozjpeg` crate builds it from source).
//!
//! The pixels must equal Pillow's bit for bit, since existing galleries were made with Pillow. A decoder that rounds chroma
//! differently moves the detector's boxes by up to 3 pixels and an embedding by 0.1.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use image::metadata::Orientation;
use mozjpeg::{ColorSpace, Decompress};

use super::deadline_reader::DeadlineReader;
use super::{DecodeError, DecodeLimits, Photo};

mod errors;

/// A progressive photo has about ten scans. Each takes a pass over the whole picture, so that thousands are an attack.
const MAX_SCANS: usize = 100;

const START_OF_SCAN: u8 = 0xDA;
const END_OF_IMAGE: u8 = 0xD9;
const EXIF_SEGMENT: u8 = 0xE1;
const EXIF_SIGNATURE: &[u8] = b"Exif\0\0";

/// The supported frames: baseline, extended and progressive, with Huffman codes. Arithmetic codes are rare, and libjpeg does
/// not notice when they end early.
const FRAMES: [u8; 3] = [0xC0, 0xC1, 0xC2];

/// Returns the picture as it is stored, and its orientation.
pub fn decode(encoded: &[u8], limits: &DecodeLimits) -> Result<(Photo, Orientation), DecodeError> {
    let header = header(encoded, limits)?;
    let pixels = with_libjpeg(limits, |deadline| pixels(encoded, &header, deadline))?;
    Ok((
        Photo::new(header.width, header.height, pixels),
        header.orientation,
    ))
}

/// Reads everything before the picture data, as [`decode`] does.
pub fn inspect(encoded: &[u8], limits: &DecodeLimits) -> Result<(), DecodeError> {
    header(encoded, limits)?;
    with_libjpeg(limits, |deadline| open(encoded, deadline).map(drop))
}

/// Runs calls to libjpeg, which reports errors by unwinding out of C code, without the panic hook.
fn with_libjpeg<T>(
    limits: &DecodeLimits,
    work: impl FnOnce(Instant) -> std::io::Result<T>,
) -> Result<T, DecodeError> {
    let deadline = limits.deadline();
    let done = catch_unwind(AssertUnwindSafe(|| work(deadline)));
    let failed = !matches!(done, Ok(Ok(_))) || errors::data_ended_early();
    // A failed read can appear as any of libjpeg's errors and warnings.
    if failed && Instant::now() > deadline {
        return Err(DecodeError::TooSlow(limits.max_decode_time));
    }
    let done = done
        .map_err(|payload| {
            from_message(payload.downcast_ref::<String>().map_or("", String::as_str))
        })?
        .map_err(|error| from_message(&error.to_string()))?;
    if errors::data_ended_early() {
        return Err(DecodeError::Truncated);
    }
    Ok(done)
}

/// The content of the markers.
pub struct Header {
    width: usize,
    height: usize,
    components: u8,
    orientation: Orientation,
}

/// Reads the markers (ITU-T T.81, annex B) up to the end of the image. libjpeg would fill missing data with gray and report
/// success.
pub fn header(encoded: &[u8], limits: &DecodeLimits) -> Result<Header, DecodeError> {
    let mut rest = encoded.get(2..).ok_or(DecodeError::Truncated)?;
    let (mut scans, mut frame, mut exif) = (0, None, None);
    loop {
        let (marker, after) = next_marker(rest).ok_or(DecodeError::Truncated)?;
        rest = after;
        match marker {
            END_OF_IMAGE => break,
            // Restart, start of image and temporary markers stand alone.
            0x01 | 0xD0..=0xD8 => continue,
            _ => {}
        }
        let length = rest
            .first_chunk::<2>()
            .map(|bytes| usize::from(u16::from_be_bytes(*bytes)));
        let segment = length
            .and_then(|bytes| rest.get(2..bytes))
            .ok_or(DecodeError::Truncated)?;
        rest = &rest[segment.len() + 2..];
        match marker {
            START_OF_SCAN => {
                scans += 1;
                if scans > MAX_SCANS {
                    return Err(DecodeError::Unsupported(format!(
                        "JPEG with more than {MAX_SCANS} scans"
                    )));
                }
            }
            // Start of frame; C4, C8 and CC in this range are tables and extensions.
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                if !FRAMES.contains(&marker) {
                    let process = format!("JPEG process ({marker:X})");
                    return Err(DecodeError::Unsupported(process));
                }
                if frame.is_some() {
                    return Err(DecodeError::Damaged("it has two frames".to_owned()));
                }
                frame = Some(start_of_frame(segment, limits)?);
            }
            // Of several the first counts: programs insert theirs before the camera's.
            EXIF_SEGMENT if exif.is_none() && segment.starts_with(EXIF_SIGNATURE) => {
                exif = Some(super::orientation(segment));
            }
            _ => {}
        }
    }
    let (width, height, components) =
        frame.ok_or_else(|| DecodeError::Damaged("it has no frame".to_owned()))?;
    if scans == 0 {
        return Err(DecodeError::Damaged("it has no picture data".to_owned()));
    }
    Ok(Header {
        width,
        height,
        components,
        orientation: exif.unwrap_or(Orientation::NoTransforms),
    })
}

/// Returns width, height, and number of components.
fn start_of_frame(
    segment: &[u8],
    limits: &DecodeLimits,
) -> Result<(usize, usize, u8), DecodeError> {
    let too_short = || DecodeError::Damaged("its frame header is too short".to_owned());
    let &[precision, h1, h0, w1, w0, components, ref rest @ ..] = segment else {
        return Err(too_short());
    };
    if precision != 8 {
        let kind = format!("JPEG with {precision} bits a channel");
        return Err(DecodeError::Unsupported(kind));
    }
    let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
    limits.check(u32::from(width), u32::from(height))?;
    if !matches!(components, 1 | 3 | 4) {
        let kind = format!("JPEG with {components} channels");
        return Err(DecodeError::Unsupported(kind));
    }
    let (channels, _) = rest.as_chunks::<3>();
    let channels = channels.get(..usize::from(components));
    check_sampling(channels.ok_or_else(too_short)?)?;
    Ok((usize::from(width), usize::from(height), components))
}

/// Each channel has an id, two nibbles with its samples across and down, and a quantization table. libjpeg scales channels
/// by whole factors only.
fn check_sampling(channels: &[[u8; 3]]) -> Result<(), DecodeError> {
    let factors = channels
        .iter()
        .map(|&[_, samples, _]| (samples >> 4, samples & 15));
    let is_sound = |(across, down)| (1..=4).contains(&across) && (1..=4).contains(&down);
    if !factors.clone().all(is_sound) {
        return Err(DecodeError::Damaged("its channels have no size".to_owned()));
    }
    let (widest, tallest) = factors
        .clone()
        .fold((1, 1), |(widest, tallest), (across, down)| {
            (across.max(widest), down.max(tallest))
        });
    if factors
        .into_iter()
        .any(|(across, down)| widest % across != 0 || tallest % down != 0)
    {
        let kind = "JPEG whose channels are not whole fractions of the picture";
        return Err(DecodeError::Unsupported(kind.to_owned()));
    }
    Ok(())
}

/// Returns the next marker's code and the bytes after it. In picture data 00 follows an FF byte. Before a marker FF may be
/// repeated.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut position = 0;
    loop {
        position += bytes
            .get(position..)?
            .iter()
            .position(|&byte| byte == 0xFF)?
            + 1;
        match *bytes.get(position)? {
            0x00 | 0xFF => {}
            code => return Some((code, &bytes[position + 1..])),
        }
    }
}

fn open(encoded: &[u8], deadline: Instant) -> std::io::Result<Decompress<DeadlineReader<'_>>> {
    Decompress::with_err(errors::manager()).from_reader(DeadlineReader::new(encoded, deadline))
}

fn pixels(encoded: &[u8], header: &Header, deadline: Instant) -> std::io::Result<Vec<u8>> {
    let decoder = open(encoded, deadline)?;
    let is_cmyk = header.components == 4;
    let color_space = if is_cmyk {
        ColorSpace::JCS_CMYK
    } else {
        ColorSpace::JCS_RGB
    };
    let mut started = decoder.to_colorspace(color_space)?;
    let values: Vec<u8> = started.read_scanlines()?;
    Ok(if is_cmyk {
        cmyk_to_rgb(&values)
    } else {
        values
    })
}

/// Converts as Pillow does, with inverted inks (0 is full) as Adobe stores them.
fn cmyk_to_rgb(values: &[u8]) -> Vec<u8> {
    let mix = |ink: u8, black: u8| ((u32::from(ink) * u32::from(black) + 127) / 255) as u8;
    values
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|&[cyan, magenta, yellow, black]| {
            [mix(cyan, black), mix(magenta, black), mix(yellow, black)]
        })
        .collect()
}

fn from_message(message: &str) -> DecodeError {
    let lower = message.to_lowercase();
    if lower.contains("unsupported") || lower.contains("not implemented") || lower.contains("sorry")
    {
        return DecodeError::Unsupported(format!("JPEG ({message})"));
    }
    DecodeError::Damaged(message.to_owned())
}
