//! Reads the part of Python's pickle protocols 2 to 5 that `torch.save` writes. It builds plain values and the few
//! objects in `globals`. Every other name is an error, and nothing is called.
//!
//! Containers refer to their elements by number, so that neither reading nor dropping a value recurses: files may nest
//! deeply or make cycles. A step of the machine makes at most one value, and steps are limited.

use thiserror::Error;

mod globals;
mod machine;
mod reader;
mod tensor;

pub use tensor::{ElementType, Tensor, TensorStorage};

/// Most steps of a pickle. A gallery of 100,000 faces takes 2.5 million.
const MAX_STEPS: usize = 1 << 22;

/// Why a pickle cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PickleError {
    #[error("its pickle ends early")]
    Truncated,
    #[error("its pickle is of protocol {found}, expected 2 to 5")]
    Protocol { found: u8 },
    #[error(
        "its pickle asks for {name}, which neither tensors nor plain values need; it was not called. \
        Save a file of tensors, numbers and texts only"
    )]
    Forbidden { name: String },
    #[error(
        "it holds a whole {class}, whose code is not run here, expected its tensors: \
        torch.save(model.state_dict(), ...)"
    )]
    Module { class: String },
    #[error(
        "its pickle has the opcode {opcode:#04x} ({name}), which torch.save does not write in protocols 2 to 5"
    )]
    Opcode { opcode: u8, name: &'static str },
    #[error("its pickle has a damaged {what}")]
    Damaged { what: &'static str },
    #[error("its pickle takes more than {MAX_STEPS} steps")]
    TooLong,
}

/// A value, or the number of one in [`Objects`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    None,
    Bool(bool),
    Integer(i64),
    Text(&'a str),
    Tuple(usize),
    List(usize),
    /// Keys and values, alternating.
    Dict(usize),
    Global(Global),
    Storage(usize),
    Tensor(usize),
    /// A value that no network or gallery needs, by its name in Python.
    Other(&'static str),
}

impl Value<'_> {
    /// Returns the type's name in Python, for people.
    pub fn kind(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Integer(_) => "an int",
            Self::Text(_) => "a str",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Global(_) => "a class or function",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Other(kind) => kind,
        }
    }
}

/// One of the names that a file may use, of a class or a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    Dict,
    RebuildTensor,
    RebuildParameter,
    StorageType(ElementType),
    /// A class or function whose value is skipped, and the value's name for people.
    Plain(&'static str),
}

/// The objects that the values of one pickle refer to by number.
#[derive(Debug, Default)]
pub struct Objects<'a> {
    containers: Vec<Vec<Value<'a>>>,
    pub storages: Vec<TensorStorage<'a>>,
    tensors: Vec<Tensor>,
}

impl<'a> Objects<'a> {
    /// Returns the elements of a list or tuple.
    pub fn elements(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match value {
            Value::Tuple(number) | Value::List(number) => Some(&self.containers[number]),
            _ => None,
        }
    }

    /// Returns keys and values of a dict.
    pub fn entries(&self, value: Value<'a>) -> Option<&[[Value<'a>; 2]]> {
        match value {
            Value::Dict(number) => Some(self.containers[number].as_chunks().0),
            _ => None,
        }
    }

    /// Returns the value under a text in a dict.
    pub fn get(&self, dict: Value<'a>, key: &str) -> Option<Value<'a>> {
        let mut entries = self.entries(dict)?.iter();
        entries
            .find(|[name, _]| *name == Value::Text(key))
            .map(|&[_, value]| value)
    }

    pub fn tensor(&self, value: Value<'a>) -> Option<&Tensor> {
        match value {
            Value::Tensor(number) => Some(&self.tensors[number]),
            _ => None,
        }
    }

    fn container(&mut self, elements: Vec<Value<'a>>) -> usize {
        self.containers.push(elements);
        self.containers.len() - 1
    }
}

/// One pickle.
#[derive(Debug)]
pub struct Pickle<'a> {
    pub root: Value<'a>,
    pub objects: Objects<'a>,
    /// Bytes up to its end.
    pub length: usize,
}

/// Returns the beginning of a text from a file, escaped for a terminal.
pub fn shown(text: &str) -> String {
    const SHOWN: usize = 100;
    let beginning = text.chars().take(SHOWN);
    beginning.flat_map(char::escape_debug).collect()
}

/// Returns the name in `pickletools.py` of an opcode that is not read.
fn opcode_name(opcode: u8) -> &'static str {
    match opcode {
        b'0' => "POP",
        b'1' => "POP_MARK",
        b'2' => "DUP",
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' => "STRING",
        b'T' => "BINSTRING",
        b'U' => "SHORT_BINSTRING, a str of Python 2",
        b'V' => "UNICODE",
        b'P' => "PERSID",
        b'd' => "DICT",
        b'g' => "GET",
        b'i' => "INST",
        b'l' => "LIST",
        b'o' => "OBJ",
        b'p' => "PUT",
        0x82..=0x84 => "EXT, a name by number",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => "no opcode of Python's",
    }
}
