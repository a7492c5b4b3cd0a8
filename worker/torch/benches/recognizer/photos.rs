//! Photos of three sizes: sample photos fitted into a gray canvas.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use testkit::samples::entries;

const QUALITY: u8 = 95;
const PHOTOS_OF_A_SIZE: usize = 5;
const GRAY: Rgb<u8> = Rgb([110, 110, 110]);

/// Files of each size, of the same sample photos.
#[derive(Debug)]
pub struct Photos {
    /// 64 x 64.
    pub small: Vec<PathBuf>,
    /// 512 x 512.
    pub medium: Vec<PathBuf>,
    /// 1920 x 1080.
    pub large: Vec<PathBuf>,
}

/// Takes the second photo of each person in `val`. In one of the first, subject and reference miss the face at 512
/// pixels.
pub fn prepare(samples: &Path, folder: &Path) -> anyhow::Result<Photos> {
    std::fs::create_dir_all(folder)?;
    let mut originals = Vec::new();
    for person in entries(&samples.join("val")) {
        originals.extend(entries(&person).into_iter().nth(1));
    }
    ensure!(
        originals.len() == PHOTOS_OF_A_SIZE,
        "{} has no photos of {PHOTOS_OF_A_SIZE} people: run scripts/setup",
        samples.display()
    );
    let resized = |width, height| -> anyhow::Result<Vec<PathBuf>> {
        let with_index = originals.iter().enumerate();
        with_index
            .map(|(index, original)| {
                let file = folder.join(format!("{width}x{height}-{index}.jpg"));
                let pixels = image::open(original)?.into_rgb8();
                let encoder = JpegEncoder::new_with_quality(File::create(&file)?, QUALITY);
                on_canvas(&pixels, width, height).write_with_encoder(encoder)?;
                Ok(file)
            })
            .collect()
    };
    Ok(Photos {
        small: resized(64, 64)?,
        medium: resized(512, 512)?,
        large: resized(1920, 1080)?,
    })
}

fn on_canvas(photo: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (from_width, from_height) = (f64::from(photo.width()), f64::from(photo.height()));
    let scale = (f64::from(width) / from_width).min(f64::from(height) / from_height);
    let side = |length: f64| (length * scale).round().max(1.0) as u32;
    let (fitted_width, fitted_height) = (side(from_width), side(from_height));
    let fitted = imageops::resize(photo, fitted_width, fitted_height, FilterType::Triangle);
    let mut canvas = RgbImage::from_pixel(width, height, GRAY);
    let middle = |outer: u32, inner: u32| i64::from((outer - inner) / 2);
    imageops::overlay(
        &mut canvas,
        &fitted,
        middle(width, fitted_width),
        middle(height, fitted_height),
    );
    canvas
}
