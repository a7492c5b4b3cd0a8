//! Pickles with the operations, in the order and with the memo, of CPython's pickler in protocols 2 to 5: those of
//! torch 1.12.1, which loaded these files and saved them again, are the same in `pickletools.genops`.

use std::collections::HashMap;

use crate::torch_save::{Object, Storage, Tensor};

/// Bytes after which CPython begins another frame.
const FRAME: usize = 1 << 16;

/// The pickle of an object without tensors.
pub fn pickle_of(object: &Object, protocol: u8) -> Vec<u8> {
    Pickler::new(&[], protocol, false).finish(object)
}

pub struct Pickler<'a> {
    storages: &'a [Storage],
    protocol: u8,
    is_legacy: bool,
    /// The complete frames.
    written: Vec<u8>,
    /// The current frame, or everything in protocols without frames.
    bytes: Vec<u8>,
    /// Texts and names so far; later ones refer to them.
    memo: HashMap<String, u32>,
    memorized: u32,
}

impl<'a> Pickler<'a> {
    pub fn new(storages: &'a [Storage], protocol: u8, is_legacy: bool) -> Self {
        Self {
            storages,
            protocol,
            is_legacy,
            written: vec![0x80, protocol],
            bytes: Vec::new(),
            memo: HashMap::new(),
            memorized: 0,
        }
    }

    pub fn finish(mut self, root: &Object) -> Vec<u8> {
        self.object(root);
        self.bytes.push(b'.');
        self.end_frame();
        self.written
    }

    fn end_frame(&mut self) {
        if self.protocol >= 4 {
            self.written.push(0x95);
            let length = self.bytes.len() as u64;
            self.written.extend(length.to_le_bytes());
        }
        self.written.append(&mut self.bytes);
    }

    fn object(&mut self, object: &Object) {
        if self.bytes.len() >= FRAME {
            self.end_frame();
        }
        match object {
            Object::Integer(value) => self.integer(usize::from(*value)),
            Object::Text(text) => self.text(text),
            Object::Made(operations) => self.bytes.extend(*operations),
            Object::List(elements) => {
                self.bytes.push(b']');
                self.memorize();
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
            Object::Dict(entries) => {
                self.bytes.push(b'}');
                self.memorize();
                self.entries(entries, |this, (key, value)| {
                    this.object(key);
                    this.object(value);
                });
            }
            Object::StateDict(entries) => {
                self.ordered_dict();
                self.entries(entries, |this, (name, value)| {
                    this.text(name);
                    this.object(value);
                });
                self.bytes.push(b'}');
                self.memorize();
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
                self.memorize();
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
        self.memorize();
    }

    fn storage(&mut self, key: usize) {
        let storage = &self.storages[key];
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
        self.memorize();
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
            self.memorize();
        }
    }

    fn entries<T>(&mut self, entries: &[T], entry: impl Fn(&mut Self, &T)) {
        for batch in entries.chunks(1000) {
            self.batch(batch.len() > 1, b"u", b"s", |this| {
                batch.iter().for_each(|element| entry(this, element));
            });
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
        let mut written = match u8::try_from(text.len()) {
            Ok(length) if self.protocol >= 4 => vec![0x8c, length],
            _ => [b"X".as_slice(), &(text.len() as u32).to_le_bytes()].concat(),
        };
        written.extend(text.as_bytes());
        self.once(text, |this| this.bytes.extend(written));
    }

    /// Module and name.
    fn global(&mut self, name: &str) {
        let (module, function) = name.split_once(' ').expect("two words");
        self.once(name, |this| {
            if this.protocol >= 4 {
                this.text(module);
                this.text(function);
                this.bytes.push(0x93);
            } else {
                let written = format!("c{module}\n{function}\n");
                this.bytes.extend(written.as_bytes());
            }
        });
    }

    fn once(&mut self, key: &str, write: impl FnOnce(&mut Self)) {
        match self.memo.get(key).copied() {
            Some(number) => self.numbered([b'h', b'j'], number),
            None => {
                write(self);
                self.memo.insert(key.to_owned(), self.memorized);
                self.memorize();
            }
        }
    }

    fn memorize(&mut self) {
        if self.protocol >= 4 {
            self.bytes.push(0x94);
        } else {
            self.numbered([b'q', b'r'], self.memorized);
        }
        self.memorized += 1;
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
