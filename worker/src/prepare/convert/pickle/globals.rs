//! The only names that a pickle may use, and what they make.

use super::tensor::{ElementType, Tensor, TensorStorage};
use super::{Global, Objects, PickleError, Value, shown};

/// Tensors of networks have no more dimensions.
const MAX_DIMENSIONS: usize = 8;

impl Global {
    /// Looks up one of the names that a file may use.
    pub fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict" | "defaultdict") => Self::Dict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "FloatStorage") => Self::StorageType(ElementType::Float32),
            ("torch", "DoubleStorage") => Self::StorageType(ElementType::Float64),
            ("torch", "HalfStorage") => Self::StorageType(ElementType::Float16),
            ("torch", "BFloat16Storage") => Self::StorageType(ElementType::BFloat16),
            ("torch", "LongStorage") => Self::StorageType(ElementType::Int64),
            ("torch", "IntStorage") => Self::StorageType(ElementType::Int32),
            ("torch", "ShortStorage") => Self::StorageType(ElementType::Int16),
            ("torch", "CharStorage") => Self::StorageType(ElementType::Int8),
            ("torch", "ByteStorage") => Self::StorageType(ElementType::UInt8),
            ("torch", "BoolStorage") => Self::StorageType(ElementType::Bool),
            _ => Self::Plain(plain(module, name)?),
        })
    }
}

/// Returns the name in Python of a value that a checkpoint may hold beside its state dict.
fn plain(module: &str, name: &str) -> Option<&'static str> {
    Some(match (module, name) {
        ("torch", "Size") => "a torch.Size",
        ("torch", "device") => "a torch.device",
        ("torch", "float16" | "bfloat16" | "float32") => "a torch.dtype",
        // Protocol 2 has the names of Python 2.
        ("builtins" | "__builtin__", "dict") => "a dict",
        ("builtins" | "__builtin__", "list") => "a list",
        ("builtins" | "__builtin__", "int") => "an int",
        ("builtins" | "__builtin__", "float") => "a float",
        ("builtins" | "__builtin__", "complex") => "a complex",
        ("builtins" | "__builtin__", "bytearray") => "a bytearray",
        ("builtins" | "__builtin__", "set") => "a set",
        ("builtins" | "__builtin__", "frozenset") => "a frozenset",
        ("_codecs", "encode") => "bytes",
        ("argparse", "Namespace") => "an argparse.Namespace",
        ("pathlib" | "pathlib._local", "PosixPath") => "a path",
        ("numpy", "dtype") => "a numpy.dtype",
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => "a numpy number",
        ("numpy", "ndarray")
        | ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct")
        | ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => "a numpy.ndarray",
        _ => return None,
    })
}

/// Returns why a name is refused, given the bytes behind it: the attributes of a `torch.nn.Module` follow its class.
pub fn refusal(module: &str, name: &str, rest: &[u8]) -> PickleError {
    /// They begin within so many bytes; the class's source code may come first.
    const NEAR: usize = 1 << 20;
    let near = &rest[..rest.len().min(NEAR)];
    let has = |attribute: &[u8]| {
        near.windows(attribute.len())
            .any(|bytes| bytes == attribute)
    };
    let name = shown(&format!("{module}.{name}"));
    if has(b"_parameters") && has(b"_modules") {
        PickleError::Module { class: name }
    } else {
        PickleError::Forbidden { name }
    }
}

/// Returns the value that Python would get by calling `function`.
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
        // A defaultdict has the maker of its defaults.
        (Global::Dict, [] | [Value::Global(_) | Value::None]) => {
            Ok(Value::Dict(objects.container(Vec::new())))
        }
        (Global::Plain(kind), _) => Ok(Value::Other(kind)),
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

/// Returns the storage that ("storage", type, key, device, count) names; the older form has a sixth element, which is None
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
    objects.storages.push(TensorStorage {
        element,
        key,
        count,
    });
    Ok(Value::Storage(objects.storages.len() - 1))
}
