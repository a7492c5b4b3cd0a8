//! The detector: with all instructions, on photos of several sizes, and from several threads.

use photo::{DecodeLimits, Photo, decode};
use worker::kernels::Instructions;
use worker::kernels::planes::{OutputGroup, PlaneConvolution, PlaneRows, plane_length};
use worker::vision::detect::Detector;
use worker::vision::engine::native::NativeDetector;
use worker::vision::recognizer::main_face;
use worker::vision::{Bundle, Face};

use crate::common;

#[test]
fn all_instructions_find_the_same_faces() {
    let photos: Vec<Photo> = sample_photos().into_iter().step_by(4).collect();
    let expected: Vec<Vec<Face>> = photos.iter().map(|it| detector().detect(it)).collect();
    for &instructions in Instructions::available() {
        let detector = detector_with(instructions);
        for (photo, expected) in photos.iter().zip(&expected) {
            let faces = detector.detect(photo);
            assert_eq!(faces.len(), expected.len(), "{instructions:?}");
            for (face, expected) in faces.iter().zip(expected) {
                assert!(difference(face, expected) < 0.1, "{instructions:?}");
                assert!((face.probability - expected.probability).abs() < 1e-4);
            }
        }
    }
}

#[test]
fn all_instructions_convolve_planes() {
    for (planes, outputs) in [(10, 16), (16, 32), (3, 10)] {
        let group = OutputGroup {
            taps: (0..3 * planes)
                .map(|tap| (tap % planes, tap / planes))
                .collect(),
        };
        let kernel = |_: usize, output: usize, tap: usize| {
            [0, 1, 2].map(|ky| noise((output * 97 + tap) * 3 + ky))
        };
        let bias: Vec<f32> = (0..outputs).map(noise).collect();
        let slopes: Vec<f32> = (0..outputs).map(|output| noise(output + 500)).collect();
        let layer = PlaneConvolution::new(
            planes,
            std::slice::from_ref(&group),
            kernel,
            bias.clone(),
            slopes.clone(),
        );
        for width in [1, 8, 17, 47, 48, 100] {
            let plane = plane_length(width + 2);
            let input: Vec<f32> = (0..6 * planes * plane).map(|at| noise(at + 9000)).collect();
            let input_rows = PlaneRows {
                starts: std::array::from_fn(|row| row * planes * plane),
                plane,
            };
            let output_rows = PlaneRows {
                starts: std::array::from_fn(|row| row * outputs * plane),
                plane,
            };
            for &instructions in Instructions::available() {
                let mut output = vec![0.0; 4 * outputs * plane];
                layer.convolve(
                    instructions,
                    width,
                    (&input, input_rows),
                    (&mut output, output_rows),
                );
                for index in 0..4 * outputs * width {
                    let (row, rest) = (index / (outputs * width), index % (outputs * width));
                    let (channel, x) = (rest / width, rest % width);
                    let mut sum = bias[channel];
                    for (tap, (input_plane, shift)) in group.taps.iter().enumerate() {
                        for (ky, weight) in kernel(0, channel, tap).into_iter().enumerate() {
                            let start = ((row + ky) * planes + input_plane) * plane;
                            sum += weight * input[start + x + shift];
                        }
                    }
                    let expected = sum.max(0.0) + sum.min(0.0) * slopes[channel];
                    let found = output[(row * outputs + channel) * plane + x];
                    assert!(
                        (found - expected).abs() < 1e-4,
                        "{instructions:?}, {planes} planes, {width} wide: {found}, not {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn threads_share_a_detector() {
    let detector = detector();
    let photos: Vec<Photo> = sample_photos().into_iter().step_by(5).collect();
    let alone: Vec<Vec<Face>> = photos.iter().map(|photo| detector.detect(photo)).collect();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for (photo, alone) in photos.iter().zip(&alone) {
                    assert_eq!(&detector.detect(photo), alone);
                }
            });
        }
    });
}

/// Both searches take large faces from the same levels; only suppression by small faces can differ.
#[test]
fn the_search_for_large_faces_finds_the_same_main_face() {
    let detector = detector();
    for (width, height) in [(1920, 1080), (3000, 2000)] {
        for photo in sample_photos().iter().step_by(4) {
            let canvas = on_canvas(photo, width, height);
            let all = main_face(detector.detect(&canvas)).expect("a face");
            let large = main_face(detector.detect_large(&canvas)).expect("a face");
            let difference = difference(&all, &large);
            assert!(difference <= 1.0, "{difference} px at {width} x {height}");
        }
    }
}

/// A photo of 6 megapixels is searched in a copy of half its width, with boxes of half the precision.
#[test]
fn a_smaller_copy_has_its_face_in_the_same_place() {
    let (reduced, whole) = (detector(), detector().with_max_searched_pixels(usize::MAX));
    for photo in sample_photos().iter().step_by(4) {
        let canvas = on_canvas(photo, 3000, 2000);
        let whole = main_face(whole.detect(&canvas)).expect("a face");
        let reduced = main_face(reduced.detect(&canvas)).expect("a face");
        let size = whole.bounding_box.width().max(whole.bounding_box.height());
        let difference = difference(&whole, &reduced);
        println!("{difference} of {size} px");
        assert!(
            difference <= REDUCED_SHARE * size,
            "{difference} px of a face of {size}"
        );
    }
}

/// Largest distance between edges or landmarks of a photo and its copy, as a share of the face.
const REDUCED_SHARE: f32 = 0.06;

/// Fits the photo into a gray canvas.
fn on_canvas(photo: &Photo, width: u32, height: u32) -> Photo {
    let pixels = photo.pixels().to_vec();
    let photo = image::RgbImage::from_raw(photo.width() as u32, photo.height() as u32, pixels)
        .expect("three bytes a pixel");
    let scale = (f64::from(height) / f64::from(photo.height()))
        .min(f64::from(width) / f64::from(photo.width()));
    let scaled = |side: u32| (f64::from(side) * scale) as u32;
    let filter = image::imageops::FilterType::Triangle;
    let photo = image::imageops::resize(
        &photo,
        scaled(photo.width()),
        scaled(photo.height()),
        filter,
    );
    let mut canvas = image::RgbImage::from_pixel(width, height, image::Rgb([128; 3]));
    image::imageops::replace(&mut canvas, &photo, 0, 0);
    Photo::new(width as usize, height as usize, canvas.into_raw())
}

/// Returns the largest distance between edges or landmarks, in pixels.
fn difference(a: &Face, b: &Face) -> f32 {
    let numbers = |face: &Face| {
        let it = face.bounding_box;
        let mut numbers = vec![it.left, it.top, it.right, it.bottom];
        numbers.extend(face.landmarks.iter().flat_map(|point| [point.x, point.y]));
        numbers
    };
    let pairs = numbers(a).into_iter().zip(numbers(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn detector() -> Detector {
    detector_with(Instructions::best())
}

fn detector_with(instructions: Instructions) -> Detector {
    let bundle = Bundle::open(&common::bundle()).expect("a bundle");
    let networks = NativeDetector::load(&bundle, instructions).expect("the networks load");
    Detector::new(Box::new(networks))
}

/// The 25 validation photos.
fn sample_photos() -> Vec<Photo> {
    let photos = worker::enrol::photos_below(&common::photos().join("val"));
    let decoded = |path| {
        let encoded = std::fs::read(path).expect("readable");
        decode(&encoded, &DecodeLimits::default()).expect("the photo decodes")
    };
    photos.expect("photos").into_iter().map(decoded).collect()
}

/// Returns reproducible noise from -1 to 1.
fn noise(seed: usize) -> f32 {
    let mixed = (seed as u32).wrapping_mul(2_654_435_761).rotate_left(13);
    (mixed.wrapping_mul(2_246_822_519) >> 8) as f32 / (1 << 23) as f32 - 1.0
}
