//! Every kind of file that a client may send. The peak of memory is the process's, so that no test beside it may need much.

use std::io::Cursor;

use image::{DynamicImage, ImageEncoder, ImageFormat, Luma, Rgb, RgbImage, Rgba};
use photo::{DecodeError, DecodeLimits, Photo, decode, inspect};

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
fn jpeg_processes_that_are_not_decoded_are_unsupported() {
    // Lossless, arithmetic and hierarchical ones.
    for process in [0xC3, 0xC5, 0xC9, 0xCA, 0xCB] {
        let mut file = jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), false);
        let frame = position(&file, &[0xFF, 0xC0]);
        file[frame + 1] = process;
        assert!(
            matches!(failure(&file), DecodeError::Unsupported(_)),
            "{process:X}"
        );
    }
    let mut twelve_bits = jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), false);
    let frame = position(&twelve_bits, &[0xFF, 0xC0]);
    twelve_bits[frame + 4] = 12;
    assert!(matches!(failure(&twelve_bits), DecodeError::Unsupported(_)));
}

/// Programs that turn a photo put their EXIF before what the camera wrote.
#[test]
fn of_several_exif_segments_in_a_jpeg_the_first_counts() {
    let plain = jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), false);
    let both = with_exif(&with_exif(&plain, 6), 1);
    assert_eq!(decoded(&both), decoded(&plain));
}

#[test]
fn exif_in_webp_turns_with_and_without_the_prefix_of_jpeg() {
    for prefix in [b"".as_slice(), b"Exif\0\0"] {
        let exif = [prefix, &tiff(6)].concat();
        let photo = decoded(&webp(&[(b"EXIF", &exif)]));
        assert_eq!((photo.width(), photo.height()), (32, 48));
    }
}

#[test]
fn webp_that_announces_metadata_and_has_none_is_fine() {
    assert_eq!(decoded(&webp(&[])).pixels(), picture().as_raw().as_slice());
}

#[test]
fn a_jpeg_whose_data_was_cut_is_truncated_though_its_end_marker_is_there() {
    for progressive in [false, true] {
        let whole = jpeg(
            mozjpeg::ColorSpace::JCS_RGB,
            picture().as_raw(),
            progressive,
        );
        let data = position(&whole, &[0xFF, 0xDA]);
        for tenths in [5, 8] {
            let mut cut = whole[..data + (whole.len() - data) * tenths / 10].to_vec();
            while cut.last() == Some(&0xFF) {
                cut.pop();
            }
            cut.extend([0xFF, 0xD9]);
            assert_eq!(
                failure(&cut),
                DecodeError::Truncated,
                "{progressive} {tenths}"
            );
        }
    }
}

/// Baseline decoders ignore these three bytes, and cameras write anything there.
#[test]
fn odd_scan_parameters_of_a_baseline_jpeg_do_not_count() {
    let plain = jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), false);
    let mut odd = plain.clone();
    let scan = position(&odd, &[0xFF, 0xDA]);
    let length = usize::from(u16::from_be_bytes([odd[scan + 2], odd[scan + 3]]));
    odd[scan + 2 + length - 3..scan + 2 + length].copy_from_slice(&[1, 2, 3]);
    assert_eq!(decoded(&odd), decoded(&plain));
}

#[test]
fn luma_may_be_sampled_three_to_one() {
    let mut compressor = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
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
    assert_near(&decoded(&file), &picture(), 16);
}

#[test]
fn a_png_may_end_after_its_picture_data() {
    let whole = encode(picture().into(), ImageFormat::Png);
    let end = position(&whole, b"IEND") - 4;
    assert_eq!(decoded(&whole[..end]), decoded(&whole));
}

/// A frame of an animation whose two parts differ in size; a decoder of earlier versions panicked.
#[test]
fn a_webp_frame_with_transparency_of_another_size_panics_nowhere() {
    let frame = [
        vec![0; 16],
        chunk(b"ALPH", &[0; 2]),
        chunk(b"VP8 ", &vp8(16, 16)),
    ]
    .concat();
    let canvas = [&[0x12], [0; 9].as_slice()].concat();
    let body = [
        chunk(b"VP8X", &canvas),
        chunk(b"ANIM", &[0; 6]),
        chunk(b"ANMF", &frame),
    ]
    .concat();
    assert!(matches!(failure(&riff(&body)), DecodeError::Damaged(_)));
}

#[test]
fn a_webp_canvas_does_not_hide_a_larger_picture() {
    let body = [
        chunk(b"VP8X", &[0; 10]),
        chunk(b"VP8 ", &vp8(12_000, 12_000)),
    ]
    .concat();
    let told = DecodeError::TooManyPixels {
        width: 12_000,
        height: 12_000,
        limit: 40_000_000,
    };
    assert_eq!(failure(&riff(&body)), told);
}

#[test]
fn the_first_picture_of_an_animation_is_laid_on_its_canvas() {
    let still = encode(picture().into(), ImageFormat::WebP);
    let bitstream = &still[12..];
    // At (2, 4) of a canvas of 60 x 40.
    let place = [[1, 0, 0, 2, 0, 0, 47, 0, 0, 31, 0, 0].as_slice(), &[0; 4]].concat();
    let frame = [place.as_slice(), bitstream].concat();
    let canvas = [2, 0, 0, 0, 59, 0, 0, 39, 0, 0];
    let body = [
        chunk(b"VP8X", &canvas),
        chunk(b"ANIM", &[0; 6]),
        chunk(b"ANMF", &frame),
    ]
    .concat();
    let photo = decoded(&riff(&body));
    assert_eq!((photo.width(), photo.height()), (60, 40));
    let pixel = |x: usize, y: usize| &photo.pixels()[(y * 60 + x) * 3..][..3];
    assert_eq!(pixel(1, 4), [0; 3]);
    assert_eq!(pixel(2, 4), picture().get_pixel(0, 0).0);
    assert_eq!(pixel(49, 35), picture().get_pixel(47, 31).0);
    assert_eq!(pixel(50, 35), [0; 3]);
}

/// Half a megabyte that grows to 480 MiB of color profile or text, which nobody reads.
#[test]
fn metadata_of_a_png_is_not_inflated() {
    let mut inflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..480 {
        std::io::Write::write_all(&mut inflated, &[0; 1 << 20]).expect("written to memory");
    }
    let bomb = inflated.finish().expect("written to memory");
    let plain = encode(picture().into(), ImageFormat::Png);
    let after_header = position(&plain, b"IDAT") - 4;
    for (name, head) in [
        (b"iCCP", b"x\0\0".as_slice()),
        (b"zTXt", b"x\0\0"),
        (b"iTXt", b"x\0\x01\0\0\0"),
    ] {
        let chunk = png_chunk(name, &[head, &bomb].concat());
        let file = [&plain[..after_header], &chunk, &plain[after_header..]].concat();
        let before = peak_memory();
        assert_eq!(inspect(&file, &DecodeLimits::default()), Ok(()));
        assert_eq!(decoded(&file), decoded(&plain));
        assert!(
            peak_memory() - before < 32 << 20,
            "{:?}",
            str::from_utf8(name)
        );
    }
}

#[test]
fn a_decoder_that_takes_too_long_is_stopped() {
    let limits = DecodeLimits {
        max_decode_time: std::time::Duration::ZERO,
        ..DecodeLimits::default()
    };
    for file in [
        jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), true),
        encode(picture().into(), ImageFormat::Png),
    ] {
        assert_eq!(
            decode(&file, &limits),
            Err(DecodeError::TooSlow(limits.max_decode_time))
        );
    }
}

/// A read that fails after the first one reaches us as one of libjpeg's own errors.
#[test]
fn a_jpeg_that_runs_out_of_time_half_way_is_too_slow_not_damaged() {
    let (width, height) = (3_000, 2_000);
    let noise = (0..width * height * 3usize).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    let file = jpeg_of(
        mozjpeg::ColorSpace::JCS_RGB,
        (width, height),
        &noise.collect::<Vec<_>>(),
        true,
    );
    // Whenever the time is up, from the first read to the last.
    for micros in [1, 100, 1_000, 5_000, 20_000, 50_000] {
        let limits = DecodeLimits {
            max_decode_time: std::time::Duration::from_micros(micros),
            ..DecodeLimits::default()
        };
        if let Err(error) = decode(&file, &limits) {
            assert_eq!(error, DecodeError::TooSlow(limits.max_decode_time));
        }
    }
}

/// libwebp would read it as a file or a part of one, with transparency or metadata.
#[test]
fn a_webp_bitstream_that_begins_as_a_file_is_damaged() {
    let whole = encode(picture().into(), ImageFormat::WebP);
    let alpha = [chunk(b"ALPH", &[0; 2]), chunk(b"VP8 ", &vp8(16, 16))].concat();
    for content in [whole.as_slice(), &whole[12..], &alpha] {
        for name in [b"VP8 ", b"VP8L"] {
            let file = riff(&chunk(name, content));
            assert!(matches!(
                inspect(&file, &DecodeLimits::default()),
                Err(DecodeError::Damaged(_))
            ));
        }
    }
}

/// What front accepts fails in a worker by its picture data at most; what front refuses, a worker refuses, too.
#[test]
fn inspection_never_refuses_what_can_be_decoded() {
    for file in [
        jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), false),
        jpeg(mozjpeg::ColorSpace::JCS_RGB, picture().as_raw(), true),
        encode(picture().into(), ImageFormat::Png),
        webp(&[(b"EXIF", &tiff(6))]),
    ] {
        for position in 0..file.len() {
            for value in [0x00, 0x01, 0x7F, 0xFF] {
                let mut changed = file.clone();
                changed[position] = value;
                let limits = DecodeLimits {
                    max_pixels: 1_000_000,
                    ..DecodeLimits::default()
                };
                if let Err(refused) = inspect(&changed, &limits) {
                    assert_eq!(
                        decode(&changed, &limits),
                        Err(refused),
                        "{value} at {position}"
                    );
                }
            }
        }
    }
}

/// Files that fuzzing found: front stored them before a worker refused them, and one made a decoder panic.
#[test]
fn what_headers_rule_out_is_refused_by_inspection_too() {
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
        assert!(
            message.contains(expected) && !message.contains('%'),
            "{name}: {message}"
        );
        assert_eq!(
            decode(&file, &DecodeLimits::default()),
            Err(refused),
            "{name}"
        );
    }
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
                        ..DecodeLimits::default()
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
        ..DecodeLimits::default()
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
                    max_pixels: u64::from(WIDTH * HEIGHT),
                    ..DecodeLimits::default()
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
    let frame = position(&file, &[0xFF, 0xC0]);
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
    let scan = position(&file, &[0xFF, 0xDA]);
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
    let size = (WIDTH as usize, HEIGHT as usize);
    jpeg_of(color_space, size, values, progressive)
}

fn jpeg_of(
    color_space: mozjpeg::ColorSpace,
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

fn position(bytes: &[u8], part: &[u8]) -> usize {
    let mut windows = bytes.windows(part.len());
    windows
        .position(|window| window == part)
        .expect("it is there")
}

fn riff(body: &[u8]) -> Vec<u8> {
    let length = (body.len() + 4) as u32;
    [b"RIFF".as_slice(), &length.to_le_bytes(), b"WEBP", body].concat()
}

fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let length = content.len() as u32;
    let padding: &[u8] = if content.len() % 2 == 1 { &[0] } else { &[] };
    [name.as_slice(), &length.to_le_bytes(), content, padding].concat()
}

/// The picture in a file that announces EXIF and XMP, with these chunks behind it.
fn webp(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let still = encode(picture().into(), ImageFormat::WebP);
    let canvas = [
        0b1100,
        0,
        0,
        0,
        WIDTH as u8 - 1,
        0,
        0,
        HEIGHT as u8 - 1,
        0,
        0,
    ];
    let mut body = [chunk(b"VP8X", &canvas), still[12..].to_vec()].concat();
    for (name, content) in chunks {
        body.extend(chunk(name, content));
    }
    riff(&body)
}

/// A lossy picture's header before bytes that mean nothing.
fn vp8(width: u16, height: u16) -> Vec<u8> {
    let first_partition = 400u32;
    let tag = (1 << 4 | first_partition << 5).to_le_bytes();
    let sides = [width.to_le_bytes(), height.to_le_bytes()].concat();
    [&tag[..3], &[0x9D, 0x01, 0x2A], &sides, &[0; 800]].concat()
}

fn png_chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(name);
    crc.update(content);
    let length = content.len() as u32;
    [
        &length.to_be_bytes(),
        name.as_slice(),
        content,
        &crc.sum().to_be_bytes(),
    ]
    .concat()
}

/// The most memory that this process ever had, in bytes.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kibibytes
        .and_then(|number| number.parse::<usize>().ok())
        .expect("a number")
        << 10
}

/// Big-endian TIFF, one directory with one entry: tag 0x0112, type short, count 1, the value.
fn tiff(orientation: u8) -> Vec<u8> {
    let head = b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0";
    [head.as_slice(), &[orientation, 0, 0, 0, 0, 0, 0]].concat()
}

/// Puts an EXIF segment with an orientation behind the start of the image.
fn with_exif(file: &[u8], orientation: u8) -> Vec<u8> {
    let segment = [b"Exif\0\0".as_slice(), &tiff(orientation)].concat();
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
    encoder.set_exif_metadata(tiff(6)).expect("PNG has EXIF");
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
