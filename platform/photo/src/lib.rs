//! What a photo is: JPEG, PNG and WebP files, from their bytes to upright RGB pixels.
//!
//! Front and workers both ask here, so that they agree: what [`inspect`] refuses, [`decode`] refuses for the same reason,
//! and what `inspect` accepts can only fail by what its picture data, and the tables that it is read by, hold.
//!
//! Whatever the bytes are, a photo costs a bounded amount of memory, at most [`BYTES_A_PIXEL`] for each pixel that
//! [`DecodeLimits`] allow and [`BYTES_A_FILE`] more, and a bounded time. A lossless WebP may need [`LOSSLESS_WEBP_BYTES`]
//! besides; a process decodes one of them at a time. Metadata is skipped, never inflated.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use thiserror::Error;

mod clock;
mod jpeg;
mod png;
mod webp;

/// The most memory that decoding takes for each pixel: a progressive JPEG in CMYK, with its coefficients.
pub const BYTES_A_PIXEL: u64 = 16;
/// The most memory that decoding takes beside the pixels.
pub const BYTES_A_FILE: u64 = 16 << 20;

/// The most memory that the prefix codes of a lossless WebP take beside its pixels, 1.35 GB: libwebp makes tables of up to
/// 5,003 entries of 4 bytes, and 600 bytes around them, for each group of codes. A picture may have 65,536 groups, one for
/// 4 x 4 pixels; encoders make at most some thousands. How many there are is known only after decoding most of the file.
pub const LOSSLESS_WEBP_BYTES: u64 = 65_536 * (5_003 * 4 + 600);

/// An upright photo, 8 bits a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// What a photo may cost before it is refused.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct DecodeLimits {
    /// Pixels of one photo, read from the file's header before anything is decoded. The same for front and workers
    #[arg(
        long,
        env = "MUSTER_MAX_PIXELS",
        value_name = "PIXELS",
        default_value_t = Self::default().max_pixels
    )]
    pub max_pixels: u64,
    /// How long decoding one JPEG or PNG may take. WebP is bounded by its pixels alone, since libwebp cannot be stopped
    #[arg(
        long,
        env = "MUSTER_MAX_DECODE_TIME",
        value_name = "SECONDS",
        value_parser = seconds,
        default_value = "10"
    )]
    pub max_decode_time: Duration,
}

/// Why a file gives no photo.
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

/// Reads a file without decoding its picture data.
///
/// # Errors
/// When [`decode`] would fail for what is around the picture data: the format, the size, a file that was cut.
pub fn inspect(encoded: &[u8], limits: &DecodeLimits) -> Result<(), DecodeError> {
    guarded(|| match Format::of(encoded)? {
        Format::Jpeg => jpeg::inspect(encoded, limits),
        Format::Png => png::header(encoded, limits).map(|_| ()),
        Format::WebP => webp::header(encoded, limits).map(|_| ()),
    })
}

/// Decodes a file, turns it upright by its EXIF orientation and makes it RGB: grey is repeated, CMYK converted, 16 bits
/// rounded to 8. Transparency is dropped, not blended, as Pillow's `convert("RGB")` does. Of an animation the first
/// picture counts.
pub fn decode(encoded: &[u8], limits: &DecodeLimits) -> Result<Photo, DecodeError> {
    guarded(|| {
        let (photo, orientation) = match Format::of(encoded)? {
            Format::Jpeg => jpeg::decode(encoded, limits)?,
            Format::Png => png::decode(encoded, limits)?,
            Format::WebP => webp::decode(encoded, limits)?,
        };
        Ok(photo.turned(orientation))
    })
}

/// A decoder that panics costs the photo, not the thread.
fn guarded<T>(work: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(DecodeError::Damaged("its decoder failed".to_owned())))
}

impl Photo {
    /// `pixels` are rows of red, green, blue: `width * height * 3` bytes.
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

    /// Rows of red, green, blue.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    fn turned(self, orientation: Orientation) -> Self {
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
    /// By the file's first bytes, whatever its name is.
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

/// Orientation by an EXIF block, with or without the prefix that JPEG asks for. A damaged one says nothing about the
/// pixels.
fn orientation(exif: &[u8]) -> Orientation {
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    Orientation::from_exif_chunk(tiff).unwrap_or(Orientation::NoTransforms)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("more than 0 seconds, please".to_owned()),
    }
}
