//! Writes a bundle's files, each beside its place first.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::fold::Embedder;
use super::{BundleOptions, ConvertError, TorchscriptOptions};
use crate::vision::bundle::{
    BUNDLE_FILE, BundleDescription, Distance, FORMAT, LoadError, Network, Preprocessing,
};
use crate::vision::weights::{self, NewTensor};

const EMBEDDER: &str = "embedder.safetensors";
const SCRIPT: &str = "embedder.pt";
const DETECTOR: [&str; 3] = ["pnet.safetensors", "rnet.safetensors", "onet.safetensors"];
/// Side of the crops that facenet-pytorch's networks were trained on, in pixels.
const INPUT_SIZE: usize = 160;

/// The weights of an existing bundle's face detector.
#[derive(Debug)]
pub struct Detector {
    contents: [Vec<u8>; 3],
    source: String,
}

impl Detector {
    /// Reads them whatever the bundle's format: the detector's files are the same in all.
    pub fn of(bundle: &Path) -> Result<Self, ConvertError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| {
                ConvertError::Detector(LoadError::Read {
                    path: path.to_owned(),
                    source,
                })
            })
        };
        let path = bundle.join(BUNDLE_FILE);
        let description: BundleDescription =
            serde_json::from_slice(&read(&path)?).map_err(|error| {
                ConvertError::Detector(LoadError::Invalid {
                    path,
                    reason: error.to_string(),
                })
            })?;
        let weights = |file: &Path| read(&bundle.join(file));
        Ok(Self {
            contents: [
                weights(&description.pnet)?,
                weights(&description.rnet)?,
                weights(&description.onet)?,
            ],
            source: description.name,
        })
    }
}

/// Writes the bundle of an Inception-ResNet v1.
pub fn write(
    folder: &Path,
    state_dict: &Path,
    embedder: &Embedder,
    detector: &Detector,
    options: &BundleOptions,
) -> Result<BundleDescription, ConvertError> {
    let description = BundleDescription {
        embedding_size: embedder.embedding_size,
        source: format!(
            "InceptionResnetV1 of facenet-pytorch, {}; face detector of the bundle {}",
            file_name(state_dict),
            detector.source
        ),
        ..description(options, PathBuf::from(EMBEDDER))
    };
    write_files(folder, &description, detector, |path| {
        weights::write(path, &embedder_tensors(embedder))
    })?;
    Ok(description)
}

/// Writes the bundle of a TorchScript file.
pub fn write_torchscript(
    folder: &Path,
    file: &Path,
    script: &[u8],
    detector: &Detector,
    options: &TorchscriptOptions,
) -> Result<BundleDescription, ConvertError> {
    let description = BundleDescription {
        embedding_size: options.embedding_size,
        input_size: options.input_size,
        preprocessing: options.preprocessing,
        crop_margin: options.crop_margin,
        distance: options.distance,
        network: Network::Torchscript,
        source: format!(
            "TorchScript file {}; face detector of the bundle {}",
            file_name(file),
            detector.source
        ),
        ..description(&options.bundle, PathBuf::from(SCRIPT))
    };
    write_files(folder, &description, detector, |path| {
        weights::write_beside(path, |file| file.write_all(script))
    })?;
    Ok(description)
}

/// What most bundles have in common.
fn description(options: &BundleOptions, embedder: PathBuf) -> BundleDescription {
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
        embedder,
        embedder_int8: None,
        pnet,
        rnet,
        onet,
        source: String::new(),
    }
}

fn write_files(
    folder: &Path,
    description: &BundleDescription,
    detector: &Detector,
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

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The kernels first: each fills whole panels, so that the next one begins at a multiple of 64 bytes too.
fn embedder_tensors(embedder: &Embedder) -> Vec<NewTensor> {
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
