//! The face detector of a new bundle: copied from another bundle, or made from facenet-pytorch's MTCNN.

use std::path::{Path, PathBuf};

use super::error::{ContentError, ConvertError};
use super::input::with_torch_file;
use super::state_dict::StateDict;
use super::torch_file::TorchFile;
use crate::model::bundle::{BUNDLE_FILE, BundleDescription, LoadError};
use crate::model::weights::{self, NewTensor};

/// Where a new bundle's detector comes from.
#[derive(Debug, Clone)]
pub enum DetectorSource {
    /// The folder of another bundle.
    Bundle(PathBuf),
    /// A folder with facenet-pytorch's `pnet.pt`, `rnet.pt` and `onet.pt`.
    Mtcnn(PathBuf),
}

/// The detector's three weight files.
#[derive(Debug)]
pub struct DetectorFiles {
    pub contents: [Vec<u8>; 3],
    /// For people.
    pub source: String,
}

/// The networks of MTCNN. Of the dense layer behind the last map: name, and side of the map.
const NETWORKS: [(&str, Option<(&str, usize)>); 3] = [
    ("pnet", None),
    ("rnet", Some(("dense4.weight", 3))),
    ("onet", Some(("dense5.weight", 3))),
];

impl DetectorFiles {
    pub fn load(source: &DetectorSource) -> Result<Self, ConvertError> {
        match source {
            DetectorSource::Bundle(folder) => Self::copy(folder),
            DetectorSource::Mtcnn(folder) => Self::convert(folder),
        }
    }

    /// Reads a bundle of any format: all have the same detector files.
    fn copy(folder: &Path) -> Result<Self, ConvertError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| {
                ConvertError::Detector(LoadError::Read {
                    path: path.to_owned(),
                    source,
                })
            })
        };
        let path = folder.join(BUNDLE_FILE);
        let description: BundleDescription =
            serde_json::from_slice(&read(&path)?).map_err(|error| {
                ConvertError::Detector(LoadError::Invalid {
                    path,
                    reason: error.to_string(),
                })
            })?;
        let weights = |file: &Path| read(&folder.join(file));
        Ok(Self {
            contents: [
                weights(&description.pnet)?,
                weights(&description.rnet)?,
                weights(&description.onet)?,
            ],
            source: format!("the bundle {}", description.name),
        })
    }

    fn convert(folder: &Path) -> Result<Self, ConvertError> {
        let mut contents = [const { Vec::new() }; 3];
        for (content, (network, dense)) in contents.iter_mut().zip(NETWORKS) {
            let path = folder.join(format!("{network}.pt"));
            let tensors = with_torch_file(&path, |file| tensors(file, dense))?;
            weights::write_to(content, &tensors).expect("memory takes what is written");
        }
        Ok(Self {
            contents,
            source: "facenet-pytorch's MTCNN".to_owned(),
        })
    }
}

/// Returns the tensors of a network. Kernels become [out, height, width, in]. The dense layer reads a map flattened to
/// (width, height, channel) in facenet-pytorch, to (height, width, channel) here. Other tensors stay as they are.
fn tensors(
    file: &TorchFile<'_>,
    dense: Option<(&str, usize)>,
) -> Result<Vec<NewTensor>, ContentError> {
    let mut weights = StateDict::of(file)?;
    let mut tensors = Vec::new();
    for name in weights.names() {
        let shape = weights.shape(name)?;
        tensors.push(if let &[outputs, inputs, height, width] = shape {
            let values = weights.take_kernel(name, [outputs, inputs, height, width])?;
            NewTensor::floats(name, &[outputs, height, width, inputs], values)
        } else {
            let mut values = weights.take(name, shape)?;
            if let (&[_, inputs], Some((layer, side))) = (shape, dense)
                && layer == name
                && inputs > 0
                && inputs.is_multiple_of(side * side)
            {
                values = rows_first(&values, inputs, side);
            }
            NewTensor::floats(name, shape, values)
        });
    }
    Ok(tensors)
}

/// Returns each row of `inputs` values rearranged from (width, height, channel) to (height, width, channel).
fn rows_first(values: &[f32], inputs: usize, side: usize) -> Vec<f32> {
    let channels = inputs / (side * side);
    let pixel = |row: usize, column: usize| (column * side + row) * channels;
    let rows = values.chunks_exact(inputs).flat_map(|map| {
        (0..side * side)
            .flat_map(move |place| &map[pixel(place / side, place % side)..][..channels])
    });
    rows.copied().collect()
}
