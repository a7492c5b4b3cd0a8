//! The embedder with all instructions that this processor has, and the environment variable that selects them.

use std::process::Command;

use photo::{DecodeLimits, decode};
use worker::kernels::instructions::{Instructions, VARIABLE};
use worker::vision::crop::{FaceCrop, crop_face};
use worker::vision::embed::Embedder;
use worker::vision::engine::native::NativeEmbedder;
use worker::vision::{BoundingBox, Bundle, Gallery, LoadError, Precision, Recognizer};

use crate::common;

const DISTANCE: f32 = 1e-4;

#[test]
fn all_instructions_embed_alike_in_float32() {
    let crops = crops();
    let crops: Vec<&FaceCrop> = crops.iter().collect();
    let expected = embedder(Precision::Fp32, Instructions::Portable).embed(&crops);
    for &instructions in Instructions::available() {
        let embeddings = embedder(Precision::Fp32, instructions).embed(&crops);
        for (embedding, expected) in embeddings.iter().zip(&expected) {
            let pairs = embedding.iter().zip(expected);
            let squared: f32 = pairs.map(|(a, b)| (a - b).powi(2)).sum();
            assert!(
                squared.sqrt() < DISTANCE,
                "{instructions}: {}",
                squared.sqrt()
            );
        }
    }
}

/// Sums of bytes are exact, but the average and the dense layer are float32, and activations have 7 bits where that is
/// faster.
#[test]
fn all_instructions_embed_alike_in_int8() {
    let crops = crops();
    let crops: Vec<&FaceCrop> = crops.iter().collect();
    let expected = embedder(Precision::Int8, Instructions::Portable).embed(&crops);
    for &instructions in Instructions::available() {
        let embeddings = embedder(Precision::Int8, instructions).embed(&crops);
        for (embedding, expected) in embeddings.iter().zip(&expected) {
            let pairs = embedding.iter().zip(expected);
            let cosine: f32 = pairs.map(|(a, b)| a * b).sum();
            assert!(cosine > 0.999, "{instructions}: {cosine}");
        }
    }
}

/// A process reads the variable once, so each value needs a process.
#[test]
fn the_variable_selects_the_instructions() {
    for instructions in Instructions::ALL {
        let output = chosen_by(instructions.name());
        match instructions.if_available() {
            Ok(_) => assert!(
                output.contains(&format!("chosen: {instructions}.")),
                "{output}"
            ),
            Err(error) => assert!(output.contains(&error.to_string()), "{output}"),
        }
    }
    assert!(chosen_by("sse9").contains("\"sse9\" are no instructions Muster knows"));
    let best = Instructions::available()
        .last()
        .expect("plain Rust at least");
    assert!(chosen_by("").contains(&format!("chosen: {best}.")));
}

/// The child process of `the_variable_selects_the_instructions`.
#[test]
#[ignore = "another test runs it"]
fn print_the_selected_instructions() {
    match load_by_choice() {
        Ok(_) => println!("chosen: {}.", Instructions::best()),
        Err(error) => println!("{error}"),
    }
}

fn chosen_by(name: &str) -> String {
    let output = Command::new(std::env::current_exe().expect("this program has a path"))
        .args([
            "instructions::print_the_selected_instructions",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(VARIABLE, name)
        .output()
        .expect("this program runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn embedder(precision: Precision, instructions: Instructions) -> Embedder {
    let bundle = Bundle::open(&common::bundle()).expect("a bundle");
    let network = NativeEmbedder::load(&bundle, precision, instructions).expect("it loads");
    let description = bundle.description;
    Embedder::new(
        Box::new(network),
        description.preprocessing,
        description.input_size,
    )
}

fn load_by_choice() -> Result<Recognizer, LoadError> {
    common::load(&common::bundle(), Gallery::default(), Some(Precision::Fp32))
}

/// Returns the middles of some validation photos.
fn crops() -> Vec<FaceCrop> {
    let photos = worker::enrol::photos_below(&common::photos().join("val")).expect("photos");
    let middle = |path: &std::path::PathBuf| {
        let encoded = std::fs::read(path).expect("readable");
        let photo = decode(&encoded, &DecodeLimits::default()).expect("the photo decodes");
        let (width, height) = (photo.width() as f32, photo.height() as f32);
        let middle = BoundingBox {
            left: width / 4.0,
            top: height / 4.0,
            right: width * 0.75,
            bottom: height * 0.75,
        };
        crop_face(&photo, &middle, 160, 0)
    };
    photos.iter().step_by(13).map(middle).collect()
}
