//! A reader for the part of Python's pickle protocol 2 that `torch.save` writes. It builds plain values and the few
//! objects of torch in `globals`; every other name is an error, and nothing is called.
//!
//! Containers refer to their elements by number, so neither reading nor dropping a value recurses, however deep a file
//! nests and whatever cycles it makes. A step of the machine makes at most one value, and steps are limited.

use thiserror::Error;

mod globals;
mod machine;

pub use globals::{Element, Global, Storage, Tensor};
use machine::Machine;

/// Steps that one pickle may take: a gallery of 100,000 faces takes 2.5 million.
const MAX_STEPS: usize = 1 << 22;

/// Why a pickle cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PickleError {
    #[error("its pickle ends early")]
    Truncated,
    #[error(
        "its pickle asks for {name}, which neither tensors nor lists of texts need; it was not called"
    )]
    Forbidden { name: String },
    #[error(
        "its pickle has the operation {opcode:#04x}, which torch.save does not write in protocol 2"
    )]
    Opcode { opcode: u8 },
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
    Real,
    Text(&'a str),
    Tuple(usize),
    List(usize),
    /// Keys and values take turns.
    Dict(usize),
    Global(Global),
    Storage(usize),
    Tensor(usize),
}

impl Value<'_> {
    /// In Python's words, for people.
    pub fn kind(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Integer(_) => "an int",
            Self::Real => "a float",
            Self::Text(_) => "a str",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Global(_) => "a class or function",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

/// What the values of one pickle refer to by number.
#[derive(Debug, Default)]
pub struct Objects<'a> {
    containers: Vec<Vec<Value<'a>>>,
    pub storages: Vec<Storage<'a>>,
    tensors: Vec<Tensor>,
}

impl<'a> Objects<'a> {
    /// The elements of a list or tuple.
    pub fn elements(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match value {
            Value::Tuple(number) | Value::List(number) => Some(&self.containers[number]),
            _ => None,
        }
    }

    /// Keys and values of a dict.
    pub fn entries(&self, value: Value<'a>) -> Option<&[[Value<'a>; 2]]> {
        match value {
            Value::Dict(number) => Some(self.containers[number].as_chunks().0),
            _ => None,
        }
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

impl<'a> Pickle<'a> {
    /// Reads the pickle at the start of `bytes`.
    pub fn read(bytes: &'a [u8]) -> Result<Self, PickleError> {
        Machine::new(bytes).run()
    }

    /// The value under a text in a dict.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let mut entries = self.objects.entries(self.root)?.iter();
        entries
            .find(|[name, _]| *name == Value::Text(key))
            .map(|&[_, value]| value)
    }
}
