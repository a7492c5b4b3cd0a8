use std::io::Cursor;

use image::{DynamicImage, ImageEncoder, ImageFormat, Luma, Rgb, Rgba};
use photo::{DecodeLimits, inspect};

use crate::files::*;

#[test]
fn sixteen_bits_and_gray_become_rgb() {
    let gray = image::ImageBuffer::from_fn(WIDTH, HEIGHT, |x, _| Luma([(x * 257 * 5) as u16]));
    let photo = decoded(&encode(DynamicImage::ImageLuma16(gray), ImageFormat::Png));
    let expected: Vec<u8> = (0..HEIGHT)
        .flat_map(|_| (0..WIDTH).flat_map(|x| [(x * 5) as u8; 3]))
        .collect();
    assert_eq!(photo.pixels(), expected);
}

#[test]
fn a_png_may_end_after_its_picture_data() {
    let whole = png();
    let end = position(&whole, b"IEND") - 4;
    assert_eq!(decoded(&whole[..end]), decoded(&whole));
}

#[test]
fn a_palette_gives_its_colors_and_loses_its_transparency() {
    // Two pixels of 8 bits in one row: the second color, then the first one.
    let header = [0, 0, 0, 2, 0, 0, 0, 1, 8, 3, 0, 0, 0];
    let mut row = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut row, &[0, 1, 0]).expect("written to memory");
    let row = row.finish().expect("written to memory");
    for transparency in [Vec::new(), png_chunk(b"tRNS", &[0, 128])] {
        let file = [
            b"\x89PNG\r\n\x1A\n".to_vec(),
            png_chunk(b"IHDR", &header),
            png_chunk(b"PLTE", &[200, 10, 20, 30, 40, 250]),
            transparency,
            png_chunk(b"IDAT", &row),
            png_chunk(b"IEND", &[]),
        ]
        .concat();
        let photo = decoded(&file);
        assert_size(&photo, 2, 1);
        assert_eq!(photo.pixels(), [30, 40, 250, 200, 10, 20]);
    }
}

#[test]
fn a_text_with_a_wrong_checksum_is_ignored() {
    let plain = png();
    let after_header = position(&plain, b"IDAT") - 4;
    let mut text = png_chunk(b"tEXt", b"parameters\0caf\xC3\xA9");
    *text.last_mut().expect("a checksum") ^= 1;
    let file = [&plain[..after_header], &text, &plain[after_header..]].concat();
    assert_eq!(inspect(&file, &DecodeLimits::default()), Ok(()));
    assert_eq!(decoded(&file), decoded(&plain));
}

/// Half a megabyte inflates to 480 MiB of color profile or text.
#[test]
fn metadata_is_not_inflated() {
    let mut inflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..480 {
        std::io::Write::write_all(&mut inflated, &[0; 1 << 20]).expect("written to memory");
    }
    let bomb = inflated.finish().expect("written to memory");
    let plain = png();
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
fn exif_orientation_is_applied() {
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
    assert_size(&photo, 32, 48);
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
