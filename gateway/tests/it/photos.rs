use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat, Luma, RgbImage};

/// Returns a JPEG that depends on the seed.
pub fn photo(seed: u8) -> Vec<u8> {
    let mut pixels = RgbImage::new(32, 24);
    for (x, y, pixel) in pixels.enumerate_pixels_mut() {
        let shade = u8::try_from((x * 37 + y * 91) % 251).unwrap();
        pixel.0 = [shade, seed, shade.wrapping_add(seed)];
    }
    let mut bytes = Vec::new();
    DynamicImage::ImageRgb8(pixels)
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Jpeg)
        .unwrap();
    bytes
}

/// Returns a PNG with so many pixels a side.
pub fn gray_photo(side: u32) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    GrayImage::from_pixel(side, side, Luma([140]))
        .write_to(&mut file, ImageFormat::Png)
        .unwrap();
    file.into_inner()
}

/// Returns a JPEG that front accepts, without some of its picture data.
pub fn truncated_photo() -> Vec<u8> {
    let whole = photo(1);
    [&whole[..whole.len() - 40], &[0xFF, 0xD9]].concat()
}

/// Returns a PNG of a few hundred bytes whose header announces 65,500 x 65,500 pixels.
pub fn decompression_bomb() -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend_from_slice(&65_500u32.to_be_bytes());
    header.extend_from_slice(&65_500u32.to_be_bytes());
    header.extend_from_slice(&[8, 2, 0, 0, 0]);
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&crc32(&header).to_be_bytes());
    let data = b"IDAT\x78\x9c";
    bytes.extend_from_slice(&2u32.to_be_bytes());
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(&crc32(data).to_be_bytes());
    bytes
}

/// One part of a multipart body, with its file name unescaped.
pub struct Part<'a> {
    pub field: &'a str,
    pub file_name: Option<&'a str>,
    pub content: &'a [u8],
}

pub const CONTENT_TYPE: &str = "multipart/form-data; boundary=frontier";

pub fn multipart(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        let file_name = part.file_name.map(|name| format!("; filename=\"{name}\""));
        let head = format!(
            "--frontier\r\nContent-Disposition: form-data; name=\"{}\"{}\r\n\r\n",
            part.field,
            file_name.unwrap_or_default()
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(part.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--frontier--\r\n");
    body
}

/// Computes the checksum of PNG's chunks bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut remainder = u32::MAX;
    for byte in bytes {
        remainder ^= u32::from(*byte);
        for _ in 0..8 {
            let carry = remainder & 1 == 1;
            remainder >>= 1;
            if carry {
                remainder ^= 0xedb8_8320;
            }
        }
    }
    !remainder
}
