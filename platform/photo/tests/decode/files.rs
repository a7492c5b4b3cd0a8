//! Files to decode, and what the tests share.

use std::io::Cursor;
use std::time::Duration;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use mozjpeg::ColorSpace;
use photo::{DecodeError, DecodeLimits, Photo, decode};
use webp::{Encoder, WebPConfig};

pub const WIDTH: u32 = 48;

pub const HEIGHT: u32 = 32;

/// Returns a gradient with four different corners, so that rotations are visible.
pub fn picture() -> RgbImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        Rgb([(x * 5) as u8, (y * 7) as u8, 60])
    })
}

/// Returns noise of which each channel has the bits of `mask`.
pub fn noise(width: u32, height: u32, mask: u8) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        // The finalizer of MurmurHash3.
        let number = y * width + x + 1;
        let number = (number ^ number >> 16).wrapping_mul(0x85EB_CA6B);
        let number = (number ^ number >> 13).wrapping_mul(0xC2B2_AE35);
        Rgb([number >> 8, number >> 13, number >> 18].map(|value| value as u8 & mask))
    })
}

pub fn decoded(file: &[u8]) -> Photo {
    decode(file, &DecodeLimits::default()).expect("the file decodes")
}

pub fn failure(file: &[u8]) -> DecodeError {
    decode(file, &DecodeLimits::default()).expect_err("the file does not decode")
}

pub fn encode(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image
        .write_to(&mut file, format)
        .expect("the picture encodes");
    file.into_inner()
}

pub fn jpeg(color_space: ColorSpace, values: &[u8], progressive: bool) -> Vec<u8> {
    let size = (WIDTH as usize, HEIGHT as usize);
    jpeg_of(color_space, size, values, progressive)
}

pub fn jpeg_of(
    color_space: ColorSpace,
    (width, height): (usize, usize),
    values: &[u8],
    progressive: bool,
) -> Vec<u8> {
    let mut compressor = mozjpeg::Compress::new(color_space);
    compressor.set_size(width, height);
    compressor.set_quality(95.0);
    compressor.set_optimize_scans(false);
    if progressive {
        compressor.set_progressive_mode();
    } else {
        compressor.set_fastest_defaults();
        compressor.set_quality(95.0);
    }
    let mut started = compressor
        .start_compress(Vec::new())
        .expect("the encoder starts");
    started
        .write_scanlines(values)
        .expect("the picture encodes");
    started.finish().expect("the picture encodes")
}

pub fn position(bytes: &[u8], part: &[u8]) -> usize {
    let mut windows = bytes.windows(part.len());
    windows
        .position(|window| window == part)
        .expect("it is there")
}

/// Returns a WebP file.
pub fn riff(parts: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let body = chunks(parts);
    let length = (body.len() + 4) as u32;
    [b"RIFF".as_slice(), &length.to_le_bytes(), b"WEBP", &body].concat()
}

pub fn chunks(parts: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut chunks = Vec::new();
    for (name, content) in parts {
        chunks.extend_from_slice(name.as_slice());
        chunks.extend_from_slice(&(content.len() as u32).to_le_bytes());
        chunks.extend_from_slice(content);
        chunks.resize(chunks.len().next_multiple_of(2), 0);
    }
    chunks
}

/// Returns the picture in a file that announces EXIF and XMP, with further chunks.
pub fn webp(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let still = lossless_webp();
    let (right, bottom) = (WIDTH as u8 - 1, HEIGHT as u8 - 1);
    let canvas = [0b1100, 0, 0, 0, right, 0, 0, bottom, 0, 0];
    let (name, rest) = still[12..].split_first_chunk().expect("a name");
    let (length, content) = rest.split_first_chunk().expect("a length");
    let picture = (name, &content[..u32::from_le_bytes(*length) as usize]);
    riff(&[&[(b"VP8X", &canvas[..]), picture], chunks].concat())
}

/// Returns a lossy picture's header before zeros.
pub fn vp8(width: u16, height: u16) -> Vec<u8> {
    let first_partition = 400u32;
    let tag = (1 << 4 | first_partition << 5).to_le_bytes();
    let sides = [width.to_le_bytes(), height.to_le_bytes()].concat();
    [&tag[..3], &[0x9D, 0x01, 0x2A], &sides, &[0; 800]].concat()
}

/// Returns a picture as a lossy WebP, whose data lie in `2^partitions` partitions.
pub fn lossy_webp(picture: &RgbImage, partitions: i32) -> Vec<u8> {
    let mut config = WebPConfig::new().expect("libwebp has defaults");
    config.quality = 90.0;
    config.partitions = partitions;
    let file = encoder(picture).encode_advanced(&config);
    file.expect("the picture encodes").to_vec()
}

/// Returns a picture as libwebp encodes it without loss.
pub fn libwebp_lossless(picture: &RgbImage) -> Vec<u8> {
    encoder(picture).encode_lossless().to_vec()
}

fn encoder(picture: &RgbImage) -> Encoder<'_> {
    Encoder::from_rgb(picture.as_raw(), picture.width(), picture.height())
}

pub fn png_chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(name);
    crc.update(content);
    let length = content.len() as u32;
    let (length, crc) = (length.to_be_bytes(), crc.sum().to_be_bytes());
    [&length, name.as_slice(), content, &crc].concat()
}

/// Returns this process's peak memory in bytes.
pub fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kibibytes
        .and_then(|number| number.parse::<usize>().ok())
        .expect("a number")
        << 10
}

/// Returns a big-endian TIFF with one entry: tag 0x0112, type short, count 1, the value.
pub fn tiff(orientation: u8) -> Vec<u8> {
    let head = b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0";
    [head.as_slice(), &[orientation, 0, 0, 0, 0, 0, 0]].concat()
}

/// Inserts an EXIF segment after the start of the image.
pub fn with_exif(file: &[u8], orientation: u8) -> Vec<u8> {
    let segment = [b"Exif\0\0".as_slice(), &tiff(orientation)].concat();
    let length = (segment.len() as u16 + 2).to_be_bytes();
    let (start, rest) = file.split_at(2);
    [start, &[0xFF, 0xE1], &length, &segment, rest].concat()
}

pub fn max_pixels(max_pixels: u64) -> DecodeLimits {
    DecodeLimits {
        max_pixels,
        ..DecodeLimits::default()
    }
}

pub fn max_decode_time(max_decode_time: Duration) -> DecodeLimits {
    DecodeLimits {
        max_decode_time,
        ..DecodeLimits::default()
    }
}

/// Checks that a file decodes to about this picture.
pub fn assert_near(file: &[u8], expected: &RgbImage, tolerance: u8) {
    let photo = decoded(file);
    assert_size(&photo, WIDTH as usize, HEIGHT as usize);
    let pixels = photo.pixels().iter().zip(expected.as_raw());
    let worst = pixels.map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst <= Some(tolerance), "off by {worst:?}");
}

pub fn assert_size(photo: &Photo, width: usize, height: usize) {
    assert_eq!((photo.width(), photo.height()), (width, height));
}

/// Returns the picture as a baseline JPEG.
pub fn baseline() -> Vec<u8> {
    jpeg(ColorSpace::JCS_RGB, picture().as_raw(), false)
}

/// Returns the picture as a progressive JPEG.
pub fn progressive() -> Vec<u8> {
    jpeg(ColorSpace::JCS_RGB, picture().as_raw(), true)
}

pub fn png() -> Vec<u8> {
    encode(picture().into(), ImageFormat::Png)
}

pub fn lossless_webp() -> Vec<u8> {
    encode(picture().into(), ImageFormat::WebP)
}
