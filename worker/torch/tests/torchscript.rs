//! TorchScript networks of users, which these tests make by tracing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tch::{CModule, Kind, Tensor};
use tempfile::TempDir;
use worker::enrol::{enrol, photos_below};
use worker::model::bundle::{Distance, Preprocessing};
use worker::prepare::convert::{
    BundleOptions, DetectorSource, TorchscriptOptions, convert_torchscript,
};
use worker::vision::{EngineName, Gallery, LoadError, Precision, Recognizer};
use worker_torch::TorchEngine;

#[path = "../../tests/common/mod.rs"]
mod common;

const SIDE: usize = 48;
const EMBEDDING_SIZE: usize = 192;

/// Saves a network whose embedding is the means of 6 x 6 pixels.
fn save_averaging_network(file: &Path) {
    let side = SIDE as i64;
    let example = Tensor::zeros([1, 3, side, side], (Kind::Float, tch::Device::Cpu));
    let mut network = |inputs: &[Tensor]| {
        let means = inputs[0].avg_pool2d([6, 6], [6, 6], [0, 0], false, true, None);
        vec![means.flatten(1, 3)]
    };
    let module = CModule::create_by_tracing("Averages", "forward", &[example], &mut network);
    module
        .expect("it is traced")
        .save(file)
        .expect("it is saved");
}

struct Fixture {
    folder: TempDir,
    options: TorchscriptOptions,
}

impl Fixture {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        save_averaging_network(&folder.path().join("averages.pt"));
        Self {
            folder,
            options: TorchscriptOptions {
                bundle: BundleOptions {
                    name: "averages".to_owned(),
                    threshold: 0.9,
                    detector: DetectorSource::Bundle(common::bundle()),
                    source: None,
                },
                input_size: SIDE,
                embedding_size: EMBEDDING_SIZE,
                preprocessing: Preprocessing::Channels {
                    mean: [127.5, 116.0, 104.0],
                    deviation: [127.5, 128.0, 64.0],
                },
                distance: Distance::Euclidean,
                crop_margin: 0,
            },
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn convert(&self) {
        convert_torchscript(
            &self.path("averages.pt"),
            &self.path("bundle"),
            &self.options,
        )
        .expect("the bundle is written");
    }

    fn load(&self) -> Result<Recognizer, LoadError> {
        common::load_into(&TorchEngine, &self.path("bundle"), Gallery::default(), None)
    }

    fn refusal(&self) -> String {
        self.load().expect_err("it cannot be used").to_string()
    }
}

#[test]
fn a_traced_network_embeds_faces() {
    let fixture = Fixture::new();
    fixture.convert();
    let recognizer = fixture.load().expect("it loads");
    assert_eq!(recognizer.engine(), EngineName::Torch);
    assert_eq!(recognizer.precision(), Precision::Fp32);
    let photo = sample_photo();
    let crop = recognizer.crop_photo(&photo).expect("a face");
    assert_eq!(crop.size, SIDE);
    let embedding = recognizer
        .embed_crops(std::slice::from_ref(&crop))
        .swap_remove(0);
    // The normalized mean of each block of pixels, and the whole scaled to length 1.
    let (mean, deviation) = ([127.5, 116.0, 104.0], [127.5, 128.0, 64.0]);
    let cells = SIDE / 6;
    let mut expected = Vec::new();
    for channel in 0..3 {
        for cell in 0..cells * cells {
            let (top, left) = (cell / cells * 6, cell % cells * 6);
            let pixel = |index: usize| (top + index / 6) * SIDE + left + index % 6;
            let sum: f32 = (0..36)
                .map(|index| f32::from(crop.pixels[pixel(index) * 3 + channel]))
                .sum();
            expected.push((sum / 36.0 - mean[channel]) / deviation[channel]);
        }
    }
    let norm = expected
        .iter()
        .map(|value| value * value)
        .sum::<f32>()
        .sqrt();
    assert_eq!(embedding.len(), EMBEDDING_SIZE);
    for (value, expected) in embedding.iter().zip(&expected) {
        assert!(
            (value - expected / norm).abs() < 1e-4,
            "{value} {}",
            expected / norm
        );
    }
}

#[test]
fn cosine_distances_are_half_the_square_of_euclidean_ones() {
    let mut fixture = Fixture::new();
    let mut distances = Vec::new();
    for distance in [Distance::Euclidean, Distance::Cosine] {
        fixture.options.distance = distance;
        fixture.convert();
        let mut recognizer = fixture.load().expect("it loads");
        let (gallery, _) = enrol(&common::photos().join("train"), &recognizer).expect("enrolled");
        recognizer.set_gallery(gallery);
        distances.push(
            recognizer
                .recognize(&sample_photo())
                .expect("a face")
                .distance,
        );
    }
    assert!(distances[0] > 0.0);
    assert!(
        (distances[1] - distances[0].powi(2) / 2.0).abs() < 1e-5,
        "{distances:?}"
    );
}

#[test]
fn a_file_that_is_no_torchscript_is_refused() {
    let fixture = Fixture::new();
    std::fs::write(
        fixture.path("averages.pt"),
        "PK\u{3}\u{4} is how an archive begins",
    )
    .expect("written");
    fixture.convert();
    let text = fixture.refusal();
    assert!(text.contains("not a TorchScript file"), "{text}");
    std::fs::remove_file(fixture.path("bundle/embedder.pt")).expect("it was there");
    let text = fixture.refusal();
    assert!(
        text.contains("cannot read") && text.contains("embedder.pt"),
        "{text}"
    );
}

#[test]
fn another_embedding_size_is_refused() {
    let mut fixture = Fixture::new();
    fixture.options.embedding_size = 512;
    fixture.convert();
    let text = fixture.refusal();
    assert!(text.contains("gives [1, 192], expected [1, 512]"), "{text}");
}

#[test]
fn another_input_size_is_refused() {
    let mut fixture = Fixture::new();
    fixture.options.input_size = 5;
    // Bundles allow 8 to 1024.
    fixture.convert();
    let text = fixture.refusal();
    assert!(
        text.contains("input_size 5 is not between 8 and 1024"),
        "{text}"
    );
    // A network for exactly 768 numbers.
    let weights = Tensor::ones([3 * 16 * 16, 8], (Kind::Float, tch::Device::Cpu));
    let example = Tensor::zeros([1, 3, 16, 16], (Kind::Float, tch::Device::Cpu));
    let mut network = |inputs: &[Tensor]| vec![inputs[0].flatten(1, 3).matmul(&weights)];
    let module = CModule::create_by_tracing("Dense", "forward", &[example], &mut network);
    module
        .expect("traced")
        .save(fixture.path("averages.pt"))
        .expect("saved");
    (fixture.options.input_size, fixture.options.embedding_size) = (20, 8);
    fixture.convert();
    let text = fixture.refusal();
    assert!(text.contains("does not take [1, 3, 20, 20]"), "{text}");
    fixture.options.input_size = 16;
    fixture.convert();
    fixture.load().expect("it loads");
}

#[test]
fn int8_and_the_native_engine_are_refused() {
    let fixture = Fixture::new();
    fixture.convert();
    let bundle = fixture.path("bundle");
    let text = common::load(&bundle, Gallery::default(), None)
        .expect_err("native")
        .to_string();
    assert!(text.contains("only --engine torch runs"), "{text}");
    let int8 = common::load_into(
        &TorchEngine,
        &bundle,
        Gallery::default(),
        Some(Precision::Int8),
    );
    let text = int8.expect_err("there is no int8").to_string();
    assert!(
        text.contains("8-bit integers are for the built-in network"),
        "{text}"
    );
}

/// Runs convert, enrol, recognize, evaluate and ready; calibrate is refused.
#[test]
fn every_command_runs_a_torchscript_bundle() {
    let fixture = Fixture::new();
    let (bundle, gallery) = (fixture.path("bundle"), fixture.path("gallery.safetensors"));
    let (bundle, gallery) = (
        bundle.to_str().expect("text"),
        gallery.to_str().expect("text"),
    );
    let photo = photos_below(&common::photos().join("train"))
        .expect("photos")
        .remove(0);
    let photo = photo.to_str().expect("text");
    let train = common::photos().join("train");
    let train = train.to_str().expect("text");
    let script = fixture.path("averages.pt");
    let script = script.to_str().expect("text");
    let detector = common::bundle();
    let from = detector.to_str().expect("text");
    let convert = |size: &str| {
        run(&[
            "convert",
            "--torchscript",
            script,
            "--out",
            bundle,
            "--from",
            from,
            "--input-size",
            "48",
            "--embedding-size",
            size,
            "--mean",
            "127.5",
            "--deviation",
            "127.5,128,128",
            "--distance",
            "cosine",
            "--threshold",
            "0.3",
        ])
    };
    let refused = convert("512");
    assert!(!refused.status.success());
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("gives [1, 192], expected [1, 512]"), "{text}");
    assert!(!fixture.path("bundle/bundle.json").exists());
    succeeded(&convert("192"));
    succeeded(&run(&[
        "enrol",
        "--models",
        bundle,
        "--photos",
        train,
        "--gallery",
        gallery,
    ]));
    let named = succeeded(&run(&[
        "recognize",
        "--models",
        bundle,
        "--gallery",
        gallery,
        photo,
    ]));
    assert!(named.contains(":ben_afflek"), "{named}");
    let evaluated = succeeded(&run(&["evaluate", "--models", bundle, "--photos", train]));
    assert!(evaluated.contains("averages"), "{evaluated}");
    let ready = succeeded(&run(&[
        "ready",
        "--models",
        bundle,
        "--gallery",
        gallery,
        photo,
    ]));
    assert!(ready.contains("steady_median_ms"), "{ready}");
    let calibrated = run(&["calibrate", "--models", bundle, "--photos", train]);
    let text = String::from_utf8_lossy(&calibrated.stderr).into_owned();
    assert!(
        !calibrated.status.success() && text.contains("has a TorchScript network"),
        "{text}"
    );
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_worker-torch"))
        .args(arguments)
        .output()
        .expect("worker-torch starts")
}

fn succeeded(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn sample_photo() -> Vec<u8> {
    let photos = photos_below(&common::photos().join("val")).expect("photos");
    std::fs::read(&photos[0]).expect("readable")
}
