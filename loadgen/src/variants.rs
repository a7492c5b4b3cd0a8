//! `loadgen photos`: many labeled photos from few, to measure speed and accuracy at scale. The same seed and sources give the
//! same files.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anyhow::{Context, bail};
use clap::Args;
use image::imageops::{self, FilterType};
use image::{DynamicImage, RgbImage};
use photo::DecodeLimits;
use platform::process::print;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Normal};
use sha2::{Digest, Sha256};

use crate::output;
use crate::photos::labeled_photos;
use crate::truth::to_csv_with_variants;

/// The quality of a JPEG whose variant is another one, as cameras and web sites have it.
const QUALITY: std::ops::Range<f32> = 80.0..95.0;
/// Attempts at a photo that does not exist yet. Random numbers differ between them.
const ATTEMPTS: u64 = 100;

#[derive(Debug, Args)]
pub struct PhotosArgs {
    /// Folder of the photos to vary, with a folder for each person: DIR/NAME/*
    #[arg(long, value_name = "DIR", default_value = ".local/photos/val")]
    pub photos: PathBuf,
    /// Folder for the new photos. It must be empty or missing
    #[arg(long, value_name = "DIR", default_value = "target/load/photos")]
    pub out: PathBuf,
    /// File for their names and variants: the columns Image,Results,Variant that `loadgen run` reads
    #[arg(long, value_name = "CSV", default_value = "target/load/photos.csv")]
    pub csv: PathBuf,
    /// Number of new photos, all distinct
    #[arg(short, long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
    /// Kinds of variants, in turn
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_values_t = Variant::ALL, value_parser = variant)]
    pub variants: Vec<Variant>,
    /// Another seed gives other photos
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// How a photo differs from its source. Numbers are drawn at random from these ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// 70 to 95 % of each side, at any place.
    Crop,
    /// 15 to 60 % of the light.
    Dark,
    /// 130 to 220 % of the light; highlights are lost.
    Bright,
    /// Gaussian noise with a standard deviation of 8 to 40 of 255 levels.
    Noise,
    /// JPEG quality 4 to 40.
    Quality,
    /// So many pixels on the longer side, within 5 %.
    Size(u32),
}

impl Variant {
    pub const ALL: [Self; 11] = [
        Self::Crop,
        Self::Dark,
        Self::Bright,
        Self::Noise,
        Self::Quality,
        Self::Size(64),
        Self::Size(128),
        Self::Size(256),
        Self::Size(512),
        Self::Size(1024),
        Self::Size(2048),
    ];

    /// Returns a JPEG.
    fn apply(self, source: &RgbImage, random: &mut Xoshiro256PlusPlus) -> anyhow::Result<Vec<u8>> {
        let varied = match self {
            Self::Crop => crop(source, random),
            Self::Dark => lit(source, random.random_range(0.15..0.6)),
            Self::Bright => lit(source, random.random_range(1.3..2.2)),
            Self::Noise => noisy(source, random),
            Self::Quality => source.clone(),
            Self::Size(pixels) => resized(source, pixels, random),
        };
        let quality = random.random_range(match self {
            Self::Quality => 4.0..40.0,
            _ => QUALITY,
        });
        jpeg(&varied, quality).context("cannot encode a JPEG")
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Crop => "crop",
            Self::Dark => "dark",
            Self::Bright => "bright",
            Self::Noise => "noise",
            Self::Quality => "quality",
            Self::Size(pixels) => return write!(formatter, "size-{pixels}"),
        };
        formatter.write_str(name)
    }
}

/// Parses the name of a variant.
fn variant(text: &str) -> Result<Variant, String> {
    let named = |variant: &&Variant| variant.to_string() == text;
    Variant::ALL.iter().find(named).copied().ok_or_else(|| {
        let names = Variant::ALL.map(|it| it.to_string()).join(", ");
        format!("give one or more of {names}")
    })
}

/// Makes the photos and their CSV file. Always returns true.
///
/// # Errors
/// When there is no source photo, one cannot be decoded, the folder is not empty, or a file cannot be written.
pub fn make(args: &PhotosArgs) -> anyhow::Result<bool> {
    let sources = labeled_photos(&args.photos)?;
    let decoded = sources.iter().map(|(path, _)| decode(path));
    let decoded: Vec<RgbImage> = decoded.collect::<anyhow::Result<_>>()?;
    create_empty(&args.out)?;
    if let Some(folder) = args.csv.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    // Known before the photos are made, which takes minutes.
    output::check(&args.csv)?;
    let mut seen = HashSet::new();
    let mut rows = Vec::new();
    let mut bytes = 0;
    for number in 0..args.count {
        // Each variant of a photo before the next photo.
        let variant = args.variants[number as usize % args.variants.len()];
        let source = number as usize / args.variants.len() % sources.len();
        let seed = args.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(number);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let jpeg = distinct(variant, &decoded[source], &mut random, &mut seen)?;
        // The number first, so that any part of the folder has all variants.
        let stem = format!("{number:04}_{variant}");
        let file = args.out.join(format!("{stem}.jpg"));
        fs::write(&file, &jpeg).with_context(|| format!("cannot write {}", file.display()))?;
        bytes += jpeg.len();
        rows.push((stem, sources[source].1.as_str(), variant.to_string()));
    }
    let rows = rows
        .iter()
        .map(|(stem, name, variant)| [stem.as_str(), name, variant.as_str()]);
    output::write(&args.csv, &to_csv_with_variants(rows))?;
    print(format_args!(
        "{} photos ({:.1} MB) in {} and their names in {}; send them:\n  \
         loadgen run --image-folder {} --prediction-file {} --rate 20 --duration 60s",
        args.count,
        bytes as f64 / 1e6,
        args.out.display(),
        args.csv.display(),
        args.out.display(),
        args.csv.display(),
    ))?;
    Ok(true)
}

fn distinct(
    variant: Variant,
    source: &RgbImage,
    random: &mut Xoshiro256PlusPlus,
    seen: &mut HashSet<[u8; 32]>,
) -> anyhow::Result<Vec<u8>> {
    for _ in 0..ATTEMPTS {
        let jpeg = variant.apply(source, random)?;
        if seen.insert(Sha256::digest(&jpeg).into()) {
            return Ok(jpeg);
        }
    }
    bail!(
        "there are no more distinct photos of the variant {variant}; give a lower --count, or more photos"
    )
}

fn decode(path: &Path) -> anyhow::Result<RgbImage> {
    let encoded = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let photo = photo::decode(&encoded, &DecodeLimits::default())
        .with_context(|| format!("cannot use {}", path.display()))?;
    let (width, height) = (photo.width() as u32, photo.height() as u32);
    Ok(RgbImage::from_raw(width, height, photo.pixels().to_vec())
        .expect("a photo has three bytes a pixel"))
}

/// Creates a folder, which may exist if it is empty.
pub(crate) fn create_empty(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    anyhow::ensure!(
        entries.next().is_none(),
        "{} is not empty; remove it, or give another folder with --out",
        folder.display()
    );
    Ok(())
}

fn crop(source: &RgbImage, random: &mut Xoshiro256PlusPlus) -> RgbImage {
    let mut part = |whole: u32| {
        let size = (f64::from(whole) * random.random_range(0.7..0.95)).max(1.0) as u32;
        (random.random_range(0..=whole - size), size)
    };
    let ((left, width), (top, height)) = (part(source.width()), part(source.height()));
    imageops::crop_imm(source, left, top, width, height).to_image()
}

fn lit(source: &RgbImage, factor: f32) -> RgbImage {
    let table: [u8; 256] =
        std::array::from_fn(|level| (level as f32 * factor).round().min(255.0) as u8);
    let mut lit = source.clone();
    lit.iter_mut()
        .for_each(|level| *level = table[usize::from(*level)]);
    lit
}

fn noisy(source: &RgbImage, random: &mut Xoshiro256PlusPlus) -> RgbImage {
    let deviation = random.random_range(8.0..40.0_f32);
    let noise = Normal::new(0.0, deviation).expect("the deviation is finite");
    let mut noisy = source.clone();
    noisy.iter_mut().for_each(|level| {
        *level = (f32::from(*level) + noise.sample(random))
            .round()
            .clamp(0.0, 255.0) as u8;
    });
    noisy
}

fn resized(source: &RgbImage, longer: u32, random: &mut Xoshiro256PlusPlus) -> RgbImage {
    let longer = f64::from(longer) * random.random_range(0.95..=1.0);
    let factor = longer / f64::from(source.width().max(source.height()));
    let side = |pixels: u32| (f64::from(pixels) * factor).round().max(1.0) as u32;
    let (width, height) = (side(source.width()), side(source.height()));
    // Compiled with the crate image, which is optimized more than this one.
    DynamicImage::ImageRgb8(source.clone())
        .resize_exact(width, height, FilterType::CatmullRom)
        .into_rgb8()
}

fn jpeg(image: &RgbImage, quality: f32) -> std::io::Result<Vec<u8>> {
    let mut settings = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    // As cameras write them; mozjpeg's search for the smallest file takes ten times as long.
    settings.set_fastest_defaults();
    settings.set_size(image.width() as usize, image.height() as usize);
    settings.set_quality(quality);
    let mut encoder = settings.start_compress(Vec::new())?;
    encoder.write_scanlines(image.as_raw())?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::truth::GroundTruth;

    /// Two people with a photo each, a gradient.
    fn sources(root: &Path) -> PathBuf {
        let folder = root.join("val");
        for (name, shade) in [("ben", 3), ("elton", 200)] {
            let photo =
                RgbImage::from_fn(120, 90, |x, y| image::Rgb([x as u8 * 2, y as u8, shade]));
            fs::create_dir_all(folder.join(name)).unwrap();
            let encoded = jpeg(&photo, 95.0).unwrap();
            fs::write(folder.join(name).join("a.jpg"), encoded).unwrap();
        }
        folder
    }

    fn made(root: &Path, out: &str, count: u32, seed: u64) -> Vec<(String, Vec<u8>)> {
        let args = PhotosArgs {
            photos: root.join("val"),
            out: root.join(out),
            csv: root.join(format!("{out}.csv")),
            count,
            variants: Variant::ALL.to_vec(),
            seed,
        };
        assert!(make(&args).unwrap());
        let mut files: Vec<_> = fs::read_dir(&args.out)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read(&path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn photos_are_distinct_and_depend_on_the_seed_alone() {
        let root = tempfile::tempdir().unwrap();
        sources(root.path());
        let first = made(root.path(), "first", 66, 1);
        assert_eq!(first.len(), 66);
        let contents: HashSet<_> = first.iter().map(|(_, content)| content).collect();
        assert_eq!(contents.len(), 66);
        assert_eq!(first, made(root.path(), "again", 66, 1));
        let other = made(root.path(), "other", 66, 2);
        assert!(first.iter().zip(&other).all(|(one, two)| one.0 == two.0));
        let differ = first.iter().zip(&other).filter(|(one, two)| one.1 != two.1);
        assert!(differ.count() > 60, "few can be equal by chance");
    }

    #[test]
    fn each_photo_has_its_name_and_its_variant_in_the_csv_file() {
        let root = tempfile::tempdir().unwrap();
        sources(root.path());
        let files = made(root.path(), "out", 22, 1);
        let csv = fs::read_to_string(root.path().join("out.csv")).unwrap();
        let truth = GroundTruth::parse(&csv).unwrap();
        for variant in Variant::ALL {
            let of_it = |(name, _): &&(String, Vec<u8>)| {
                truth.labels_for(name).unwrap().variant == variant.to_string()
            };
            let names = files.iter().filter(of_it).map(|(name, content)| {
                let photo = photo::decode(content, &DecodeLimits::default()).unwrap();
                if let Variant::Size(pixels) = variant {
                    let longer = photo.width().max(photo.height()) as u32;
                    assert!((pixels * 94 / 100..=pixels).contains(&longer), "{name}");
                }
                truth.labels_for(name).unwrap().name.as_str()
            });
            assert_eq!(
                names.collect::<HashSet<_>>(),
                HashSet::from(["ben", "elton"])
            );
        }
    }

    #[test]
    fn photos_make_the_folder_of_their_names() {
        let root = tempfile::tempdir().unwrap();
        sources(root.path());
        let args = |out: &str, csv: &str| PhotosArgs {
            photos: root.path().join("val"),
            out: root.path().join(out),
            csv: root.path().join(csv),
            count: 1,
            variants: vec![Variant::Dark],
            seed: 1,
        };
        let made = args("out", "new/names/out.csv");
        assert!(make(&made).unwrap());
        let csv = fs::read_to_string(&made.csv).unwrap();
        assert!(csv.contains("0000_dark"), "{csv}");
        // A folder is no CSV file, and no photo is made for it.
        let refused = args("other", "new/names");
        let error = make(&refused).unwrap_err().to_string();
        assert!(error.contains("give another file"), "{error}");
        assert_eq!(fs::read_dir(&refused.out).unwrap().count(), 0);
    }

    #[test]
    fn light_is_scaled_and_clipped() {
        let source = RgbImage::from_pixel(2, 2, image::Rgb([10, 100, 200]));
        assert_eq!(lit(&source, 0.5).get_pixel(1, 1).0, [5, 50, 100]);
        assert_eq!(lit(&source, 2.0).get_pixel(0, 0).0, [20, 200, 255]);
    }

    #[test]
    fn a_folder_with_files_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        sources(root.path());
        let args = PhotosArgs {
            photos: root.path().join("val"),
            out: root.path().to_owned(),
            csv: root.path().join("c.csv"),
            count: 1,
            variants: Variant::ALL.to_vec(),
            seed: 1,
        };
        let error = make(&args).unwrap_err().to_string();
        assert!(error.contains("is not empty; remove it"), "{error}");
    }
}
