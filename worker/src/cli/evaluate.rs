//! `worker evaluate`

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::enrol::Skipped;
use crate::evaluate::{Evaluation, LabeledFolder, Verification, embed_folder, evaluate};
use crate::service::{LinkedEngines, ModelArgs};
use crate::vision::Gallery;
use anyhow::Context;
use platform::process::print;
use serde::Serialize;

#[derive(Debug, clap::Args)]
// The photos are the gallery.
#[command(mut_arg("gallery", |argument| argument.hide(true)))]
pub struct EvaluateArgs {
    /// Folder of photos, DIR/<name>/** or DIR/{train,val}/<name>/**; photos of `val` are searched for in `train`
    #[arg(long, value_name = "DIR")]
    photos: PathBuf,
    /// File for the figures as JSON, beside the table on standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Serialize)]
struct Report {
    model: String,
    #[serde(flatten)]
    evaluation: Evaluation,
    without_face: Vec<Skipped>,
}

pub fn run(args: &EvaluateArgs, linked: LinkedEngines) -> anyhow::Result<ExitCode> {
    let recognizer = args.model.load_with_gallery(linked, Gallery::default())?;
    let description = recognizer.description();
    let LabeledFolder { faces, skipped } = embed_folder(&args.photos, &recognizer)?;
    let report = Report {
        model: description.name.clone(),
        evaluation: evaluate(&faces, description.threshold, description.distance),
        without_face: skipped,
    };
    print_table(&report)?;
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_table(report: &Report) -> anyhow::Result<()> {
    let evaluation = &report.evaluation;
    row("model", &report.model)?;
    row(
        "photos",
        format!(
            "{} of {} people, and {} without a face",
            evaluation.faces,
            evaluation.people,
            report.without_face.len()
        ),
    )?;
    for skipped in &report.without_face {
        row(
            "",
            format!("{}: {}", skipped.path.display(), skipped.reason),
        )?;
    }
    row("distances", evaluation.distance)?;
    match &evaluation.validation {
        Some(share) => row("validation (val by train)", share),
        None => row("validation (val by train)", "not split"),
    }?;
    row("leave one out", evaluation.leave_one_out)?;
    match &evaluation.verification {
        Some(verification) => print_verification(verification),
        None => row("pairs", "too few to verify"),
    }?;
    let open_set = &evaluation.open_set;
    let threshold = open_set.threshold;
    row(
        &format!("known accepted at {threshold}"),
        open_set.known_accepted,
    )?;
    row(
        &format!("strangers refused at {threshold}"),
        open_set.strangers_refused,
    )
}

fn print_verification(verification: &Verification) -> anyhow::Result<()> {
    let at = |share: f64, distance: f32| format!("{share:.4}  at distance {distance:.3}");
    row(
        "pairs",
        format!(
            "{} same, {} different",
            verification.same_pairs, verification.different_pairs
        ),
    )?;
    let best = verification.best_accuracy;
    row("best accuracy", at(best.accuracy, best.distance))?;
    let equal = verification.equal_error_rate;
    row("equal error rate", at(equal.rate, equal.distance))?;
    for rate in &verification.accept_rates {
        let title = format!("TAR at FAR {} %", rate.false_accept_rate * 100.0);
        row(&title, at(rate.true_accept_rate, rate.distance))?;
    }
    Ok(())
}

fn row(title: &str, value: impl Display) -> anyhow::Result<()> {
    print(format_args!("{title:<28}{value}"))
}
