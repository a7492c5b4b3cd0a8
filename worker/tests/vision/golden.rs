//! The recognizer against the reference implementation (facenet-pytorch) on the 25 validation photos.

use photo::DecodeLimits;
use photo::{Photo, decode};
use serde::Deserialize;
use worker::service::pure::digest;
use worker::vision::crop::FaceCrop;
use worker::vision::recognizer::main_face;
use worker::vision::{BoundingBox, Face, Gallery, Precision, Recognizer};

use crate::common;

const PIXEL: f32 = 1.0;
const PROBABILITY: f32 = 1e-3;
const COSINE: f32 = 0.9999;
const EMBEDDING_DISTANCE: f32 = 2e-3;

#[derive(Deserialize)]
struct Golden {
    photos: Vec<GoldenPhoto>,
}

#[derive(Deserialize)]
struct GoldenPhoto {
    path: String,
    sha256: String,
    size: [usize; 2],
    boxes: Vec<[f32; 4]>,
    probabilities: Vec<f32>,
    landmarks: Vec<[[f32; 2]; 5]>,
    /// The box that the reference chooses, the largest.
    selected: usize,
    crop_sha256: String,
    embedding_fixed: Vec<f32>,
    embedding_standardized: Vec<f32>,
}

impl GoldenPhoto {
    fn all() -> Vec<Self> {
        let golden: Golden =
            serde_json::from_str(include_str!("data/golden.json")).expect("the fixture is JSON");
        assert_eq!(golden.photos.len(), 25);
        golden.photos
    }

    fn decoded(&self) -> Photo {
        let encoded = common::read_photo(&self.path);
        assert_eq!(
            digest(&encoded),
            self.sha256,
            "{} is another file than the golden one",
            self.path
        );
        let photo = decode(&encoded, &DecodeLimits::default()).expect("the photo decodes");
        assert_eq!([photo.width(), photo.height()], self.size, "{}", self.path);
        photo
    }

    /// The pixels that the reference cut out.
    fn crop(&self, recognizer: &Recognizer) -> FaceCrop {
        let photo = self.decoded();
        recognizer.crop(&photo, &self.selected_face(&recognizer.detect(&photo)))
    }

    /// The face that the reference cut out, as it found it.
    fn selected_face(&self, faces: &[Face]) -> Face {
        let [left, top, right, bottom] = self.boxes[self.selected];
        Face {
            bounding_box: BoundingBox {
                left,
                top,
                right,
                bottom,
            },
            ..faces[self.selected].clone()
        }
    }
}

#[test]
fn finds_the_same_faces_as_the_reference() {
    let recognizer = common::recognizer();
    for golden in GoldenPhoto::all() {
        let faces = recognizer.detect(&golden.decoded());
        assert_eq!(
            faces.len(),
            golden.boxes.len(),
            "{}: number of faces",
            golden.path
        );
        for (index, face) in faces.iter().enumerate() {
            let BoundingBox {
                left,
                top,
                right,
                bottom,
            } = face.bounding_box;
            for (ours, theirs) in [left, top, right, bottom]
                .into_iter()
                .zip(golden.boxes[index])
            {
                assert_close(ours, theirs, PIXEL, &golden.path, "box");
            }
            assert_close(
                face.probability,
                golden.probabilities[index],
                PROBABILITY,
                &golden.path,
                "probability",
            );
            for (ours, theirs) in face.landmarks.iter().zip(golden.landmarks[index]) {
                assert_close(ours.x, theirs[0], PIXEL, &golden.path, "landmark");
                assert_close(ours.y, theirs[1], PIXEL, &golden.path, "landmark");
            }
        }
    }
}

#[test]
fn cuts_out_the_same_pixels_as_the_reference() {
    let recognizer = common::recognizer();
    for golden in GoldenPhoto::all() {
        assert_eq!(
            digest(&golden.crop(&recognizer).pixels),
            golden.crop_sha256,
            "{}",
            golden.path
        );
    }
}

#[test]
fn embeds_like_the_reference_with_standardized_pixels() {
    embeds_like_the_reference(&common::recognizer_in(Precision::Fp32), |golden| {
        &golden.embedding_standardized
    });
}

#[test]
fn embeds_like_the_reference_with_fixed_pixels() {
    let bundle = common::bundle_with(|description| description["preprocessing"] = "fixed".into());
    let recognizer = common::load(bundle.path(), Gallery::default(), Some(Precision::Fp32))
        .expect("the bundle loads");
    embeds_like_the_reference(&recognizer, |golden| &golden.embedding_fixed);
}

/// More than one batch of crops, and a last one that is not full.
#[test]
fn a_batch_gives_the_same_embeddings_as_one_crop_after_the_other() {
    for precision in common::PRECISIONS {
        let recognizer = common::recognizer_in(precision);
        let crops: Vec<_> = GoldenPhoto::all()
            .iter()
            .take(11)
            .map(|golden| golden.crop(&recognizer))
            .collect();
        for (together, crop) in recognizer.embed_crops(&crops).iter().zip(&crops) {
            let alone = &recognizer.embed_crops(std::slice::from_ref(crop))[0];
            assert!(distance(together, alone) <= 1e-5, "{precision:?}");
        }
    }
}

/// The 93 photos it was calibrated on are not among these.
#[test]
fn bytes_embed_like_floats() {
    let (floats, bytes) = (
        common::recognizer_in(Precision::Fp32),
        common::recognizer_in(Precision::Int8),
    );
    let crops: Vec<_> = GoldenPhoto::all()
        .iter()
        .map(|golden| golden.crop(&floats))
        .collect();
    for (a, b) in floats
        .embed_crops(&crops)
        .iter()
        .zip(bytes.embed_crops(&crops))
    {
        let cosine: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
        assert!(cosine >= 0.99, "cosine {cosine}");
    }
}

#[test]
fn chooses_the_face_that_the_reference_chooses() {
    let recognizer = common::recognizer();
    for golden in GoldenPhoto::all() {
        let faces = recognizer.detect(&golden.decoded());
        assert_eq!(
            main_face(faces.clone()).as_ref(),
            Some(&faces[golden.selected]),
            "{}",
            golden.path
        );
    }
}

fn embeds_like_the_reference(
    recognizer: &Recognizer,
    embedding: impl Fn(&GoldenPhoto) -> &Vec<f32>,
) {
    for golden in GoldenPhoto::all() {
        let ours = &recognizer.embed_crops(&[golden.crop(recognizer)])[0];
        let theirs = embedding(&golden);
        let cosine: f32 = ours.iter().zip(theirs).map(|(a, b)| a * b).sum();
        assert!(cosine >= COSINE, "{}: cosine {cosine}", golden.path);
        assert!(
            distance(ours, theirs) <= EMBEDDING_DISTANCE,
            "{}: {}",
            golden.path,
            distance(ours, theirs)
        );
    }
}

fn assert_close(ours: f32, theirs: f32, tolerance: f32, path: &str, what: &str) {
    assert!(
        (ours - theirs).abs() <= tolerance,
        "{path}: {what} {ours}, the reference has {theirs}"
    );
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b) * (a - b))
        .sum::<f32>()
        .sqrt()
}
