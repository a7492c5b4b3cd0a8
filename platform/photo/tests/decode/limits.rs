use std::time::Duration;

use mozjpeg::ColorSpace;
use photo::{DecodeError, DecodeLimits, decode};

use crate::files::*;

#[test]
fn a_decoder_that_takes_too_long_is_stopped() {
    let too_slow = Err(DecodeError::TooSlow(Duration::ZERO));
    for file in [
        progressive(),
        png(),
        lossless_webp(),
        lossy_webp(&picture(), 0),
    ] {
        assert_eq!(decode(&file, &max_decode_time(Duration::ZERO)), too_slow);
    }
}

/// A later read that fails appears as one of libjpeg's own errors.
#[test]
fn a_jpeg_stopped_within_its_data_is_too_slow_not_damaged() {
    let (width, height) = (3_000, 2_000);
    let noise = (0..width * height * 3usize).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    let noise: Vec<_> = noise.collect();
    let file = jpeg_of(ColorSpace::JCS_RGB, (width, height), &noise, true);
    // Deadlines from the first read to the last.
    for micros in [1, 100, 1_000, 5_000, 20_000, 50_000] {
        let time = Duration::from_micros(micros);
        if let Err(error) = decode(&file, &max_decode_time(time)) {
            assert_eq!(error, DecodeError::TooSlow(time));
        }
    }
}

#[test]
fn a_webp_stopped_within_its_data_is_too_slow_not_damaged() {
    let noise = noise(2_000, 1_500, 0xF8);
    for file in [lossy_webp(&noise, 0), lossy_webp(&noise, 3)] {
        // Deadlines from the first piece to the last.
        for micros in [1, 100, 1_000, 5_000, 20_000, 50_000] {
            let time = Duration::from_micros(micros);
            if let Err(error) = decode(&file, &max_decode_time(time)) {
                assert_eq!(error, DecodeError::TooSlow(time));
            }
        }
    }
}

#[test]
fn too_many_pixels_are_refused_from_the_header() {
    let pixels = u64::from(WIDTH * HEIGHT);
    let refused = Err(DecodeError::TooManyPixels {
        width: WIDTH,
        height: HEIGHT,
        limit: pixels - 1,
    });
    for file in [baseline(), png(), lossless_webp()] {
        assert_eq!(decode(&file, &max_pixels(pixels - 1)), refused);
        assert!(decode(&file, &max_pixels(pixels)).is_ok());
    }
}

#[test]
fn extreme_shapes_are_decoded() {
    for (width, height) in [(1, 1), (60_000, 1), (1, 60_000)] {
        let values = vec![90u8; width * height * 3];
        let jpeg = jpeg_of(ColorSpace::JCS_RGB, (width, height), &values, false);
        assert_size(&decoded(&jpeg), width, height);
    }
    for (width, height) in [(1, 1), (200_000, 1), (1, 200_000)] {
        let gray = image::GrayImage::from_pixel(width, height, image::Luma([128]));
        let photo = decoded(&encode(gray.into(), image::ImageFormat::Png));
        assert_size(&photo, width as usize, height as usize);
    }
}

#[test]
fn a_decompression_bomb_is_refused_by_default() {
    // The header announces 60,000 x 60,000 pixels.
    let mut file = baseline();
    let frame = position(&file, &[0xFF, 0xC0]);
    file[frame + 5..frame + 9].copy_from_slice(&[0xEA, 0x60, 0xEA, 0x60]);
    let limit = DecodeLimits::default().max_pixels;
    assert_eq!(limit, 40_000_000);
    let too_many = DecodeError::TooManyPixels {
        width: 60_000,
        height: 60_000,
        limit,
    };
    assert_eq!(failure(&file), too_many);
}
