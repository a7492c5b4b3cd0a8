//! Writes a bundle's files, each beside its place first.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::fold::Embedder;
use super::{BUNDLE_FORMAT, BundleOptions, ConvertError};
use crate::vision::bundle::{BUNDLE_FILE, BundleDescription, LoadError, Preprocessing};

const EMBEDDER: &str = "embedder.safetensors";
const DETECTOR: [&str; 3] = ["pnet.safetensors", "rnet.safetensors", "onet.safetensors"];
/// Side of the crops that facenet-pytorch's networks were trained on, in pixels.
const INPUT_SIZE: usize = 160;
/// In bytes, so that a mapped kernel serves whole vectors as it is.
const ALIGNMENT: usize = 64;
const LAYOUT: &str = "panel,height,width,in,32";

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
    write_beside(&folder.join(EMBEDDER), |file| {
        write_embedder(file, embedder)
    })?;
    for (name, content) in DETECTOR.iter().zip(&detector.contents) {
        write_beside(&folder.join(name), |file| file.write_all(content))?;
    }
    let [pnet, rnet, onet] = DETECTOR.map(PathBuf::from);
    let description = BundleDescription {
        format: BUNDLE_FORMAT,
        name: options.name.clone(),
        embedding_size: embedder.embedding_size,
        input_size: INPUT_SIZE,
        preprocessing: Preprocessing::Fixed,
        crop_margin: 0,
        threshold: options.threshold,
        embedder: PathBuf::from(EMBEDDER),
        pnet,
        rnet,
        onet,
        source: format!(
            "InceptionResnetV1 of facenet-pytorch, {file_name}; face detector of the bundle {}",
            detector.source
        ),
    };
    write_beside(&folder.join(BUNDLE_FILE), |file| {
        serde_json::to_writer_pretty(&mut *file, &description)?;
        file.write_all(b"\n")
    })?;
    Ok(description)
}

/// A safetensors file whose data begin at a multiple of 64 bytes. Kernels come first: each fills whole panels, so that
/// the next one begins at such a multiple too. (The crate's own `serialize` aligns to 8 bytes and sorts by name.)
fn write_embedder(file: &mut impl Write, embedder: &Embedder) -> io::Result<()> {
    let kernels = embedder.layers.iter().map(|layer| {
        let name = format!("{}.weight", layer.name);
        (name, layer.shape.to_vec(), &layer.kernel)
    });
    let biases = embedder.layers.iter().map(|layer| {
        let name = format!("{}.bias", layer.name);
        (name, vec![layer.bias.len()], &layer.bias)
    });
    let (mut infos, mut data, mut end) = (Vec::new(), Vec::new(), 0);
    for (name, shape, values) in kernels.chain(biases) {
        let start = end;
        end += size_of_val(values.as_slice());
        let info = TensorInfo {
            dtype: Dtype::F32,
            shape,
            data_offsets: (start, end),
        };
        infos.push((name, info));
        data.push(values);
    }
    // One entry: with more, their order in the file would be left to chance.
    let about = HashMap::from([("layout".to_owned(), LAYOUT.to_owned())]);
    let header = Metadata::new(Some(about), infos).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&header)?;
    let begin = (size_of::<u64>() + header.len()).next_multiple_of(ALIGNMENT);
    header.resize(begin - size_of::<u64>(), b' ');
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for value in data.into_iter().flatten() {
        file.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

/// A process that has the old file mapped keeps it, and none sees half of the new one.
fn write_beside(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), ConvertError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let attempt = || {
        let mut file = BufWriter::new(File::create(&beside)?);
        write(&mut file)?;
        file.into_inner()?.sync_all()?;
        std::fs::rename(&beside, path)
    };
    attempt().map_err(|source| {
        // It may not even exist; the first error is the one to tell.
        let _ = std::fs::remove_file(&beside);
        ConvertError::Write {
            path: path.to_owned(),
            source,
        }
    })
}
