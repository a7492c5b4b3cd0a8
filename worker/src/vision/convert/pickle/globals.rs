//! The only names that a pickle may use, and what they make.

use super::{Objects, PickleError, Value};

/// A tensor of more dimensions is none of a network's.
const MAX_DIMENSIONS: usize = 8;

/// Type of the numbers in a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    Float32,
    Float64,
    Float16,
    BFloat16,
    Int64,
}

impl Element {
    /// In bytes.
    pub fn size(self) -> usize {
        match self {
            Self::Float64 | Self::Int64 => 8,
            Self::Float32 => 4,
            Self::Float16 | Self::BFloat16 => 2,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    StorageType(Element),
}

impl Global {
    pub fn find(module: &str, name: &str) -> Result<Self, PickleError> {
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Self::RebuildParameter),
            ("torch", "FloatStorage") => Ok(Self::StorageType(Element::Float32)),
            ("torch", "DoubleStorage") => Ok(Self::StorageType(Element::Float64)),
            ("torch", "HalfStorage") => Ok(Self::StorageType(Element::Float16)),
            ("torch", "BFloat16Storage") => Ok(Self::StorageType(Element::BFloat16)),
            ("torch", "LongStorage") => Ok(Self::StorageType(Element::Int64)),
            _ => Err(PickleError::Forbidden {
                name: format!("{module}.{name}"),
            }),
        }
    }
}

/// A run of numbers that lies outside the pickle; tensors may share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage<'a> {
    pub element: Element,
    pub key: &'a str,
    pub count: usize,
}

/// A view of a storage; nothing has checked yet that it lies inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Number of the storage.
    pub storage: usize,
    /// In elements, as the strides.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl Tensor {
    /// The same view with its axes in another order.
    pub fn permuted(&self, axes: &[usize]) -> Self {
        let pick = |sizes: &[usize]| axes.iter().map(|&axis| sizes[axis]).collect();
        Self {
            storage: self.storage,
            offset: self.offset,
            shape: pick(&self.shape),
            strides: pick(&self.strides),
        }
    }
}

/// Makes what Python would get by calling `function`.
pub fn call<'a>(
    objects: &mut Objects<'a>,
    function: Value<'a>,
    arguments: Value<'a>,
) -> Result<Value<'a>, PickleError> {
    let damaged = Err(PickleError::Damaged { what: "tensor" });
    let (Value::Global(function), Some(arguments)) = (function, objects.elements(arguments)) else {
        return damaged;
    };
    match (function, arguments) {
        (Global::OrderedDict, []) => Ok(Value::Dict(objects.container(Vec::new()))),
        (
            Global::RebuildTensor,
            &[
                Value::Storage(storage),
                Value::Integer(offset),
                shape,
                strides,
                Value::Bool(_requires_grad),
                Value::Dict(_hooks),
            ],
        ) => {
            let (offset, shape, strides) = match (
                usize::try_from(offset),
                sizes(objects, shape),
                sizes(objects, strides),
            ) {
                (Ok(offset), Some(shape), Some(strides)) => (offset, shape, strides),
                _ => return damaged,
            };
            if shape.len() != strides.len() {
                return damaged;
            }
            objects.tensors.push(Tensor {
                storage,
                offset,
                shape,
                strides,
            });
            Ok(Value::Tensor(objects.tensors.len() - 1))
        }
        (
            Global::RebuildParameter,
            &[
                tensor @ Value::Tensor(_),
                Value::Bool(_requires_grad),
                Value::Dict(_hooks),
            ],
        ) => Ok(tensor),
        _ => damaged,
    }
}

fn sizes(objects: &Objects<'_>, value: Value<'_>) -> Option<Vec<usize>> {
    let Value::Tuple(number) = value else {
        return None;
    };
    let elements = &objects.containers[number];
    let size = |&value: &Value<'_>| match value {
        Value::Integer(size) => usize::try_from(size).ok(),
        _ => None,
    };
    (elements.len() <= MAX_DIMENSIONS).then(|| elements.iter().map(size).collect())?
}

/// The storage that ("storage", type, key, device, count) names; the older form has a sixth element, which is None
/// unless the storage is part of another one.
pub fn persistent<'a>(
    objects: &mut Objects<'a>,
    identifier: Value<'a>,
) -> Result<Value<'a>, PickleError> {
    let damaged = PickleError::Damaged { what: "storage" };
    let (element, key, count) = match objects.elements(identifier) {
        Some(
            &[
                Value::Text("storage"),
                Value::Global(Global::StorageType(element)),
                Value::Text(key),
                Value::Text(_device),
                Value::Integer(count),
                ref rest @ ..,
            ],
        ) if matches!(rest, [] | [Value::None]) => (element, key, count),
        _ => return Err(damaged),
    };
    let count = usize::try_from(count).map_err(|_| damaged)?;
    objects.storages.push(Storage {
        element,
        key,
        count,
    });
    Ok(Value::Storage(objects.storages.len() - 1))
}
