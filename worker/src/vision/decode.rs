//! From the bytes of a JPEG, PNG or WebP file to upright RGB pixels.

use std::io::Cursor;

use image::error::{ImageError, ImageFormatHint, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};
use thiserror::Error;

mod jpeg;

/// An upright photo, 8 bits a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photo {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// What a photo may cost before it is refused.
#[derive(Debug, Clone, Copy)]
pub struct DecodeLimits {
    /// Width times height, taken from the file's header before anything is decoded.
    pub max_pixels: u64,
}

/// Why a file gives no photo.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("the file is not an image")]
    NotAnImage,
    #[error("unsupported image: {0}; JPEG, PNG and WebP are supported")]
    Unsupported(String),
    #[error("the image is damaged: {0}")]
    Damaged(String),
    #[error("the image is truncated")]
    Truncated,
    #[error("the image has {width} x {height} pixels; at most {limit} are accepted")]
    TooManyPixels { width: u32, height: u32, limit: u64 },
}

/// Decodes a file, turns it upright by its EXIF orientation and makes it RGB: grey is repeated, CMYK converted, 16 bits
/// rounded to 8. Transparency is dropped, not blended, as Pillow's `convert("RGB")` does.
pub fn decode(encoded: &[u8], limits: &DecodeLimits) -> Result<Photo, DecodeError> {
    let format = image::guess_format(encoded).map_err(|_| DecodeError::NotAnImage)?;
    let (photo, orientation) = match format {
        ImageFormat::Jpeg => jpeg::decode(encoded, limits)?,
        ImageFormat::WebP if is_cut_riff(encoded) => return Err(DecodeError::Truncated),
        ImageFormat::Png | ImageFormat::WebP => decode_other(encoded, format, limits)?,
        other => {
            return Err(DecodeError::Unsupported(
                format!("{other:?}").to_uppercase(),
            ));
        }
    };
    Ok(photo.turned(orientation))
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
        Self::from_rgb(image.into_rgb8())
    }

    fn from_rgb(rgb: RgbImage) -> Self {
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
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            max_pixels: 40_000_000,
        }
    }
}

/// PNG and WebP.
fn decode_other(
    encoded: &[u8],
    format: ImageFormat,
    limits: &DecodeLimits,
) -> Result<(Photo, Orientation), DecodeError> {
    let mut reader = ImageReader::with_format(Cursor::new(encoded), format);
    // The pixel limit bounds the picture; this bounds what a decoder may take beside it.
    let mut decoder_limits = image::Limits::default();
    decoder_limits.max_alloc = Some(limits.max_pixels.saturating_mul(16).max(1 << 20));
    reader.limits(decoder_limits);
    let mut decoder = reader.into_decoder().map_err(from_image_error)?;
    let (width, height) = decoder.dimensions();
    limits.check(width, height)?;
    // A damaged EXIF block says nothing about the pixels.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(from_image_error)?;
    Ok((Photo::from_rgb(image.into_rgb8()), orientation))
}

/// WebP files begin with "RIFF" and the number of bytes that follow. The decoder calls a cut one corrupt.
fn is_cut_riff(encoded: &[u8]) -> bool {
    let length = encoded
        .get(4..8)
        .and_then(|bytes| bytes.first_chunk::<4>())
        .map(|bytes| u32::from_le_bytes(*bytes));
    length.is_none_or(|length| encoded.len() < length as usize + 8)
}

fn from_image_error(error: ImageError) -> DecodeError {
    match error {
        ImageError::Unsupported(unsupported) => {
            DecodeError::Unsupported(match unsupported.format_hint() {
                ImageFormatHint::Exact(format) => format!("a kind of {format:?} that is not known"),
                hint => hint.to_string(),
            })
        }
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated
        }
        ImageError::Limits(limit) if limit.kind() == LimitErrorKind::InsufficientMemory => {
            DecodeError::Unsupported("one that needs far more memory than its pixels do".to_owned())
        }
        other => damaged_or_truncated(&other.to_string()),
    }
}

/// The decoders wrap an early end of file in errors of their own, which only their text tells apart.
fn damaged_or_truncated(message: &str) -> DecodeError {
    let lower = message.to_lowercase();
    let signs = [
        "unexpected end",
        "unexpected eof",
        "no more bytes",
        "exhausted",
        "truncated",
        "failed to fill",
    ];
    if signs.iter().any(|sign| lower.contains(sign)) {
        return DecodeError::Truncated;
    }
    DecodeError::Damaged(message.lines().next().unwrap_or("unreadable").to_owned())
}
