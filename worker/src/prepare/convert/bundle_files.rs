//! Writes a bundle's files.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::detector::{DetectorFiles, DetectorSource};
use super::error::ConvertError;
use super::fold::FoldedEmbedder;
use crate::model::bundle::{BundleDescription, Distance, FORMAT, Network, Preprocessing};
use crate::model::weights::{self, NewTensor};

const EMBEDDER: &str = "embedder.safetensors";
const SCRIPT: &str = "embedder.pt";
const DETECTOR: [&str; 3] = ["pnet.safetensors", "rnet.safetensors", "onet.safetensors"];
/// Side of the crops that facenet-pytorch's networks were trained on, in pixels.
const INPUT_SIZE: usize = 160;

/// What a file of weights does not say about its bundle.
#[derive(Debug, Clone)]
pub struct BundleOptions {
    /// The bundle's name, part of each result.
    pub name: String,
    /// Euclidean distance beyond which a face is unknown.
    pub threshold: f32,
    pub detector: DetectorSource,
    /// Where the weights come from, for people; absent: the files' names.
    pub source: Option<String>,
}

/// What a TorchScript file does not say about its bundle.
#[derive(Debug, Clone)]
pub struct TorchscriptOptions {
    pub bundle: BundleOptions,
    /// Side of the square crops that the network takes, in pixels.
    pub input_size: usize,
    /// Numbers in an embedding.
    pub embedding_size: usize,
    pub preprocessing: Preprocessing,
    pub distance: Distance,
    /// Pixels of the crop around the face's box, both sides together.
    pub crop_margin: usize,
}

/// Writes the bundle of an Inception-ResNet v1. `origin` says where the file is from, unless the options do.
pub fn write(
    folder: &Path,
    origin: &str,
    embedder: &FoldedEmbedder,
    preprocessing: Preprocessing,
    detector: &DetectorFiles,
    options: &BundleOptions,
) -> Result<BundleDescription, ConvertError> {
    let description = BundleDescription {
        embedding_size: embedder.embedding_size,
        preprocessing,
        ..description(options, EMBEDDER, origin, detector)
    };
    write_files(folder, &description, detector, |path| {
        weights::write(path, &embedder_tensors(embedder))
    })?;
    Ok(description)
}

/// Writes the bundle of a TorchScript file.
pub fn write_torchscript(
    folder: &Path,
    origin: &str,
    script: &[u8],
    detector: &DetectorFiles,
    options: &TorchscriptOptions,
) -> Result<BundleDescription, ConvertError> {
    let description = BundleDescription {
        embedding_size: options.embedding_size,
        input_size: options.input_size,
        preprocessing: options.preprocessing,
        crop_margin: options.crop_margin,
        distance: options.distance,
        network: Network::Torchscript,
        ..description(&options.bundle, SCRIPT, origin, detector)
    };
    write_files(folder, &description, detector, |path| {
        weights::write_beside(path, |file| file.write_all(script))
    })?;
    Ok(description)
}

/// Returns a description with the properties that most bundles share.
fn description(
    options: &BundleOptions,
    embedder: &str,
    origin: &str,
    detector: &DetectorFiles,
) -> BundleDescription {
    let source = || format!("{origin}; face detector of {}", detector.source);
    let [pnet, rnet, onet] = DETECTOR.map(PathBuf::from);
    BundleDescription {
        format: FORMAT,
        name: options.name.clone(),
        embedding_size: 0,
        input_size: INPUT_SIZE,
        preprocessing: Preprocessing::Fixed,
        crop_margin: 0,
        threshold: options.threshold,
        distance: Distance::Euclidean,
        network: Network::InceptionResnetV1,
        embedder: PathBuf::from(embedder),
        embedder_int8: None,
        pnet,
        rnet,
        onet,
        source: options.source.clone().unwrap_or_else(source),
    }
}

fn write_files(
    folder: &Path,
    description: &BundleDescription,
    detector: &DetectorFiles,
    write_embedder: impl Fn(&Path) -> io::Result<()>,
) -> Result<(), ConvertError> {
    std::fs::create_dir_all(folder).map_err(|source| ConvertError::Write {
        path: folder.to_owned(),
        source,
    })?;
    let write_to = |name: &Path, write: &dyn Fn(&Path) -> io::Result<()>| {
        let path = folder.join(name);
        write(&path).map_err(|source| ConvertError::Write { path, source })
    };
    write_to(&description.embedder, &write_embedder)?;
    for (name, content) in DETECTOR.iter().zip(&detector.contents) {
        write_to(Path::new(name), &|path| {
            weights::write_beside(path, |file| file.write_all(content))
        })?;
    }
    Ok(description.save(folder)?)
}

/// Returns the tensors to write. Kernels come first: each fills whole panels, so that the next one begins at a multiple
/// of 64 bytes too.
fn embedder_tensors(embedder: &FoldedEmbedder) -> Vec<NewTensor> {
    let kernels = embedder.layers.iter().map(|layer| {
        let values = layer.kernel.iter().copied();
        NewTensor::floats(format!("{}.weight", layer.name), &layer.shape, values)
    });
    let biases = embedder.layers.iter().map(|layer| {
        let values = layer.bias.iter().copied();
        NewTensor::floats(format!("{}.bias", layer.name), &[layer.bias.len()], values)
    });
    kernels.chain(biases).collect()
}
