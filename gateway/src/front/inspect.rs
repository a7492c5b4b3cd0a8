use std::io::Cursor;

use bytes::Bytes;
use image::{ImageError, ImageFormat, ImageReader};
use sha2::{Digest, Sha256};

use crate::error::{ErrorCode, RequestError};

/// The formats that workers decode.
const FORMATS: [ImageFormat; 3] = [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP];

/// A photo whose header was read. Its pixels are decoded by a worker only.
#[derive(Debug, Clone)]
pub struct Photo {
    pub bytes: Bytes,
    /// Lower case hexadecimal.
    pub sha256: String,
}

impl Photo {
    /// # Errors
    /// When the bytes are not an image of a known format, or have more than `max_pixels` pixels.
    pub fn inspect(bytes: Bytes, max_pixels: u64) -> Result<Self, RequestError> {
        let reader = ImageReader::new(Cursor::new(&bytes));
        let reader = reader
            .with_guessed_format()
            .map_err(|error| damaged(&error.to_string()))?;
        match reader.format() {
            Some(format) if FORMATS.contains(&format) => {}
            _ => {
                let message = "the file is not a JPEG, PNG or WebP image";
                return Err(RequestError::new(ErrorCode::NotAnImage, message));
            }
        }
        let (width, height) = reader
            .into_dimensions()
            .map_err(|error| unreadable(&error))?;
        let pixels = u64::from(width) * u64::from(height);
        if pixels > max_pixels {
            let message = format!(
                "the image has {width} x {height} pixels; the limit is {max_pixels} in all"
            );
            return Err(RequestError::new(ErrorCode::TooManyPixels, message));
        }
        if pixels == 0 {
            return Err(damaged("it has no pixels"));
        }
        let sha256 = hexadecimal(&Sha256::digest(&bytes));
        Ok(Self { bytes, sha256 })
    }
}

fn unreadable(error: &ImageError) -> RequestError {
    match error {
        ImageError::Limits(_) => RequestError::new(
            ErrorCode::TooManyPixels,
            "the image has more pixels than can be read",
        ),
        other => damaged(&other.to_string()),
    }
}

fn damaged(reason: &str) -> RequestError {
    let message = format!("the image is damaged: {reason}");
    RequestError::new(ErrorCode::DamagedImage, message)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, RgbImage};

    use super::*;

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let mut bytes = Vec::new();
        let image = DynamicImage::ImageRgb8(RgbImage::new(8, 6));
        image
            .write_to(&mut Cursor::new(&mut bytes), format)
            .unwrap();
        bytes
    }

    fn refusal(bytes: &[u8], max_pixels: u64) -> ErrorCode {
        Photo::inspect(Bytes::copy_from_slice(bytes), max_pixels)
            .unwrap_err()
            .code
    }

    #[test]
    fn the_three_formats_are_known_by_their_content() {
        for format in FORMATS {
            let photo = Photo::inspect(encoded(format).into(), 48).unwrap();
            assert_eq!(photo.sha256.len(), 64, "{format:?}");
        }
    }

    #[test]
    fn the_digest_is_sha_256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hexadecimal(&Sha256::digest(b"")), empty);
    }

    #[test]
    fn other_files_are_no_images() {
        assert_eq!(refusal(b"hello, this is text", 48), ErrorCode::NotAnImage);
        assert_eq!(
            refusal(b"GIF89a\x01\x00\x01\x00", 48),
            ErrorCode::NotAnImage
        );
    }

    #[test]
    fn an_image_that_ends_in_its_header_is_damaged() {
        for format in FORMATS {
            assert_eq!(
                refusal(&encoded(format)[..16], 48),
                ErrorCode::DamagedImage,
                "{format:?}"
            );
        }
    }

    #[test]
    fn too_many_pixels_are_refused_before_they_are_decoded() {
        assert_eq!(
            refusal(&encoded(ImageFormat::Jpeg), 47),
            ErrorCode::TooManyPixels
        );
        let mut bomb = encoded(ImageFormat::Png);
        bomb[16..24].copy_from_slice(&[0x00, 0x00, 0xff, 0xff, 0x00, 0x00, 0xff, 0xff]);
        assert!(Photo::inspect(bomb.into(), 40_000_000).is_err());
    }
}
