use image::{Rgb, RgbImage};
use mozjpeg::ColorSpace;
use photo::{DecodeError, DecodeLimits, Photo, inspect};

use crate::files::*;

#[test]
fn jpegs_of_all_kinds_come_close() {
    for file in [baseline(), progressive()] {
        assert_near(&file, &picture(), 12);
    }
    let gray: Vec<u8> = picture().pixels().map(|pixel| pixel.0[0]).collect();
    let expected = RgbImage::from_fn(WIDTH, HEIGHT, |x, _| Rgb([(x * 5) as u8; 3]));
    let file = jpeg(ColorSpace::JCS_GRAYSCALE, &gray, false);
    assert_near(&file, &expected, 6);
}

#[test]
fn a_cmyk_jpeg_of_adobe_is_converted() {
    // Inverted inks without black (inverted: 255) are red, green and blue.
    let inks: Vec<u8> = picture()
        .pixels()
        .flat_map(|&Rgb([red, green, blue])| [red, green, blue, 255])
        .collect();
    let file = jpeg(ColorSpace::JCS_CMYK, &inks, false);
    assert_near(&file, &picture(), 8);
    // Full black (inverted: 0) is black.
    let black: Vec<u8> = inks
        .chunks_exact(4)
        .flat_map(|ink| [ink[0], ink[1], ink[2], 0])
        .collect();
    let file = jpeg(ColorSpace::JCS_CMYK, &black, false);
    assert_near(&file, &RgbImage::new(WIDTH, HEIGHT), 8);
}

#[test]
fn exif_orientation_is_applied() {
    let plain = decoded(&baseline());
    let pixel = |photo: &Photo, x: usize, y: usize| -> [u8; 3] {
        *photo.pixels()[(y * photo.width() + x) * 3..]
            .first_chunk()
            .expect("inside")
    };
    let turned = |orientation| decoded(&with_exif(&baseline(), orientation));
    assert_eq!(turned(1), plain);
    // 3 is upside down, 6 is rotated clockwise, 8 counterclockwise.
    let (last_x, last_y) = (WIDTH as usize - 1, HEIGHT as usize - 1);
    let upside_down = turned(3);
    assert_eq!(pixel(&upside_down, last_x, last_y), pixel(&plain, 0, 0));
    for (orientation, x, y) in [(6, last_y, 0), (8, 0, last_x)] {
        let photo = turned(orientation);
        assert_size(&photo, 32, 48);
        assert_eq!(pixel(&photo, x, y), pixel(&plain, 0, 0), "{orientation}");
    }
    // Invalid orientations are ignored.
    assert_eq!(turned(77), plain);
}

/// Programs that rotate a photo insert their EXIF before the camera's.
#[test]
fn of_several_exif_segments_the_first_counts() {
    let plain = baseline();
    let both = with_exif(&with_exif(&plain, 6), 1);
    assert_eq!(decoded(&both), decoded(&plain));
}

#[test]
fn jpeg_processes_that_are_not_decoded_are_unsupported() {
    // Lossless, arithmetic and hierarchical processes.
    for process in [0xC3, 0xC5, 0xC9, 0xCA, 0xCB] {
        let mut file = baseline();
        let frame = position(&file, &[0xFF, 0xC0]);
        file[frame + 1] = process;
        let refused = failure(&file);
        assert!(
            matches!(refused, DecodeError::Unsupported(_)),
            "{process:X}"
        );
    }
    let mut twelve_bits = baseline();
    let frame = position(&twelve_bits, &[0xFF, 0xC0]);
    twelve_bits[frame + 4] = 12;
    assert!(matches!(failure(&twelve_bits), DecodeError::Unsupported(_)));
}

#[test]
fn cut_data_before_an_end_marker_is_truncated() {
    for whole in [baseline(), progressive()] {
        let data = position(&whole, &[0xFF, 0xDA]);
        for tenths in [5, 8] {
            let mut cut = whole[..data + (whole.len() - data) * tenths / 10].to_vec();
            while cut.last() == Some(&0xFF) {
                cut.pop();
            }
            cut.extend([0xFF, 0xD9]);
            assert_eq!(failure(&cut), DecodeError::Truncated, "{tenths}");
        }
    }
}

/// Phones append further pictures (MPO) and clips, and cameras blocks of their own.
#[test]
fn what_follows_the_end_is_ignored() {
    let plain = baseline();
    let directory = b"\xFF\xE2\0\x0AMPF\0II*\0";
    let several = [&plain[..2], directory, &plain[2..]].concat();
    let clip = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom";
    let block = b"dhav\x59\x19\x01\0";
    for (file, after) in [
        (&several, progressive().as_slice()),
        (&plain, clip),
        (&plain, block),
    ] {
        let file = [file.as_slice(), after].concat();
        assert_eq!(inspect(&file, &DecodeLimits::default()), Ok(()));
        assert_eq!(decoded(&file), decoded(&plain));
    }
}

/// ITU-T T.81, B.1.1.2: any number of FF bytes may come before a marker.
#[test]
fn fill_bytes_before_markers_are_skipped() {
    let plain = baseline();
    let (start, rest) = plain.split_at(2);
    let (middle, end) = rest.split_at(rest.len() - 2);
    let fill = [0xFFu8; 3];
    let file = [start, &fill, middle, &fill, end].concat();
    assert_eq!(inspect(&file, &DecodeLimits::default()), Ok(()));
    assert_eq!(decoded(&file), decoded(&plain));
}

/// Baseline decoders ignore these three bytes, and some cameras write other values.
#[test]
fn odd_scan_parameters_of_a_baseline_jpeg_are_ignored() {
    let plain = baseline();
    let mut odd = plain.clone();
    let scan = position(&odd, &[0xFF, 0xDA]);
    let length = usize::from(u16::from_be_bytes([odd[scan + 2], odd[scan + 3]]));
    odd[scan + 2 + length - 3..scan + 2 + length].copy_from_slice(&[1, 2, 3]);
    assert_eq!(decoded(&odd), decoded(&plain));
}

#[test]
fn luma_may_be_sampled_three_to_one() {
    let mut compressor = mozjpeg::Compress::new(ColorSpace::JCS_RGB);
    compressor.set_size(WIDTH as usize, HEIGHT as usize);
    compressor.set_fastest_defaults();
    compressor.set_quality(95.0);
    for (component, width) in compressor.components_mut().iter_mut().zip([3, 1, 1]) {
        (component.h_samp_factor, component.v_samp_factor) = (width, 1);
    }
    let mut started = compressor
        .start_compress(Vec::new())
        .expect("the encoder starts");
    started
        .write_scanlines(picture().as_raw())
        .expect("the picture encodes");
    let file = started.finish().expect("the picture encodes");
    assert_eq!(inspect(&file, &DecodeLimits::default()), Ok(()));
    assert_near(&file, &picture(), 16);
}

#[test]
fn thousands_of_scans_are_refused() {
    let file = progressive();
    let scan = position(&file, &[0xFF, 0xDA]);
    let end = file.len() - 2;
    let bomb = [&file[..end], &file[scan..end].repeat(1000), &file[end..]].concat();
    assert!(matches!(failure(&bomb), DecodeError::Unsupported(_)));
}
