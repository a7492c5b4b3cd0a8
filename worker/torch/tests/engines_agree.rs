//! The engines `torch` and `native` compute the same networks.

use photo::{DecodeLimits, Photo, decode};
use worker::enrol::{enrol, photos_below};
use worker::kernels::area::{AreaResizer, PixelRect};
use worker::vision::crop::FaceCrop;
use worker::vision::detect::DetectionNetworks;
use worker::vision::detect::networks::{OUTPUT_INPUT, Prediction, REFINE_INPUT};
use worker::vision::detect::proposal::Proposal;
use worker::vision::engine::native::NativeEngine;
use worker::vision::{Bundle, Engine, EngineOptions, Engines, Gallery, Precision, Recognizer};
use worker_torch::TorchEngine;

#[path = "../../tests/common/mod.rs"]
mod common;

const COSINE: f32 = 0.9999;
const EMBEDDING_DISTANCE: f32 = 2e-3;
const NETWORK_OUTPUT: f32 = 1e-4;
/// The engines round to bytes at different points.
const COSINE_OF_BYTES: f32 = 0.998;

/// Folders of the sample photos.
const SPLITS: [&str; 2] = ["train", "val"];

#[test]
fn embeddings_of_all_sample_photos_agree_in_floats() {
    let [native, torch] = both(Precision::Fp32);
    for crop in crops(&native) {
        let (a, b) = (embedding(&native, &crop), embedding(&torch, &crop));
        assert!(cosine(&a, &b) >= COSINE, "cosine {}", cosine(&a, &b));
        assert!(
            distance(&a, &b) <= EMBEDDING_DISTANCE,
            "{}",
            distance(&a, &b)
        );
    }
}

#[test]
fn embeddings_of_all_sample_photos_agree_in_bytes() {
    let [native, torch] = both(Precision::Int8);
    for crop in crops(&native) {
        let (a, b) = (embedding(&native, &crop), embedding(&torch, &crop));
        assert!(
            cosine(&a, &b) >= COSINE_OF_BYTES,
            "cosine {}",
            cosine(&a, &b)
        );
    }
}

#[test]
fn libtorch_prints_nothing_beside_the_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let gallery = folder.path().join("people.safetensors");
    common::recognizer()
        .gallery()
        .save(&gallery)
        .expect("the gallery is written");
    let photo = &photos_below(&common::photos().join("val")).expect("the photos")[0];
    for precision in ["fp32", "int8"] {
        let printed = std::process::Command::new(env!("CARGO_BIN_EXE_worker-torch"))
            .args(["recognize", "--engine", "torch", "--precision", precision])
            .arg("--models")
            .arg(common::bundle())
            .arg("--gallery")
            .arg(&gallery)
            .arg(photo)
            .output()
            .expect("the worker runs");
        let errors = String::from_utf8_lossy(&printed.stderr);
        assert!(printed.status.success() && errors.is_empty(), "{errors}");
    }
}

#[test]
fn both_engines_name_every_photo_alike() {
    for precision in [Precision::Fp32, Precision::Int8] {
        let named = both(precision).map(|mut recognizer| {
            let (gallery, _) =
                enrol(&common::photos().join("train"), &recognizer).expect("the photos enrol");
            recognizer.set_gallery(gallery);
            let photos = photos_in("val");
            let names = photos
                .iter()
                .map(|photo| recognizer.recognize(photo).expect("a face").name);
            names.collect::<Vec<String>>()
        });
        assert_eq!(named[0].len(), 25);
        assert_eq!(named[0], named[1], "{precision}");
    }
}

/// More crops than a batch, and a last batch that is not full.
#[test]
fn a_batch_has_the_embeddings_of_single_crops() {
    for precision in [Precision::Fp32, Precision::Int8] {
        let [_, torch] = both(precision);
        let crops: Vec<FaceCrop> = crops(&torch).into_iter().take(11).collect();
        for (together, crop) in torch.embed_crops(&crops).iter().zip(&crops) {
            let off = distance(together, &embedding(&torch, crop));
            assert!(off <= 1e-4, "{precision}: {off}");
        }
    }
}

#[test]
fn threads_share_a_network() {
    let [_, torch] = both(Precision::Int8);
    let crops: Vec<FaceCrop> = crops(&torch).into_iter().take(4).collect();
    let alone: Vec<_> = crops.iter().map(|crop| embedding(&torch, crop)).collect();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for (crop, alone) in crops.iter().zip(&alone) {
                    assert!(distance(&embedding(&torch, crop), alone) <= 1e-5);
                }
            });
        }
    });
}

#[test]
fn proposals_of_every_window_agree() {
    let [native, torch] = detectors();
    for photo in decoded("val").into_iter().step_by(5) {
        for size in [[12, 12], [40, 29], [97, 120]] {
            let windows = [&native, &torch].map(|networks| networks.propose(&photo, size, 0.0));
            assert_eq!(windows[0].len(), windows[1].len());
            for (a, b) in windows[0].iter().zip(&windows[1]) {
                assert_eq!((a.x, a.y), (b.x, b.y));
                let off = largest_difference(&numbers_of_proposal(a), &numbers_of_proposal(b));
                assert!(off <= NETWORK_OUTPUT, "{off}");
            }
        }
    }
}

#[test]
fn predictions_on_every_candidate_agree() {
    let [native, torch] = detectors();
    for photo in decoded("val").into_iter().step_by(3) {
        // The whole photo, its left half, its upper half: faces, parts of faces, and none.
        let whole = PixelRect::whole(&photo);
        let rects = [
            whole,
            PixelRect {
                right: whole.right / 2,
                ..whole
            },
            PixelRect {
                bottom: whole.bottom / 2,
                ..whole
            },
        ];
        let predictions = [&native, &torch].map(|networks| {
            let mut resizer = AreaResizer::default();
            let mut small = |index: usize, crop: &mut [f32]| {
                resizer.resize(&photo, rects[index], [REFINE_INPUT; 2], crop);
            };
            let refined = networks.refine(rects.len(), &mut small);
            let mut resizer = AreaResizer::default();
            let mut large = |index: usize, crop: &mut [f32]| {
                resizer.resize(&photo, rects[index], [OUTPUT_INPUT; 2], crop);
            };
            [refined, networks.output(rects.len(), &mut large)].concat()
        });
        assert_eq!(predictions[0].len(), 2 * rects.len());
        for (a, b) in predictions[0].iter().zip(&predictions[1]) {
            let off = largest_difference(&numbers_of_prediction(a), &numbers_of_prediction(b));
            assert!(off <= NETWORK_OUTPUT, "{off}");
        }
    }
}

#[test]
fn no_candidates_have_no_predictions() {
    for networks in detectors() {
        let mut write_crop = |_: usize, _: &mut [f32]| panic!("there is nothing to cut");
        assert!(networks.refine(0, &mut write_crop).is_empty());
        assert!(networks.output(0, &mut write_crop).is_empty());
    }
}

#[test]
fn both_engines_find_the_same_faces() {
    let load = |detector: &dyn Engine| {
        let engines = Engines {
            detector,
            embedder: &NativeEngine,
        };
        Recognizer::load(
            &common::bundle(),
            Gallery::default(),
            engines,
            &options(None),
        )
        .expect("the bundle loads")
    };
    let (native, torch) = (load(&NativeEngine), load(&TorchEngine));
    for photo in decoded("val") {
        let (a, b) = (native.detect(&photo), torch.detect(&photo));
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(&b) {
            assert!((a.probability - b.probability).abs() < 1e-3);
            let corners = [a, b].map(|face| {
                let it = face.bounding_box;
                [it.left, it.top, it.right, it.bottom]
            });
            assert!(largest_difference(&corners[0], &corners[1]) < 0.5);
        }
    }
}

/// Returns the engines `native` and `torch`.
fn both(precision: Precision) -> [Recognizer; 2] {
    let engines: [&dyn Engine; 2] = [&NativeEngine, &TorchEngine];
    engines.map(|engine| {
        common::load_into(
            engine,
            &common::bundle(),
            Gallery::default(),
            Some(precision),
        )
        .expect("the bundle loads; `worker calibrate --for-other-machines` makes its int8 weights")
    })
}

fn detectors() -> [Box<dyn DetectionNetworks>; 2] {
    let bundle = Bundle::open(&common::bundle()).expect("a bundle");
    let engines: [&dyn Engine; 2] = [&NativeEngine, &TorchEngine];
    engines.map(|engine| {
        engine
            .load_detector(&bundle, &options(None))
            .expect("it loads")
    })
}

fn options(precision: Option<Precision>) -> EngineOptions {
    EngineOptions {
        precision,
        device: Some("cpu".to_owned()),
    }
}

/// Returns the main face of all sample photos.
fn crops(recognizer: &Recognizer) -> Vec<FaceCrop> {
    let photos = SPLITS.into_iter().flat_map(photos_in);
    let crops: Vec<FaceCrop> = photos
        .map(|photo| recognizer.crop_photo(&photo).expect("a face"))
        .collect();
    assert_eq!(crops.len(), 118);
    crops
}

fn photos_in(split: &str) -> Vec<Vec<u8>> {
    let paths = photos_below(&common::photos().join(split)).expect("photos");
    let read = |path| std::fs::read(path).expect("readable");
    paths.into_iter().map(read).collect()
}

fn decoded(split: &str) -> Vec<Photo> {
    let decode = |photo: Vec<u8>| decode(&photo, &DecodeLimits::default()).expect("it decodes");
    photos_in(split).into_iter().map(decode).collect()
}

fn embedding(recognizer: &Recognizer, crop: &FaceCrop) -> Vec<f32> {
    recognizer
        .embed_crops(std::slice::from_ref(crop))
        .swap_remove(0)
}

fn numbers_of_proposal(proposal: &Proposal) -> Vec<f32> {
    [&[proposal.probability][..], &proposal.regression].concat()
}

fn numbers_of_prediction(prediction: &Prediction) -> Vec<f32> {
    [
        &[prediction.probability][..],
        &prediction.regression,
        &prediction.landmarks,
    ]
    .concat()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b).powi(2));
    squares.sum::<f32>().sqrt()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}
