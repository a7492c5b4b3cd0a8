//! The recogniser against the reference implementation (facenet-pytorch) on the 25 validation photos.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use worker::vision::decode::{Photo, decode};
use worker::vision::recogniser::main_face;
use worker::vision::{BoundingBox, DecodeLimits, Face, Recogniser};

mod common;

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
    /// The reference's choice among the boxes, the largest.
    selected: usize,
    crop_sha256: String,
    embedding_fixed: Vec<f32>,
    embedding_standardised: Vec<f32>,
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
            hex(&encoded),
            self.sha256,
            "{} is another file than the golden one",
            self.path
        );
        let photo = decode(&encoded, &DecodeLimits::default()).expect("the photo decodes");
        assert_eq!([photo.width(), photo.height()], self.size, "{}", self.path);
        photo
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
    let recogniser = common::recogniser();
    for golden in GoldenPhoto::all() {
        let faces = recogniser.detect(&golden.decoded());
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
    let recogniser = common::recogniser();
    for golden in GoldenPhoto::all() {
        let photo = golden.decoded();
        let face = golden.selected_face(&recogniser.detect(&photo));
        assert_eq!(
            hex(&recogniser.crop(&photo, &face).pixels),
            golden.crop_sha256,
            "{}",
            golden.path
        );
    }
}

#[test]
fn embeds_like_the_reference_with_standardised_pixels() {
    embeds_like_the_reference(&common::recogniser(), |golden| {
        &golden.embedding_standardised
    });
}

#[test]
fn embeds_like_the_reference_with_fixed_pixels() {
    let bundle = common::bundle_with(|description| description["preprocessing"] = "fixed".into());
    let recogniser = Recogniser::load(bundle.path(), Default::default()).expect("the bundle loads");
    embeds_like_the_reference(&recogniser, |golden| &golden.embedding_fixed);
}

#[test]
fn a_batch_gives_the_same_embeddings_as_one_crop_after_the_other() {
    let recogniser = common::recogniser();
    let photos: Vec<GoldenPhoto> = GoldenPhoto::all().into_iter().take(4).collect();
    let crops: Vec<_> = photos
        .iter()
        .map(|golden| {
            let photo = golden.decoded();
            recogniser.crop(&photo, &golden.selected_face(&recogniser.detect(&photo)))
        })
        .collect();
    for (together, crop) in recogniser.embed_crops(&crops).iter().zip(&crops) {
        let alone = &recogniser.embed_crops(std::slice::from_ref(crop))[0];
        assert!(distance(together, alone) <= EMBEDDING_DISTANCE);
    }
}

#[test]
fn chooses_the_face_that_the_reference_chooses() {
    let recogniser = common::recogniser();
    for golden in GoldenPhoto::all() {
        let faces = recogniser.detect(&golden.decoded());
        assert_eq!(
            main_face(faces.clone()).as_ref(),
            Some(&faces[golden.selected]),
            "{}",
            golden.path
        );
    }
}

fn embeds_like_the_reference(
    recogniser: &Recogniser,
    embedding: impl Fn(&GoldenPhoto) -> &Vec<f32>,
) {
    for golden in GoldenPhoto::all() {
        let photo = golden.decoded();
        let crop = recogniser.crop(&photo, &golden.selected_face(&recogniser.detect(&photo)));
        let ours = &recogniser.embed_crops(&[crop])[0];
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

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
