//! Reads the HDF5 files of Keras: groups in the old (symbol table) format, float32 datasets in one piece.
//!
//! Source: HDF5 File Format Specification, version 3.0. These few structures take less code than a binding of the C
//! library, which would also have to be installed or built.

use std::collections::{BTreeMap, HashMap};

use thiserror::Error;

const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";
/// Version 0 of the superblock, with 8 bytes for an address and for a length.
const SUPERBLOCK: [usize; 3] = [0, 8, 8];
/// Where the superblock has the address of the root group's header.
const ROOT_HEADER: usize = 64;

/// Types of the messages in an object header.
const DATASPACE: usize = 0x01;
const DATATYPE: usize = 0x03;
const LAYOUT: usize = 0x08;
const CONTINUATION: usize = 0x10;
const SYMBOL_TABLE: usize = 0x11;

/// Little-endian IEEE floating point of 4 bytes: class, byte order, size.
const FLOAT32: [usize; 3] = [1, 0, 4];
/// Version 3 of the layout message, contiguous.
const CONTIGUOUS: [usize; 2] = [3, 1];

/// Bounds for damaged files, whose groups may contain themselves.
const MAX_STEPS: usize = 1 << 20;
const MAX_PATH: usize = 1024;

/// Why a file cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Hdf5Error {
    #[error("it is not an HDF5 file")]
    NotHdf5,
    #[error(
        "it uses {0}, which is not supported: save it with Keras 2, as model.save(\"file.h5\")"
    )]
    Unsupported(String),
    #[error("it is damaged or cut short")]
    Damaged,
}

/// A float32 dataset; its values are a slice of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset<'a> {
    pub shape: Vec<usize>,
    content: &'a [u8],
}

impl Dataset<'_> {
    /// Returns the values in row-major order.
    pub fn values(&self) -> Vec<f32> {
        let words = self.content.as_chunks().0.iter();
        words.map(|word| f32::from_le_bytes(*word)).collect()
    }
}

/// Returns all float32 datasets of a file by path, such as `group/dataset`.
///
/// # Errors
/// When the file is damaged, or uses other structures than Keras does.
pub fn datasets(bytes: &[u8]) -> Result<BTreeMap<String, Dataset<'_>>, Hdf5Error> {
    if !bytes.starts_with(SIGNATURE) {
        return Err(Hdf5Error::NotHdf5);
    }
    let mut file = File { bytes, steps: 0 };
    if [8, 13, 14].map(|offset| file.number::<1>(offset)) != SUPERBLOCK.map(Ok) {
        return Err(Hdf5Error::Unsupported("another superblock".to_owned()));
    }
    let mut found = BTreeMap::new();
    let mut pending = vec![(file.number::<8>(ROOT_HEADER)?, String::new())];
    while let Some((header, path)) = pending.pop() {
        if path.len() > MAX_PATH {
            return Err(Hdf5Error::Damaged);
        }
        let messages = file.messages(header)?;
        if let Some(&table) = messages.get(&SYMBOL_TABLE) {
            for (name, header) in file.links(table)? {
                let separator = if path.is_empty() { "" } else { "/" };
                pending.push((header, format!("{path}{separator}{name}")));
            }
        } else if let Some(dataset) = file.dataset(&messages, &path)? {
            found.insert(path, dataset);
        }
    }
    Ok(found)
}

struct File<'a> {
    bytes: &'a [u8],
    steps: usize,
}

impl<'a> File<'a> {
    fn slice(&self, start: usize, length: usize) -> Result<&'a [u8], Hdf5Error> {
        let rest = self.bytes.get(start..).ok_or(Hdf5Error::Damaged)?;
        rest.get(..length).ok_or(Hdf5Error::Damaged)
    }

    /// Reads an unsigned number of N bytes. Offsets beyond the file saturate and are refused where they are read.
    fn number<const N: usize>(&self, offset: usize) -> Result<usize, Hdf5Error> {
        let mut extended = [0; size_of::<u64>()];
        extended[..N].copy_from_slice(self.slice(offset, N)?);
        Ok(usize::try_from(u64::from_le_bytes(extended)).unwrap_or(usize::MAX))
    }

    fn step(&mut self) -> Result<(), Hdf5Error> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(Hdf5Error::Damaged);
        }
        Ok(())
    }

    /// Returns where the body of each message of an object header begins, by type; of equal types the first.
    fn messages(&mut self, header: usize) -> Result<HashMap<usize, usize>, Hdf5Error> {
        let version = self.number::<1>(header)?;
        if version != 1 {
            let what = format!("object headers of version {version}");
            return Err(Hdf5Error::Unsupported(what));
        }
        let mut left = self.number::<2>(header.saturating_add(2))?;
        let mut blocks = vec![(
            header.saturating_add(16),
            self.number::<4>(header.saturating_add(8))?,
        )];
        let mut messages = HashMap::new();
        while let Some((mut offset, length)) = blocks.pop() {
            let end = offset.saturating_add(length);
            while left > 0 && offset.saturating_add(8) <= end {
                self.step()?;
                let (kind, size) = (self.number::<2>(offset)?, self.number::<2>(offset + 2)?);
                let body = offset + 8;
                if kind == CONTINUATION {
                    blocks.push((self.number::<8>(body)?, self.number::<8>(body + 8)?));
                } else {
                    messages.entry(kind).or_insert(body);
                }
                offset = body + size;
                left -= 1;
            }
        }
        Ok(messages)
    }

    /// Returns name and header of each member of a group, by its B-tree and its heap of names.
    fn links(&mut self, table: usize) -> Result<Vec<(&'a str, usize)>, Hdf5Error> {
        let (tree, heap) = (self.number::<8>(table)?, self.number::<8>(table + 8)?);
        if self.slice(heap, 4)? != b"HEAP" {
            return Err(Hdf5Error::Damaged);
        }
        let names = self.number::<8>(heap + 24)?;
        let (mut nodes, mut links) = (vec![tree], Vec::new());
        while let Some(node) = nodes.pop() {
            self.step()?;
            let signature = self.slice(node, 4)?;
            let used = self.number::<2>(node + 6)?;
            match signature {
                // 24 bytes of header, then key, child, key, child, ..., key.
                b"TREE" => {
                    for index in 0..used {
                        nodes.push(self.number::<8>(node + 32 + 16 * index)?);
                    }
                }
                b"SNOD" => {
                    for index in 0..used {
                        self.step()?;
                        let entry = node + 8 + 40 * index;
                        let name = self.name(names.saturating_add(self.number::<8>(entry)?))?;
                        links.push((name, self.number::<8>(entry + 8)?));
                    }
                }
                _ => return Err(Hdf5Error::Damaged),
            }
        }
        Ok(links)
    }

    /// Reads a text that ends with a zero byte.
    fn name(&self, start: usize) -> Result<&'a str, Hdf5Error> {
        let rest = self.bytes.get(start..).ok_or(Hdf5Error::Damaged)?;
        let mut pieces = rest[..rest.len().min(MAX_PATH)].split(|&byte| byte == 0);
        let name = std::str::from_utf8(pieces.next().unwrap_or_default());
        name.map_err(|_| Hdf5Error::Damaged)
    }

    /// Returns the dataset with this header; `None` if it is something else, or holds other numbers.
    fn dataset(
        &self,
        messages: &HashMap<usize, usize>,
        path: &str,
    ) -> Result<Option<Dataset<'a>>, Hdf5Error> {
        let body = |kind| messages.get(&kind).copied();
        let (Some(space), Some(kind), Some(layout)) =
            (body(DATASPACE), body(DATATYPE), body(LAYOUT))
        else {
            return Ok(None);
        };
        let class = self.number::<1>(kind)? & 0x0f;
        let byte_order = self.number::<1>(kind + 1)? & 1;
        if [class, byte_order, self.number::<4>(kind + 4)?] != FLOAT32 {
            return Ok(None);
        }
        if [self.number::<1>(layout)?, self.number::<1>(layout + 1)?] != CONTIGUOUS {
            return Err(Hdf5Error::Unsupported(format!(
                "chunks or compression for {path}"
            )));
        }
        let rank = self.number::<1>(space + 1)?;
        let sizes = space + if self.number::<1>(space)? == 1 { 8 } else { 4 };
        let shape = (0..rank).map(|axis| self.number::<8>(sizes + 8 * axis));
        let shape = shape.collect::<Result<Vec<_>, _>>()?;
        let content = self.slice(
            self.number::<8>(layout + 2)?,
            self.number::<8>(layout + 10)?,
        )?;
        let count = shape
            .iter()
            .try_fold(1usize, |count, &size| count.checked_mul(size));
        if count.and_then(|count| count.checked_mul(size_of::<f32>())) != Some(content.len()) {
            return Err(Hdf5Error::Damaged);
        }
        Ok(Some(Dataset { shape, content }))
    }
}

#[cfg(test)]
mod tests;
