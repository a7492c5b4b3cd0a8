use image::RgbImage;
use photo::{DecodeError, DecodeLimits, inspect};

use crate::files::*;

/// Decoders of a whole file and of pieces of it must agree. Front and workers read pieces.
#[test]
fn pixels_equal_those_of_libwebp_in_one_call() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/photo");
    let seeds = ["lossy", "lossless-alpha"].map(|name| {
        let file = std::fs::read(format!("{seeds}/{name}.webp"));
        file.expect("a seed of the fuzz targets")
    });
    for file in seeds {
        assert_equals_one_call(&file);
    }
    // Noise of all colors, of 64 that make a palette, and a gradient with some noise.
    let noise = [(0xFF, 600), (0xC0, 700)].map(|(mask, side)| noise(side, side, mask));
    let mut gradient = crate::files::noise(900, 700, 0x1F);
    for (x, y, pixel) in gradient.enumerate_pixels_mut() {
        pixel.0[0] += (x / 4) as u8;
        pixel.0[1] += (y / 4) as u8;
    }
    for picture in noise.iter().chain([&gradient]) {
        let lossless = libwebp_lossless(picture);
        assert_eq!(decoded(&lossless).pixels(), picture.as_raw().as_slice());
        for file in [lossy_webp(picture, 0), lossy_webp(picture, 3), lossless] {
            assert!(file.len() > 4 * 16_384, "one piece: {}", file.len());
            assert_equals_one_call(&file);
        }
    }
}

fn assert_equals_one_call(file: &[u8]) {
    let whole = ::webp::Decoder::new(file).decode().expect("it decodes");
    let channels = if whole.is_alpha() { 4 } else { 3 };
    let whole_pixels: Vec<u8> = whole
        .chunks_exact(channels)
        .flat_map(|pixel| &pixel[..3])
        .copied()
        .collect();
    let whole = RgbImage::from_raw(whole.width(), whole.height(), whole_pixels);
    let whole = whole.expect("three bytes a pixel");
    let photo = decoded(file);
    assert_size(&photo, whole.width() as usize, whole.height() as usize);
    assert!(photo.pixels() == whole.as_raw().as_slice());
}

#[test]
fn exif_orientation_is_applied_with_and_without_the_prefix_of_jpeg() {
    for prefix in [b"".as_slice(), b"Exif\0\0"] {
        let exif = [prefix, &tiff(6)].concat();
        let photo = decoded(&webp(&[(b"EXIF", &exif)]));
        assert_size(&photo, 32, 48);
    }
}

#[test]
fn announced_metadata_may_be_missing() {
    // EXIF, XMP, a color profile, and all of them.
    for flags in [0b1000, 0b100, 0b10_0000, 0b10_1100] {
        let mut file = webp(&[]);
        let canvas = position(&file, b"VP8X") + 8;
        file[canvas] = flags;
        assert_eq!(inspect(&file, &DecodeLimits::default()), Ok(()));
        let photo = decoded(&file);
        assert_eq!(photo.pixels(), picture().as_raw().as_slice(), "{flags:b}");
    }
}

/// The two parts of the frame differ in size. An earlier decoder panicked.
#[test]
fn a_frame_with_transparency_of_another_size_is_damaged() {
    let parts = [(b"ALPH", [0; 2].as_slice()), (b"VP8 ", &vp8(16, 16))];
    let frame = [vec![0; 16], chunks(&parts)].concat();
    let file = animation([0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0], &frame);
    assert!(matches!(failure(&file), DecodeError::Damaged(_)));
}

#[test]
fn a_canvas_does_not_hide_a_larger_picture() {
    let picture = vp8(12_000, 12_000);
    let file = riff(&[(b"VP8X", &[0; 10]), (b"VP8 ", &picture)]);
    let too_many = DecodeError::TooManyPixels {
        width: 12_000,
        height: 12_000,
        limit: 40_000_000,
    };
    assert_eq!(failure(&file), too_many);
}

#[test]
fn the_first_picture_of_an_animation_is_placed_on_its_canvas() {
    let still = lossless_webp();
    let bitstream = &still[12..];
    // At (2, 4) of a canvas of 60 x 40.
    let head = [1, 0, 0, 2, 0, 0, 47, 0, 0, 31, 0, 0, 0, 0, 0, 0];
    let frame = [&head, bitstream].concat();
    let photo = decoded(&animation([2, 0, 0, 0, 59, 0, 0, 39, 0, 0], &frame));
    assert_size(&photo, 60, 40);
    let pixel = |x: usize, y: usize| &photo.pixels()[(y * 60 + x) * 3..][..3];
    assert_eq!(pixel(1, 4), [0; 3]);
    assert_eq!(pixel(2, 4), picture().get_pixel(0, 0).0);
    assert_eq!(pixel(49, 35), picture().get_pixel(47, 31).0);
    assert_eq!(pixel(50, 35), [0; 3]);
}

/// libwebp would read it as a file, with transparency or metadata.
#[test]
fn a_bitstream_that_begins_as_a_file_is_damaged() {
    let whole = lossless_webp();
    let alpha = chunks(&[(b"ALPH", &[0; 2]), (b"VP8 ", &vp8(16, 16))]);
    for content in [whole.as_slice(), &whole[12..], &alpha] {
        for name in [b"VP8 ", b"VP8L"] {
            let inspected = inspect(&riff(&[(name, content)]), &DecodeLimits::default());
            assert!(matches!(inspected, Err(DecodeError::Damaged(_))));
        }
    }
}

/// Returns a file with one frame.
fn animation(canvas: [u8; 10], frame: &[u8]) -> Vec<u8> {
    riff(&[(b"VP8X", &canvas), (b"ANIM", &[0; 6]), (b"ANMF", frame)])
}
