//! Decodes JPEG, PNG and WebP files to upright RGB pixels.
//!
//! Front and workers use this crate, so that they agree on what a photo is. What [`inspect`] refuses, [`decode`] refuses for
//! the same reason. What `inspect` accepts can only fail because of its picture data and their tables.
//!
//! A file of any content takes bounded memory and time: at most [`BYTES_A_PIXEL`] for each pixel that [`DecodeLimits`] allow,
//! and [`BYTES_A_FILE`]. A lossless WebP may need [`LOSSLESS_WEBP_BYTES`] more, and a process decodes one of them at a time.
//! Metadata is skipped, not inflated.
//!
//! The private modules `jpeg`, `png` and `webp` have a header reader and a decoder each; `deadline_reader` stops those of JPEG
//! and PNG in time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use thiserror::Error;

mod deadline_reader;
mod jpeg;
mod png;
mod webp;

/// The most memory for each pixel: a progressive JPEG in CMYK with its coefficients.
pub const BYTES_A_PIXEL: u64 = 16;
/// The most memory besides the pixels.
pub const BYTES_A_FILE: u64 = 16 << 20;

/// The most memory for the prefix codes of a lossless WebP, 1.35 GB. For each group of codes libwebp makes tables of up to
/// 5,003 entries of 4 bytes, with 600 bytes of overhead. A picture may have 65,536 groups, one for 4 x 4 pixels. Encoders make
/// at most some thousands. The number is known only after most of the file is decoded.
pub const LOSSLESS_WEBP_BYTES: u64 = 65_536 * (5_003 * 4 + 600);

/// An upright photo, 8 bits a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// Limits beyond which a photo is refused.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Photos")]
pub struct DecodeLimits {
    /// Largest photo, in pixels, checked before decoding. Front and workers need the same value
    #[arg(
        long,
        env = "MUSTER_MAX_PIXELS",
        value_name = "PIXELS",
        default_value_t = Self::default().max_pixels
    )]
    pub max_pixels: u64,
    /// Longest time to decode a photo, checked between pieces of its data
    #[arg(
        long,
        env = "MUSTER_MAX_DECODE_TIME",
        value_name = "DURATION",
        value_parser = positive_duration,
        default_value = "10s"
    )]
    pub max_decode_time: Duration,
}

/// Why a file cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("the file is not a JPEG, PNG or WebP image")]
    NotAnImage,
    #[error("unsupported image: {0}; JPEG, PNG and WebP are supported")]
    Unsupported(String),
    #[error("the image is damaged: {0}")]
    Damaged(String),
    #[error("the image is truncated")]
    Truncated,
    #[error("the image has {width} x {height} pixels; at most {limit} are accepted")]
    TooManyPixels { width: u32, height: u32, limit: u64 },
    #[error("the image takes longer than {} s to decode", .0.as_secs_f32())]
    TooSlow(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Jpeg,
    Png,
    WebP,
}

/// Checks a file without decoding its picture data.
///
/// # Errors
/// When [`decode`] would fail because of the format, the size, the headers, or a truncated file.
pub fn inspect(encoded: &[u8], limits: &DecodeLimits) -> Result<(), DecodeError> {
    catch_panics(|| match Format::of(encoded)? {
        Format::Jpeg => jpeg::inspect(encoded, limits),
        Format::Png => png::header(encoded, limits).map(|_| ()),
        Format::WebP => webp::header(encoded, limits).map(|_| ()),
    })
}

/// Decodes a file, applies its EXIF orientation and converts it to RGB. 16 bits are rounded to 8. Transparency is dropped, not
/// blended, as by Pillow's `convert("RGB")`. Of an animation the first picture is decoded.
pub fn decode(encoded: &[u8], limits: &DecodeLimits) -> Result<Photo, DecodeError> {
    catch_panics(|| {
        let (photo, orientation) = match Format::of(encoded)? {
            Format::Jpeg => jpeg::decode(encoded, limits)?,
            Format::Png => png::decode(encoded, limits)?,
            Format::WebP => webp::decode(encoded, limits)?,
        };
        Ok(photo.oriented(orientation))
    })
}

/// Turns a decoder's panic into an error.
fn catch_panics<T>(work: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(DecodeError::Damaged("its decoder failed".to_owned())))
}

impl Photo {
    /// `pixels` are rows of red, green and blue: `width * height * 3` bytes.
    ///
    /// # Panics
    /// With another number of bytes.
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Self {
        assert_eq!(pixels.len(), width * height * 3, "three bytes a pixel");
        Self {
            width,
            height,
            pixels,
        }
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    /// Returns rows of red, green and blue.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    fn oriented(self, orientation: Orientation) -> Self {
        if orientation == Orientation::NoTransforms {
            return self;
        }
        let (width, height) = (self.width as u32, self.height as u32);
        let rgb = RgbImage::from_raw(width, height, self.pixels)
            .expect("a photo has three bytes a pixel");
        let mut image = DynamicImage::ImageRgb8(rgb);
        image.apply_orientation(orientation);
        let rgb = image.into_rgb8();
        Self::new(rgb.width() as usize, rgb.height() as usize, rgb.into_raw())
    }
}

impl DecodeLimits {
    fn check(&self, width: u32, height: u32) -> Result<(), DecodeError> {
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(DecodeError::TooManyPixels {
                width,
                height,
                limit: self.max_pixels,
            });
        }
        if width == 0 || height == 0 {
            return Err(DecodeError::Damaged("it has no pixels".to_owned()));
        }
        Ok(())
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.max_decode_time
    }
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_pixels: 40_000_000,
            max_decode_time: Duration::from_secs(10),
        }
    }
}

impl Format {
    /// Returns the format by the file's first bytes.
    fn of(encoded: &[u8]) -> Result<Self, DecodeError> {
        let other = match encoded {
            [0xFF, 0xD8, 0xFF, ..] => return Ok(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => return Ok(Self::Png),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => {
                return Ok(Self::WebP);
            }
            [b'G', b'I', b'F', b'8', ..] => "GIF",
            [b'B', b'M', ..] => "BMP",
            [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => "TIFF",
            [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xFF, 0x4F, 0xFF, 0x51, ..] => "JPEG 2000",
            [0xFF, 0x0A, ..] | [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => "JPEG XL",
            [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand {
                [b'a', b'v', b'i', ..] => "AVIF",
                [b'h', b'e', ..] | [b'm', b'i', b'f', ..] | [b'm', b's', b'f', ..] => "HEIC",
                _ => return Err(DecodeError::NotAnImage),
            },
            _ => return Err(DecodeError::NotAnImage),
        };
        Err(DecodeError::Unsupported(other.to_owned()))
    }
}

/// Reads the orientation of an EXIF block, with or without JPEG's prefix. Ignores a damaged block.
fn orientation(exif: &[u8]) -> Orientation {
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    Orientation::from_exif_chunk(tiff).unwrap_or(Orientation::NoTransforms)
}

/// Parses a duration as `platform::duration::parse_positive` does. Photo and video do not depend on platform, and thus not on
/// the AWS SDK.
///
/// # Errors
/// When the text is no duration, or is zero.
pub fn positive_duration(text: &str) -> Result<Duration, &'static str> {
    let duration = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    duration
        .filter(|duration| !duration.is_zero())
        .ok_or("give more than 0 seconds, such as 2.5 or 500ms")
}
