//! Every kind of file that a client may send.

use std::io::Cursor;

use image::{DynamicImage, ImageEncoder, ImageFormat, Luma, Rgb, RgbImage, Rgba};
use worker::vision::decode::{Photo, decode};
use worker::vision::{DecodeError, DecodeLimits};

const WIDTH: u32 = 48;
const HEIGHT: u32 = 32;

/// A gradient whose corners differ, so that a turn shows.
fn picture() -> RgbImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        Rgb([(x * 5) as u8, (y * 7) as u8, 60])
    })
}

#[test]
fn png_and_lossless_webp_give_their_pixels() {
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let photo = decoded(&encode(picture().into(), format));
        assert_eq!((photo.width(), photo.height()), (48, 32));
        assert_eq!(photo.pixels(), picture().as_raw().as_slice(), "{format:?}");
    }
}

#[test]
fn transparency_is_dropped() {
    let image = image::RgbaImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let Rgb([red, green, blue]) = *picture().get_pixel(x, y);
        Rgba([red, green, blue, (x * 3) as u8])
    });
    assert_eq!(
        decoded(&encode(image.into(), ImageFormat::Png)).pixels(),
        picture().as_raw().as_slice()
    );
}

#[test]
fn sixteen_bits_and_grey_become_rgb() {
    let grey = image::ImageBuffer::from_fn(WIDTH, HEIGHT, |x, _| Luma([(x * 257 * 5) as u16]));
    let photo = decoded(&encode(DynamicImage::ImageLuma16(grey), ImageFormat::Png));
    let expected: Vec<u8> = (0..HEIGHT)
        .flat_map(|_| (0..WIDTH).flat_map(|x| [(x * 5) as u8; 3]))
        .collect();
    assert_eq!(photo.pixels(), expected);
}

#[test]
fn jpegs_of_all_kinds_come_close() {
    for progressive in [false, true] {
        assert_near(
            &decoded(&jpeg(
                mozjpeg::ColorSpace::JCS_RGB,
                picture().as_raw(),
                progressive,
            )),
            &picture(),
            12,
        );
    }
    let grey: Vec<u8> = picture().pixels().map(|pixel| pixel.0[0]).collect();
    let expected = RgbImage::from_fn(WIDTH, HEIGHT, |x, _| Rgb([(x * 5) as u8; 3]));
    assert_near(
        &decoded(&jpeg(mozjpeg::ColorSpace::JCS_GRAYSCALE, &grey, false)),
        &expected,
        6,
    );
}

#[test]
fn a_cmyk_jpeg_is_read_as_adobe_writes_it() {
    // Inverted inks over full black (inverted: 255) are plain red, green and blue.
    let inks: Vec<u8> = picture()
        .pixels()
        .flat_map(|&Rgb([red, green, blue])| [red, green, blue, 255])
        .collect();
    assert_near(
        &decoded(&jpeg(mozjpeg::ColorSpace::JCS_CMYK, &inks, false)),
        &picture(),
        8,
    );
    // And with no light left through the black, everything is black.
    let black: Vec<u8> = inks
        .chunks_exact(4)
        .flat_map(|ink| [ink[0], ink[1], ink[2], 0])
        .collect();
    assert_near(
        &decoded(&jpeg(mozjpeg::ColorSpace::JCS_CMYK, &black, false)),
        &RgbImage::new(WIDTH, HEIGHT),
        8,
    );
}

#[test]
fn exif_orientation_is_honoured() {
    let plain = decoded(&jpeg(
        mozjpeg::ColorSpace::JCS_RGB,
        picture().as_raw(),
        false,
    ));
    let pixel = |photo: &Photo, x: usize, y: usize| -> [u8; 3] {
        *photo.pixels()[(y * photo.width() + x) * 3..]
            .first_chunk()
            .expect("inside")
    };
    let turned = |orientation: u8| {
        let file = with_exif(
            &jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), false),
            orientation,
        );
        decoded(&file)
    };
    assert_eq!(turned(1), plain);
    // 3 is upside down, 6 and 8 are the camera on its side: 6 is turned clockwise, 8 anticlockwise.
    let (last_x, last_y) = (WIDTH as usize - 1, HEIGHT as usize - 1);
    let upside_down = turned(3);
    assert_eq!(pixel(&upside_down, last_x, last_y), pixel(&plain, 0, 0));
    for (orientation, x, y) in [(6, last_y, 0), (8, 0, last_x)] {
        let photo = turned(orientation);
        assert_eq!(
            (photo.width(), photo.height()),
            (32, 48),
            "orientation {orientation}"
        );
        assert_eq!(
            pixel(&photo, x, y),
            pixel(&plain, 0, 0),
            "orientation {orientation}"
        );
    }
    // Nonsense is ignored.
    assert_eq!(turned(77), plain);
}

#[test]
fn a_file_that_is_no_image_says_so() {
    for file in [
        b"".as_slice(),
        b"hello, I am a text",
        &[0; 1000],
        b"\xFF",
        b"%PDF-1.7",
    ] {
        assert_eq!(
            decode(file, &DecodeLimits::default()),
            Err(DecodeError::NotAnImage)
        );
    }
}

#[test]
fn other_formats_are_unsupported() {
    let gif = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;".as_slice();
    let bmp = [b"BM".as_slice(), &[0; 100]].concat();
    for (file, name) in [(gif, "GIF"), (&bmp, "BMP")] {
        assert_eq!(
            decode(file, &DecodeLimits::default()),
            Err(DecodeError::Unsupported(name.to_owned()))
        );
    }
}

#[test]
fn arithmetic_coded_jpeg_is_unsupported() {
    let mut file = jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), false);
    let frame = file
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .expect("a baseline frame");
    file[frame + 1] = 0xC9;
    assert!(
        matches!(failure(&file), DecodeError::Unsupported(_)),
        "{:?}",
        failure(&file)
    );
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let files = [
        jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), false),
        jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), true),
        encode(picture().into(), ImageFormat::Png),
        encode(picture().into(), ImageFormat::WebP),
    ];
    for file in files {
        for length in (16..file.len() - 12).step_by(7) {
            let error = failure(&file[..length]);
            let expected = matches!(
                error,
                DecodeError::Truncated | DecodeError::Damaged(_) | DecodeError::NotAnImage
            );
            assert!(expected, "{length} of {} bytes: {error:?}", file.len());
        }
        let half = failure(&file[..file.len() / 2]);
        assert_eq!(
            half,
            DecodeError::Truncated,
            "half of {:?}",
            image::guess_format(&file)
        );
    }
}

#[test]
fn damage_never_panics() {
    for file in [
        jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), true),
        encode(picture().into(), ImageFormat::Png),
        encode(picture().into(), ImageFormat::WebP),
    ] {
        for position in 0..file.len() {
            for value in [0x00, 0x7F, 0xFF] {
                let mut damaged = file.clone();
                damaged[position] = value;
                // Some damage only changes colours; what counts is that the decoder answers.
                drop(decode(
                    &damaged,
                    &DecodeLimits {
                        max_pixels: 1_000_000,
                    },
                ));
            }
        }
    }
}

#[test]
fn too_many_pixels_are_refused_from_the_header() {
    let limits = DecodeLimits {
        max_pixels: u64::from(WIDTH * HEIGHT) - 1,
    };
    let refused = Err(DecodeError::TooManyPixels {
        width: WIDTH,
        height: HEIGHT,
        limit: limits.max_pixels,
    });
    for file in [
        jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), false),
        encode(picture().into(), ImageFormat::Png),
        encode(picture().into(), ImageFormat::WebP),
    ] {
        assert_eq!(decode(&file, &limits), refused);
        assert!(
            decode(
                &file,
                &DecodeLimits {
                    max_pixels: u64::from(WIDTH * HEIGHT)
                }
            )
            .is_ok()
        );
    }
}

#[test]
fn a_decompression_bomb_is_refused_by_default() {
    // 60,000 x 60,000 pixels in a header of a few bytes.
    let mut file = jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), false);
    let frame = file
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .expect("a baseline frame");
    file[frame + 5..frame + 9].copy_from_slice(&[0xEA, 0x60, 0xEA, 0x60]);
    let limit = DecodeLimits::default().max_pixels;
    assert_eq!(limit, 40_000_000);
    assert_eq!(
        failure(&file),
        DecodeError::TooManyPixels {
            width: 60_000,
            height: 60_000,
            limit
        }
    );
}

#[test]
fn a_jpeg_with_thousands_of_scans_is_refused() {
    let file = jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), true);
    let scan = file
        .windows(2)
        .position(|pair| pair == [0xFF, 0xDA])
        .expect("a scan");
    let end = file.len() - 2;
    let bomb = [&file[..end], &file[scan..end].repeat(1000), &file[end..]].concat();
    assert!(matches!(failure(&bomb), DecodeError::Unsupported(_)));
}

fn decoded(file: &[u8]) -> Photo {
    decode(file, &DecodeLimits::default()).expect("the file decodes")
}

fn failure(file: &[u8]) -> DecodeError {
    decode(file, &DecodeLimits::default()).expect_err("the file does not decode")
}

fn encode(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image
        .write_to(&mut file, format)
        .expect("the picture encodes");
    file.into_inner()
}

fn jpeg(color_space: mozjpeg::ColorSpace, values: &[u8], progressive: bool) -> Vec<u8> {
    let mut compressor = mozjpeg::Compress::new(color_space);
    compressor.set_size(WIDTH as usize, HEIGHT as usize);
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

/// Puts an EXIF segment with an orientation behind the start of the image.
fn with_exif(file: &[u8], orientation: u8) -> Vec<u8> {
    // Big-endian TIFF, one directory with one entry: tag 0x0112, type short, count 1, the value.
    let tiff = b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0";
    let segment = [
        b"Exif\0\0".as_slice(),
        tiff,
        &[orientation, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let length = (segment.len() + 2) as u16;
    [
        &file[..2],
        &[0xFF, 0xE1],
        &length.to_be_bytes(),
        &segment,
        &file[2..],
    ]
    .concat()
}

fn assert_near(photo: &Photo, expected: &RgbImage, tolerance: u8) {
    assert_eq!(
        (photo.width(), photo.height()),
        (WIDTH as usize, HEIGHT as usize)
    );
    let worst = photo
        .pixels()
        .iter()
        .zip(expected.as_raw())
        .map(|(a, b)| a.abs_diff(*b))
        .max();
    assert!(worst <= Some(tolerance), "off by {worst:?}");
}

#[test]
fn a_png_may_say_its_orientation_too() {
    let mut file = Cursor::new(Vec::new());
    let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
    let tiff = b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    encoder
        .set_exif_metadata(tiff.to_vec())
        .expect("PNG has EXIF");
    encoder
        .write_image(
            picture().as_raw(),
            WIDTH,
            HEIGHT,
            image::ExtendedColorType::Rgb8,
        )
        .expect("the picture encodes");
    let photo = decoded(&file.into_inner());
    assert_eq!((photo.width(), photo.height()), (32, 48));
}
