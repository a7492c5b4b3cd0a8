//! Writes a bundle's files, each beside its place first.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::fold::Embedder;
use super::{BundleOptions, ConvertError};
use crate::vision::bundle::{BUNDLE_FILE, BundleDescription, FORMAT, LoadError, Preprocessing};
use crate::vision::weights::{self, NewTensor};

const EMBEDDER: &str = "embedder.safetensors";
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

pub fn write(
    folder: &Path,
    state_dict: &Path,
    embedder: &Embedder,
    detector: &Detector,
    options: &BundleOptions,
) -> Result<BundleDescription, ConvertError> {
    std::fs::create_dir_all(folder).map_err(|source| ConvertError::Write {
        path: folder.to_owned(),
        source,
    })?;
    let file_name = state_dict.file_name().unwrap_or_default().to_string_lossy();
    let write_to = |name: &str, write: &dyn Fn(&Path) -> io::Result<()>| {
        let path = folder.join(name);
        write(&path).map_err(|source| ConvertError::Write { path, source })
    };
    write_to(EMBEDDER, &|path| {
        weights::write(path, &embedder_tensors(embedder))
    })?;
    for (name, content) in DETECTOR.iter().zip(&detector.contents) {
        write_to(name, &|path| {
            weights::write_beside(path, |file| file.write_all(content))
        })?;
    }
    let [pnet, rnet, onet] = DETECTOR.map(PathBuf::from);
    let description = BundleDescription {
        format: FORMAT,
        name: options.name.clone(),
        embedding_size: embedder.embedding_size,
        input_size: INPUT_SIZE,
        preprocessing: Preprocessing::Fixed,
        crop_margin: 0,
        threshold: options.threshold,
        embedder: PathBuf::from(EMBEDDER),
        embedder_int8: None,
        pnet,
        rnet,
        onet,
        source: format!(
            "InceptionResnetV1 of facenet-pytorch, {file_name}; face detector of the bundle {}",
            detector.source
        ),
    };
    description.save(folder)?;
    Ok(description)
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
