//! Writes what `torch.save` writes, in both of its forms. The pickles have the operations, in the order and with the
//! memo, of CPython's pickler in protocol 2 (compared with `pickletools.dis` of facenet-pytorch's `pnet.pt`).

use std::collections::HashMap;
use std::io::Write;

use zip::write::{SimpleFileOptions, ZipWriter};

pub const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// A Python object.
#[derive(Debug, Clone)]
pub enum Object {
    Integer(u16),
    Text(String),
    List(Vec<Object>),
    Tuple(Vec<Object>),
    /// With `_metadata`, as `Module.state_dict` returns it.
    StateDict(Vec<(String, Object)>),
    Tensor(Tensor),
    /// A `torch.nn.Parameter`, or another leaf that learns.
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

/// What is given to `torch.save`.
#[derive(Debug, Clone)]
pub struct Saved {
    pub root: Object,
    pub storages: Vec<Storage>,
}

impl Saved {
    /// The form since torch 1.6.
    pub fn zip(&self) -> Vec<u8> {
        let pickle = Pickler::new(self, false).finish(&self.root);
        let data = self
            .storages
            .iter()
            .enumerate()
            .map(|(key, storage)| (format!("data/{key}"), storage.bytes.as_slice()));
        zip_of(&pickle, data)
    }

    /// The form before.
    pub fn legacy(&self) -> Vec<u8> {
        let pickle = Pickler::new(self, true).finish(&self.root);
        let keys: Vec<Object> = (0..self.storages.len())
            .map(|key| Object::Text(key.to_string()))
            .collect();
        let keys = Pickler::new(self, true).finish(&Object::List(keys));
        let mut file = legacy_of(&pickle);
        file.extend(keys);
        for storage in &self.storages {
            file.extend((storage.count as u64).to_le_bytes());
            file.extend(&storage.bytes);
        }
        file
    }
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
    let system = b"\x80\x02}q\x00(X\x10\x00\x00\x00protocol_versionq\x01M\xe9\x03X\x0d\x00\x00\x00little_endianq\x02\x88\
        X\x0a\x00\x00\x00type_sizesq\x03}q\x04(X\x05\x00\x00\x00shortq\x05K\x02X\x03\x00\x00\x00intq\x06K\x04\
        X\x04\x00\x00\x00longq\x07K\x04uu.";
    [LEGACY_MAGIC, b"\x80\x02M\xe9\x03.", system, pickle].concat()
}

struct Pickler<'a> {
    saved: &'a Saved,
    is_legacy: bool,
    bytes: Vec<u8>,
    /// Texts and names that come again are referred to.
    memo: HashMap<String, u32>,
    memorised: u32,
}

impl<'a> Pickler<'a> {
    fn new(saved: &'a Saved, is_legacy: bool) -> Self {
        Self {
            saved,
            is_legacy,
            bytes: b"\x80\x02".to_vec(),
            memo: HashMap::new(),
            memorised: 0,
        }
    }

    fn finish(mut self, root: &Object) -> Vec<u8> {
        self.object(root);
        self.bytes.push(b'.');
        self.bytes
    }

    fn object(&mut self, object: &Object) {
        match object {
            Object::Integer(value) => self.integer(usize::from(*value)),
            Object::Text(text) => self.text(text),
            Object::List(elements) => {
                self.bytes.push(b']');
                self.memorise();
                // One element is appended, more are appended together, 1000 at a time.
                for batch in elements.chunks(1000) {
                    self.batch(batch.len() > 1, b"e", b"a", |this| {
                        batch.iter().for_each(|element| this.object(element));
                    });
                }
            }
            Object::Tuple(elements) => self.tuple(elements.len(), |this| {
                elements.iter().for_each(|element| this.object(element));
            }),
            Object::StateDict(entries) => {
                self.ordered_dict();
                for batch in entries.chunks(1000) {
                    self.batch(batch.len() > 1, b"u", b"s", |this| {
                        for (name, value) in batch {
                            this.text(name);
                            this.object(value);
                        }
                    });
                }
                self.bytes.push(b'}');
                self.memorise();
                self.text("_metadata");
                self.ordered_dict();
                self.bytes.extend(b"sb");
            }
            Object::Tensor(tensor) => self.tensor(tensor),
            Object::Parameter(tensor) => {
                self.global("torch._utils _rebuild_parameter");
                self.tuple(3, |this| {
                    this.tensor(tensor);
                    this.bytes.push(0x88);
                    this.ordered_dict();
                });
                self.bytes.push(b'R');
                self.memorise();
            }
        }
    }

    fn tensor(&mut self, tensor: &Tensor) {
        self.global("torch._utils _rebuild_tensor_v2");
        self.tuple(6, |this| {
            this.storage(tensor.storage);
            this.integer(tensor.offset);
            for sizes in [&tensor.shape, &tensor.strides] {
                this.tuple(sizes.len(), |this| {
                    sizes.iter().for_each(|&size| this.integer(size));
                });
            }
            this.bytes
                .push(if tensor.requires_grad { 0x88 } else { 0x89 });
            this.ordered_dict();
        });
        self.bytes.push(b'R');
        self.memorise();
    }

    fn storage(&mut self, key: usize) {
        let storage = &self.saved.storages[key];
        let is_legacy = self.is_legacy;
        self.tuple(5 + usize::from(is_legacy), |this| {
            this.text("storage");
            this.global(&format!("torch {}", storage.class));
            this.text(&key.to_string());
            this.text("cpu");
            this.integer(storage.count);
            if is_legacy {
                this.bytes.push(b'N');
            }
        });
        self.bytes.push(b'Q');
    }

    fn ordered_dict(&mut self) {
        self.global("collections OrderedDict");
        self.bytes.extend(b")R");
        self.memorise();
    }

    fn tuple(&mut self, length: usize, elements: impl FnOnce(&mut Self)) {
        if length > 3 {
            self.bytes.push(b'(');
        }
        elements(self);
        self.bytes.push(match length {
            0 => b')',
            1..=3 => 0x84 + length as u8,
            _ => b't',
        });
        if length > 0 {
            self.memorise();
        }
    }

    fn batch(&mut self, many: bool, all: &[u8], one: &[u8], elements: impl FnOnce(&mut Self)) {
        if many {
            self.bytes.push(b'(');
        }
        elements(self);
        self.bytes.extend(if many { all } else { one });
    }

    fn integer(&mut self, value: usize) {
        if let Ok(value) = u8::try_from(value) {
            self.bytes.extend([b'K', value]);
        } else if let Ok(value) = u16::try_from(value) {
            self.bytes.push(b'M');
            self.bytes.extend(value.to_le_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.bytes.push(b'J');
            self.bytes.extend(value.to_le_bytes());
        } else {
            self.bytes.extend([0x8a, 8]);
            self.bytes.extend((value as i64).to_le_bytes());
        }
    }

    fn text(&mut self, text: &str) {
        let mut written = b"X".to_vec();
        written.extend((text.len() as u32).to_le_bytes());
        written.extend(text.as_bytes());
        self.once(text, &written);
    }

    /// Module and name.
    fn global(&mut self, name: &str) {
        let written = format!("c{}\n", name.replace(' ', "\n"));
        self.once(name, written.as_bytes());
    }

    fn once(&mut self, key: &str, written: &[u8]) {
        match self.memo.get(key).copied() {
            Some(number) => self.numbered([b'h', b'j'], number),
            None => {
                self.bytes.extend(written);
                self.memo.insert(key.to_owned(), self.memorised);
                self.memorise();
            }
        }
    }

    fn memorise(&mut self) {
        self.numbered([b'q', b'r'], self.memorised);
        self.memorised += 1;
    }

    fn numbered(&mut self, [short, long]: [u8; 2], number: u32) {
        if let Ok(number) = u8::try_from(number) {
            self.bytes.extend([short, number]);
        } else {
            self.bytes.push(long);
            self.bytes.extend(number.to_le_bytes());
        }
    }
}
