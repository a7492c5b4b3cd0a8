use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::save_gallery;
use crate::model::bundle::{BUNDLE_FILE, BundleDescription, Distance, Preprocessing};
use crate::prepare::convert::{
    BundleOptions, DetectorSource, TorchscriptOptions, convert_keras, convert_state_dict,
    convert_torchscript, read_gallery,
};
use crate::service::{EngineArgs, LinkedEngines};
use crate::vision::{EngineName, Gallery};
use anyhow::Context;
use clap::{ArgGroup, Args};
use platform::process::print;

/// About where the 512-d VGGFace2 weights tell people apart best.
const THRESHOLD: &str = "1.1";

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("input").required(true).args(["keras", "state_dict", "torchscript", "gallery"])))]
pub struct ConvertArgs {
    /// Keras model file with an Inception-ResNet v1, such as facenet_keras.h5, to make a model bundle from
    #[arg(long, value_name = "FILE")]
    keras: Option<PathBuf>,
    /// State dict of facenet-pytorch's InceptionResnetV1, such as 20180402-114759-vggface2.pt or
    /// 20180408-102900-casia-webface.pt, to make a model bundle from. A checkpoint may have it under `state_dict`,
    /// `model_state_dict`, `model` or `net`, and names may begin with `module.`
    #[arg(long, value_name = "FILE")]
    state_dict: Option<PathBuf>,
    /// TorchScript file of an embedder of any architecture, as torch.jit.save writes it, to make a model bundle from. It
    /// takes [N, 3, side, side] and returns [N, embedding size]; only the engine torch runs it
    #[arg(long, value_name = "FILE")]
    torchscript: Option<PathBuf>,
    /// File of torch.save([embeddings, names], ...), such as data.pt, to make a gallery from
    #[arg(long, value_name = "FILE")]
    gallery: Option<PathBuf>,
    /// Where the result is written: a folder for a bundle, a file for a gallery
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Convert nothing if the output is a bundle already that this version reads
    #[arg(long, conflicts_with = "gallery")]
    keep: bool,
    /// Name of the bundle, part of each result [default: the name of the input file]
    #[arg(long, conflicts_with = "gallery")]
    name: Option<String>,
    /// Where the weights come from, for people [default: the names of the input files]
    #[arg(long, conflicts_with = "gallery", value_name = "TEXT")]
    source: Option<String>,
    /// Distance beyond which a face is unknown, 0 to 2. The default suits the 512-d VGGFace2 weights; `worker evaluate`
    /// helps to calibrate it on photos of your own
    #[arg(
        long,
        conflicts_with = "gallery",
        default_value = THRESHOLD,
        value_parser = Distance::parse_threshold,
        value_name = "DISTANCE"
    )]
    threshold: f32,
    /// Folder with facenet-pytorch's pnet.pt, rnet.pt and onet.pt, to make the face detector from [default: that of --from]
    #[arg(long, conflicts_with_all = ["gallery", "from"], value_name = "DIR")]
    mtcnn: Option<PathBuf>,
    /// Bundle to copy the face detector from
    #[arg(
        long,
        conflicts_with = "gallery",
        default_value = ".local/models/facenet128",
        value_name = "DIR"
    )]
    from: PathBuf,
    #[command(flatten)]
    script: ScriptArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// The properties of a network that its TorchScript file does not state.
#[derive(Debug, Args)]
#[command(next_help_heading = "With --torchscript")]
struct ScriptArgs {
    /// Side of the square crops that the network takes, in pixels
    #[arg(long, default_value_t = 112, value_name = "PIXELS")]
    input_size: usize,
    /// Numbers in an embedding
    #[arg(long, default_value_t = 512, value_name = "COUNT")]
    embedding_size: usize,
    /// Numbers subtracted from the bytes of red, green and blue; one number applies to all three
    #[arg(
        long,
        default_value = "127.5",
        value_delimiter = ',',
        value_name = "MEAN"
    )]
    mean: Vec<f32>,
    /// Numbers that the differences are divided by; one number applies to all three
    #[arg(
        long,
        default_value = "127.5",
        value_delimiter = ',',
        value_name = "DEVIATION"
    )]
    deviation: Vec<f32>,
    /// How embeddings are compared, in which --threshold is measured
    #[arg(long, value_enum, default_value_t, value_name = "DISTANCE")]
    distance: Distance,
    /// Pixels of the crop around the face's box, both sides together
    #[arg(long, default_value_t = 0, value_name = "PIXELS")]
    crop_margin: usize,
}

impl ConvertArgs {
    /// Returns the engine that runs the new bundle once to check it. A gallery needs none.
    pub fn engine(&self) -> EngineName {
        match self.gallery {
            Some(_) => EngineName::Native,
            None => self.engine.engine,
        }
    }
}

pub fn run(args: ConvertArgs, linked: LinkedEngines) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.gallery {
        convert_to_gallery(file, &args.out)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.keep && BundleDescription::load(&args.out).is_ok() {
        print(format_args!("{}: there already", args.out.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    // In the folder itself, so that the files can be renamed to their places.
    let staging = args.out.join(format!(".{}.tmp", std::process::id()));
    let converted = convert(&args, &staging, linked).and_then(|bundle| {
        publish(&bundle, &staging, &args.out)?;
        Ok(bundle)
    });
    // The first error is the one to report.
    let _ = std::fs::remove_dir_all(&staging);
    let bundle = converted?;
    print(format_args!(
        "{}: bundle {}, {}-d embeddings, threshold {}; galleries of other bundles do not fit it",
        args.out.display(),
        bundle.name,
        bundle.embedding_size,
        bundle.threshold
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the bundle in the folder, and runs it once to check it.
fn convert(
    args: &ConvertArgs,
    folder: &Path,
    linked: LinkedEngines,
) -> anyhow::Result<BundleDescription> {
    let bundle = match (&args.keras, &args.state_dict, &args.torchscript) {
        (Some(file), ..) => convert_keras(file, folder, &bundle_options(file, args))?,
        (_, Some(file), _) => convert_state_dict(file, folder, &bundle_options(file, args))?,
        (.., Some(file)) => convert_torchscript(file, folder, &script_options(file, args)?)?,
        (None, None, None) => unreachable!("clap requires an input"),
    };
    let recognizer = args.engine.load(linked, folder, Gallery::default());
    recognizer
        .context("the new bundle cannot be used, and nothing was replaced")?
        .warm_up();
    Ok(bundle)
}

/// Moves a bundle's files to another folder; `bundle.json`, which makes the folder a bundle, comes last.
fn publish(bundle: &BundleDescription, from: &Path, to: &Path) -> anyhow::Result<()> {
    let last = PathBuf::from(BUNDLE_FILE);
    for name in [
        &bundle.embedder,
        &bundle.pnet,
        &bundle.rnet,
        &bundle.onet,
        &last,
    ] {
        std::fs::rename(from.join(name), to.join(name))
            .with_context(|| format!("cannot write {}", to.join(name).display()))?;
    }
    Ok(())
}

fn bundle_options(file: &Path, args: &ConvertArgs) -> BundleOptions {
    let stem = || {
        let stem = file.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    };
    BundleOptions {
        name: args.name.clone().unwrap_or_else(stem),
        threshold: args.threshold,
        detector: match &args.mtcnn {
            Some(folder) => DetectorSource::Mtcnn(folder.clone()),
            None => DetectorSource::Bundle(args.from.clone()),
        },
        source: args.source.clone(),
    }
}

fn script_options(file: &Path, args: &ConvertArgs) -> anyhow::Result<TorchscriptOptions> {
    let script = &args.script;
    let channels = |name: &str, values: &[f32]| match *values {
        [all] => Ok([all; 3]),
        [red, green, blue] => Ok([red, green, blue]),
        _ => anyhow::bail!("--{name} takes one number, or three with commas between"),
    };
    Ok(TorchscriptOptions {
        bundle: bundle_options(file, args),
        input_size: script.input_size,
        embedding_size: script.embedding_size,
        preprocessing: Preprocessing::Channels {
            mean: channels("mean", &script.mean)?,
            deviation: channels("deviation", &script.deviation)?,
        },
        distance: script.distance,
        crop_margin: script.crop_margin,
    })
}

fn convert_to_gallery(file: &Path, out: &Path) -> anyhow::Result<()> {
    let gallery = read_gallery(file)?;
    save_gallery(&gallery, out)?;
    print(format_args!(
        "{}: {} embeddings of {} numbers; serve it with the bundle of the network that made them",
        out.display(),
        gallery.len(),
        gallery.dimension()
    ))?;
    Ok(())
}
