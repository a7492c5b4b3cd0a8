//! Every kind of file that a client may send. Peak memory is that of the process, so that no test here may need much.

mod files;
mod jpeg;
mod limits;
mod png;
mod webp;

use image::ImageFormat;
use photo::{DecodeError, DecodeLimits, decode, inspect};

use files::*;

#[test]
fn png_and_lossless_webp_give_their_pixels() {
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let photo = decoded(&encode(picture().into(), format));
        assert_size(&photo, 48, 32);
        assert_eq!(photo.pixels(), picture().as_raw().as_slice(), "{format:?}");
    }
}

#[test]
fn a_file_that_is_not_an_image_is_refused() {
    for file in [
        b"".as_slice(),
        b"hello, this is a text",
        &[0; 1000],
        b"\xFF",
        b"%PDF-1.7",
    ] {
        assert_eq!(failure(file), DecodeError::NotAnImage);
    }
}

#[test]
fn other_formats_are_unsupported() {
    let bmp = [b"BM".as_slice(), &[0; 100]].concat();
    for (file, name) in [
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00;".as_slice(), "GIF"),
        (&bmp, "BMP"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1Cftypavif\0\0\0\0avifmif1miaf", "AVIF"),
        (b"\0\0\0\x0CjP  \r\n\x87\n\0\0\0\x14ftypjp2 ", "JPEG 2000"),
        (b"\xFF\x4F\xFF\x51\0\x2F", "JPEG 2000"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
    ] {
        let unsupported = DecodeError::Unsupported(name.to_owned());
        assert_eq!(failure(file), unsupported);
        let inspected = inspect(file, &DecodeLimits::default());
        assert_eq!(inspected, Err(unsupported));
    }
}

/// Front must not refuse what a worker would decode.
#[test]
fn inspection_never_refuses_what_can_be_decoded() {
    for file in [
        baseline(),
        progressive(),
        png(),
        webp(&[(b"EXIF", &tiff(6))]),
    ] {
        for position in 0..file.len() {
            for value in [0x00, 0x01, 0x7F, 0xFF] {
                let mut changed = file.clone();
                changed[position] = value;
                let limits = max_pixels(1_000_000);
                if let Err(refused) = inspect(&changed, &limits) {
                    let decoded = decode(&changed, &limits);
                    assert_eq!(decoded, Err(refused), "{value} at {position}");
                }
            }
        }
    }
}

/// Found by fuzzing: front stored these files and workers refused them, and one made a decoder panic.
#[test]
fn inspection_refuses_bad_headers() {
    for (name, expected) in [
        ("late-components.jpg", "two frames"),
        ("late-no-components.jpg", "0 channels"),
        ("late-no-palette.png", "it has no palette"),
        ("late-process.jpg", "SOF type"),
        ("late-reserved-marker.jpg", "no size"),
        ("late-sampling.jpg", "whole fractions"),
        ("late-two-starts.jpg", "no size"),
        ("palette-of-4-bytes.png", "palette is cut"),
        ("palette-of-4-bytes-trns.png", "palette is cut"),
    ] {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/photo");
        let file = std::fs::read(format!("{seeds}/{name}")).unwrap();
        let refused = inspect(&file, &DecodeLimits::default()).expect_err(name);
        let message = refused.to_string();
        assert!(message.contains(expected), "{name}: {message}");
        assert!(!message.contains('%'), "{name}: {message}");
        assert_eq!(failure(&file), refused, "{name}");
    }
}

#[test]
fn a_cut_file_is_an_error() {
    let files = [baseline(), progressive(), png(), lossless_webp()];
    for file in files {
        for length in (16..file.len() - 12).step_by(7) {
            let error = failure(&file[..length]);
            let expected = matches!(
                error,
                DecodeError::Truncated | DecodeError::Damaged(_) | DecodeError::NotAnImage
            );
            assert!(expected, "{length} of {} bytes: {error:?}", file.len());
        }
        let format = image::guess_format(&file);
        let half = failure(&file[..file.len() / 2]);
        assert_eq!(half, DecodeError::Truncated, "half of {format:?}");
    }
}

#[test]
fn damage_never_panics() {
    for file in [progressive(), png(), lossless_webp()] {
        for position in 0..file.len() {
            for value in [0x00, 0x7F, 0xFF] {
                let mut damaged = file.clone();
                damaged[position] = value;
                // Some damage only changes colors, so that the result does not matter.
                drop(decode(&damaged, &max_pixels(1_000_000)));
            }
        }
    }
}
