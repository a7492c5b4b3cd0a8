//! Writes what `torch.save` writes, in both of its forms.

use std::io::Write;

use zip::write::{SimpleFileOptions, ZipWriter};

use crate::pickler::{Pickler, pickle_of};

/// The number 0x1950a86a20f9469cfc6c.
const LEGACY_MAGIC: &[u8] = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19";
/// The default protocol of torch.save.
const PROTOCOL: u8 = 2;

/// A Python object.
#[derive(Debug, Clone)]
pub enum Object {
    Integer(u16),
    Text(String),
    List(Vec<Object>),
    Tuple(Vec<Object>),
    Dict(Vec<(Object, Object)>),
    /// Operations that make it, without a memo.
    Made(&'static [u8]),
    /// With `_metadata`, as `Module.state_dict` returns it.
    StateDict(Vec<(String, Object)>),
    Tensor(Tensor),
    /// A `torch.nn.Parameter`, or another leaf with a gradient.
    Parameter(Tensor),
}

#[derive(Debug, Clone)]
pub struct Tensor {
    /// Index of the storage.
    pub storage: usize,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
    pub requires_grad: bool,
}

impl Tensor {
    /// In row-major order.
    pub fn of(storage: usize, offset: usize, shape: &[usize]) -> Self {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        Self {
            storage,
            offset,
            shape: shape.to_vec(),
            strides,
            requires_grad: false,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Storage {
    pub class: &'static str,
    pub count: usize,
    pub bytes: Vec<u8>,
}

impl Storage {
    pub fn float(values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        Self::new("FloatStorage", values.len(), bytes.collect())
    }

    pub fn new(class: &'static str, count: usize, bytes: Vec<u8>) -> Self {
        Self {
            class,
            count,
            bytes,
        }
    }
}

/// The argument of `torch.save`.
#[derive(Debug, Clone)]
pub struct Saved {
    pub root: Object,
    pub storages: Vec<Storage>,
}

impl Saved {
    /// The form since torch 1.6.
    pub fn zip(&self) -> Vec<u8> {
        self.zip_in(PROTOCOL)
    }

    /// With `pickle_protocol`.
    pub fn zip_in(&self, protocol: u8) -> Vec<u8> {
        let pickle = Pickler::new(&self.storages, protocol, false).finish(&self.root);
        let data = self
            .storages
            .iter()
            .enumerate()
            .map(|(key, storage)| (format!("data/{key}"), storage.bytes.as_slice()));
        zip_of(&pickle, data)
    }

    /// The form before.
    pub fn legacy(&self) -> Vec<u8> {
        self.legacy_in(PROTOCOL)
    }

    /// With `pickle_protocol`.
    pub fn legacy_in(&self, protocol: u8) -> Vec<u8> {
        let pickle = Pickler::new(&self.storages, protocol, true).finish(&self.root);
        let keys = (0..self.storages.len()).map(|key| text(&key.to_string()));
        let mut file = legacy_in(&pickle, protocol);
        file.extend(pickle_of(&Object::List(keys.collect()), protocol));
        for storage in &self.storages {
            file.extend((storage.count as u64).to_le_bytes());
            file.extend(&storage.bytes);
        }
        file
    }
}

pub fn text(text: &str) -> Object {
    Object::Text(text.to_owned())
}

/// An archive with this pickle. Sizes and checksums follow the contents, as in torch's.
pub fn zip_of<'a>(pickle: &'a [u8], data: impl IntoIterator<Item = (String, &'a [u8])>) -> Vec<u8> {
    let mut archive = ZipWriter::new_stream(Vec::new());
    let entries = [
        ("data.pkl".to_owned(), pickle),
        ("byteorder".to_owned(), b"little".as_slice()),
    ];
    let version = [("version".to_owned(), b"3\n".as_slice())];
    for (name, content) in entries.into_iter().chain(data).chain(version) {
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .with_alignment(64);
        archive
            .start_file(format!("archive/{name}"), options)
            .expect("a new entry");
        archive.write_all(content).expect("written to memory");
    }
    archive.finish().expect("written to memory").into_inner()
}

/// The older form's header and this pickle; the storages' keys are to follow.
pub fn legacy_of(pickle: &[u8]) -> Vec<u8> {
    legacy_in(pickle, PROTOCOL)
}

fn legacy_in(pickle: &[u8], protocol: u8) -> Vec<u8> {
    let sizes = [("short", 2), ("int", 4), ("long", 4)];
    let sizes = sizes.map(|(name, size)| (text(name), Object::Integer(size)));
    let system = Object::Dict(vec![
        (text("protocol_version"), Object::Integer(1001)),
        (text("little_endian"), Object::Made(b"\x88")),
        (text("type_sizes"), Object::Dict(sizes.to_vec())),
    ]);
    let header = [Object::Made(LEGACY_MAGIC), Object::Integer(1001), system];
    let mut file: Vec<u8> = header
        .iter()
        .flat_map(|object| pickle_of(object, protocol))
        .collect();
    file.extend(pickle);
    file
}
