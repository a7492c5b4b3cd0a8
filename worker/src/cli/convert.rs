use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgGroup, Args};
use worker::vision::convert::{BundleOptions, convert_state_dict, read_gallery};

/// About where the 512-d VGGFace2 weights tell people apart best.
const THRESHOLD: &str = "1.1";

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("input").required(true).args(["state_dict", "gallery"])))]
pub struct ConvertArgs {
    /// State dict of facenet-pytorch's InceptionResnetV1, as 20180402-114759-vggface2.pt or
    /// 20180408-102900-casia-webface.pt, to make a model bundle of. A checkpoint may have it under `state_dict`,
    /// `model_state_dict`, `model` or `net`, and names may begin with `module.`
    #[arg(long, value_name = "FILE")]
    state_dict: Option<PathBuf>,
    /// File of torch.save([embeddings, names], ...), as data.pt, to make a gallery of
    #[arg(long, value_name = "FILE")]
    gallery: Option<PathBuf>,
    /// Where the result is written: a folder for a bundle, a file for a gallery
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Name of the bundle, shown with each answer; absent: the state dict's file name
    #[arg(long, conflicts_with = "gallery")]
    name: Option<String>,
    /// Distance beyond which a face is nobody's, 0 to 2. The default suits the 512-d VGGFace2 weights; `worker
    /// evaluate` helps to calibrate it on photos of your own
    #[arg(
        long,
        conflicts_with = "gallery",
        default_value = THRESHOLD,
        value_parser = distance,
        value_name = "DISTANCE"
    )]
    threshold: f32,
    /// Bundle whose face detector is copied
    #[arg(
        long,
        conflicts_with = "gallery",
        default_value = ".local/models/facenet128",
        value_name = "DIR"
    )]
    from: PathBuf,
}

pub fn run(args: ConvertArgs) -> anyhow::Result<ExitCode> {
    match (&args.state_dict, &args.gallery) {
        (Some(state_dict), _) => convert_to_bundle(state_dict, &args)?,
        (None, Some(gallery)) => convert_to_gallery(gallery, &args.out)?,
        (None, None) => unreachable!("clap requires one of them"),
    }
    Ok(ExitCode::SUCCESS)
}

fn convert_to_bundle(state_dict: &Path, args: &ConvertArgs) -> anyhow::Result<()> {
    let stem = || {
        let stem = state_dict.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    };
    let options = BundleOptions {
        name: args.name.clone().unwrap_or_else(stem),
        threshold: args.threshold,
        detector_from: args.from.clone(),
    };
    let bundle = convert_state_dict(state_dict, &args.out, &options)?;
    println!(
        "{}: bundle {}, {}-d embeddings, threshold {}; galleries of other bundles do not fit it",
        args.out.display(),
        bundle.name,
        bundle.embedding_size,
        bundle.threshold
    );
    Ok(())
}

fn convert_to_gallery(file: &Path, out: &Path) -> anyhow::Result<()> {
    let gallery = read_gallery(file)?;
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    gallery
        .save(out)
        .with_context(|| format!("cannot write {}", out.display()))?;
    println!(
        "{}: {} embeddings of {} numbers; serve it with the bundle of the network that made them",
        out.display(),
        gallery.len(),
        gallery.dimension()
    );
    Ok(())
}

fn distance(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(distance) if distance > 0.0 && distance <= 2.0 => Ok(distance),
        _ => Err("not a distance between unit vectors, more than 0 and at most 2".to_owned()),
    }
}
