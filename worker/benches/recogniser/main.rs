//! `make bench`: how fast the recogniser is, and how much faster than facenet-pytorch on PyTorch if that is set up.
//!
//! Times on a shared machine drift by half, so the two are measured in turns and the ratio of their medians counts.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use serde_json::{Map, Value, json};
use worker::vision::{Gallery, Recogniser};

use crate::reference::Reference;

mod galleries;
mod machine;
mod photos;
mod reference;
mod samples;
mod side_by_side;
mod starts;
mod table;
mod vectors;

/// Rows of the gallery that the pipeline searches, as many as there are sample photos to enrol.
const PIPELINE_GALLERY: usize = 93;

/// What the embedder computes for one crop.
const EMBEDDER_GFLOP: f64 = 2.834;

/// Measures the recogniser; run by `make bench`.
#[derive(Debug, Parser)]
struct Args {
    /// Times that each pair is measured
    #[arg(long, default_value_t = 100)]
    rounds: usize,
    /// Times that a worker is started
    #[arg(long, default_value_t = 12)]
    starts: usize,
    /// Python with facenet-pytorch; absent: no ratios
    #[arg(long, requires = "reference_weights")]
    reference_python: Option<PathBuf>,
    /// The Keras file with the reference's weights
    #[arg(long)]
    reference_weights: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = root.canonicalize()?;
    let folder = root.join("target/bench");
    let bundle = root.join(".local/models/facenet128");
    let photos = photos::prepare(&root.join(".local/photos"), &folder.join("photos"))?;
    let gallery_file = folder.join("gallery.safetensors");
    vectors::clustered_gallery(PIPELINE_GALLERY).save(&gallery_file)?;

    let mut report = machine::describe();
    note("starting workers");
    let photo = &photos.medium[0];
    report.extend(starts::measure(args.starts, &bundle, &gallery_file, photo)?);
    let mut reference = match (&args.reference_python, &args.reference_weights) {
        (Some(python), Some(weights)) => Some(Reference::start(python, weights, &root)?),
        _ => None,
    };
    note(&format!("the recogniser, {} rounds", args.rounds));
    let gallery = Gallery::load(&gallery_file)?;
    report.extend(side_by_side::measure(
        args.rounds,
        &bundle,
        &gallery,
        &photos,
        reference.as_mut(),
    )?);
    if let Some(reference) = &mut reference {
        let recogniser = Recogniser::load(&bundle, Gallery::default())?;
        report.extend(reference::compare_boxes(reference, &recogniser, &photos)?);
    }
    drop(reference);
    report.extend(floor(&report));
    note("searching galleries");
    report.extend(galleries::measure(Duration::from_secs(60)));

    let file = folder.join("recogniser.json");
    std::fs::write(&file, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    table::print(&report);
    println!("\nwritten to {}", file.display());
    Ok(())
}

/// What one pass of the embedder would take at the rate of a large matrix product in float32.
fn floor(report: &Map<String, Value>) -> Map<String, Value> {
    let rate = report.get("gemm_gflops").and_then(Value::as_f64);
    let milliseconds = rate.map(|gflops| EMBEDDER_GFLOP / gflops * 1000.0);
    Map::from_iter([("embed_fp32_floor_ms".to_owned(), json!(milliseconds))])
}

fn note(what: &str) {
    println!("bench: {what} ...");
}
