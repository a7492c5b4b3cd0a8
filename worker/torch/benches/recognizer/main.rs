//! `make bench`: measures the recognizer with each engine and instruction set, and compares it with facenet-pytorch on
//! PyTorch if that is set up.
//!
//! Times on a shared machine drift by half. All subjects are therefore measured in turns, each in its own process, and
//! the ratio of medians counts. A subject with fewer instructions than the processor has is compared with a PyTorch
//! that is limited in the same way. The ratio is about that of a processor with just these instructions.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Parser;
use serde_json::{Map, Value, json};
use worker::kernels::Instructions;
use worker::vision::EngineName;

use crate::rounds::{ReferenceSetup, SubjectName};

mod galleries;
mod machine;
mod photos;
mod process;
mod rounds;
mod samples;
mod starts;
mod subject;
mod table;
mod vectors;

/// Rows of the gallery that the pipeline searches: the number of sample photos in `train`.
const PIPELINE_GALLERY: usize = 93;

/// Measures the recognizer; run by `make bench`.
#[derive(Debug, Parser)]
struct Args {
    /// Rounds of measurements
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Starts of a worker
    #[arg(long, default_value_t = 12)]
    starts: usize,
    /// The program `worker`, with `worker-torch` beside it
    #[arg(long, required_unless_present = "subject")]
    worker: Option<PathBuf>,
    /// Python with facenet-pytorch [default: none; ratios are left out]
    #[arg(long, requires = "reference_weights")]
    reference_python: Option<PathBuf>,
    /// The Keras file with the reference's weights
    #[arg(long)]
    reference_weights: Option<PathBuf>,
    /// Reply to commands on standard input instead, see subject.rs
    #[arg(long, value_enum, requires = "models")]
    subject: Option<EngineName>,
    /// Device of the subject's libtorch
    #[arg(long, default_value = "cpu")]
    device: String,
    /// The subject's bundle
    #[arg(long)]
    models: Option<PathBuf>,
    /// Set by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let (Some(engine), Some(models)) = (args.subject, args.models) {
        return subject::run(engine, Some(args.device), models);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize()?;
    let folder = root.join("target/bench");
    let bundle = root.join(".local/models/facenet128");
    let photos = photos::prepare(&root.join(".local/photos"), &folder.join("photos"))?;
    let gallery = folder.join("gallery.safetensors");
    vectors::clustered_gallery(PIPELINE_GALLERY).save(&gallery)?;
    let worker = args.worker.context("--worker is given")?.canonicalize()?;
    ensure!(worker.is_file(), "{} is not a program", worker.display());

    let names = subjects();
    let mut starts = Vec::new();
    for name in &names {
        note(&format!("starting workers, {}", title(*name)));
        let photo = &photos.medium[0];
        starts.push(starts::measure(
            args.starts,
            &worker,
            *name,
            &bundle,
            &gallery,
            photo,
        )?);
    }
    let reference = args
        .reference_python
        .as_ref()
        .zip(args.reference_weights.as_ref());
    let reference = reference.map(|(python, weights)| ReferenceSetup {
        python,
        weights,
        root: &root,
    });
    note(&format!("the recognizer, {} rounds", args.rounds));
    let measured = rounds::measure(args.rounds, &names, &bundle, &photos, reference.as_ref())?;

    let (mut torch, mut native) = (Value::Null, Map::new());
    for ((name, mut figures), starts) in names.iter().zip(measured).zip(starts) {
        figures.extend(starts);
        table::print(&title(*name), &figures);
        match name.instructions {
            None => torch = Value::Object(figures),
            Some(instructions) => {
                native.insert(instructions.to_string(), Value::Object(figures));
            }
        }
    }
    let mut report = machine::describe();
    report.insert(
        "engines".to_owned(),
        json!({"torch": torch, "native": native}),
    );
    testkit::write_figures("recognizer", &Value::Object(report));
    Ok(())
}

/// Returns libtorch, and the native engine with each instruction set but plain Rust.
fn subjects() -> Vec<SubjectName> {
    let torch = SubjectName {
        engine: EngineName::Torch,
        instructions: None,
    };
    let sets = Instructions::available().iter();
    let native = sets
        .filter(|instructions| **instructions != Instructions::Portable)
        .map(|&instructions| SubjectName {
            engine: EngineName::Native,
            instructions: Some(instructions),
        });
    std::iter::once(torch).chain(native).collect()
}

fn title(name: SubjectName) -> String {
    match name.instructions {
        Some(instructions) => format!("{}, {instructions}", name.engine),
        None => name.engine.to_string(),
    }
}

fn note(what: &str) {
    println!("bench: {what} ...");
}
