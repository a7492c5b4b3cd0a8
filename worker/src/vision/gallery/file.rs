//! Galleries as safetensors files: `embeddings` [rows, dimension] in float32, `names` as JSON in the metadata and, in
//! large galleries, `codes` [blocks, bytes] in uint8.

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo, TensorView};
use safetensors::{Dtype, SafeTensors};

use super::codes::{Codes, CodesError};
use super::names::NameList;
use super::storage::Storage;
use super::{Gallery, MAX_CANDIDATES, has_codes};
use crate::kernels::MappedFile;
use crate::model::bundle::LoadError;
use crate::model::weights::write_beside;

const EMBEDDINGS: &str = "embeddings";
const CODES: &str = "codes";
const NAMES: &str = "names";

impl Gallery {
    /// Reads a file that [`Self::save`] wrote, with or without `codes`. A large gallery stays in the mapped file, which
    /// processes share; a small one is copied. The file may be replaced while it is in use, as `save` does, but not
    /// changed.
    ///
    /// # Errors
    /// When the file cannot be read, has other shapes, holds numbers that are not finite, or codes of other embeddings.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let file = MappedFile::open(path).map_err(|source| LoadError::Read {
            path: path.to_owned(),
            source,
        })?;
        read(&file).map_err(|reason| LoadError::Invalid {
            path: path.to_owned(),
            reason,
        })
    }

    /// Writes a file for [`Self::load`], as [`write_beside`] does.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let bytes = bytemuck::cast_slice(&self.embeddings);
        let shape = vec![self.len(), self.dimension];
        let mut tensors = vec![(EMBEDDINGS, view(Dtype::F32, shape, bytes)?)];
        if !self.codes.bytes().is_empty() {
            let shape = Codes::shape(self.len(), self.dimension).to_vec();
            tensors.push((CODES, view(Dtype::U8, shape, self.codes.bytes())?));
        }
        let names = serde_json::to_string(&self.names)?;
        let metadata = HashMap::from([(NAMES.to_owned(), names)]);
        let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(io::Error::other)?;
        write_beside(path, |file| file.write_all(&bytes))
    }
}

fn view(dtype: Dtype, shape: Vec<usize>, bytes: &[u8]) -> io::Result<TensorView<'_>> {
    TensorView::new(dtype, shape, bytes).map_err(io::Error::other)
}

/// Reads a gallery, or returns why the file cannot be used.
fn read(file: &MappedFile) -> Result<Gallery, String> {
    let (header_bytes, metadata) = SafeTensors::read_metadata(file.bytes())
        .map_err(|error| format!("not a gallery file: {error}"))?;
    let data_start = size_of::<u64>() + header_bytes;
    let names = names(&metadata)?;
    let tensor = metadata
        .info(EMBEDDINGS)
        .ok_or_else(|| format!("it has no tensor {EMBEDDINGS}"))?;
    let &[rows, dimension] = tensor.shape.as_slice() else {
        let found = &tensor.shape;
        return Err(format!(
            "{EMBEDDINGS} is {found:?}, expected [rows, dimension]"
        ));
    };
    if tensor.dtype != Dtype::F32 || rows != names.len() {
        let (found, expected) = (describe(tensor), names.len());
        return Err(format!(
            "{EMBEDDINGS} is {found}, expected float32 with {expected} rows"
        ));
    }
    let mut gallery = Gallery {
        names,
        embeddings: Storage::mapped(file, range(tensor, data_start)),
        ..Gallery::new(dimension)
    };
    for row in 0..rows {
        gallery.note_identity(row);
        if gallery.first_identities.len() == MAX_CANDIDATES {
            break;
        }
    }
    if !has_codes(rows, dimension) {
        gallery.embeddings.to_mut();
        let finite = gallery.embeddings.iter().all(|value| value.is_finite());
        return finite.then_some(gallery).ok_or_else(not_finite);
    }
    let shape = Codes::shape(rows, dimension);
    gallery.codes = match metadata.info(CODES) {
        Some(tensor) if tensor.dtype == Dtype::U8 && tensor.shape == shape => {
            let stored = Storage::mapped(file, range(tensor, data_start));
            Codes::stored(stored, &gallery.embeddings, dimension)
        }
        Some(tensor) => {
            let found = describe(tensor);
            return Err(format!("{CODES} is {found}, expected uint8 {shape:?}"));
        }
        None => Codes::of(&gallery.embeddings, dimension),
    }
    .map_err(|error| match error {
        CodesError::NotFinite => not_finite(),
        CodesError::OtherCodes => format!(
            "{CODES} is damaged, expected the uint8 {shape:?} that belong to {EMBEDDINGS}; a file without {CODES} will do"
        ),
    })?;
    Ok(gallery)
}

fn names(metadata: &Metadata) -> Result<NameList, String> {
    let names = metadata
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get(NAMES))
        .ok_or_else(|| format!("its metadata have no {NAMES}"))?;
    serde_json::from_str(names).map_err(|error| format!("{NAMES}: {error}"))
}

/// Returns the bytes of a tensor in the file.
fn range(tensor: &TensorInfo, data_start: usize) -> Range<usize> {
    let (start, end) = tensor.data_offsets;
    data_start + start..data_start + end
}

fn describe(tensor: &TensorInfo) -> String {
    format!("{:?} {:?}", tensor.dtype, tensor.shape)
}

fn not_finite() -> String {
    format!("{EMBEDDINGS} holds numbers that are not finite")
}
