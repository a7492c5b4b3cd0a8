//! Tensors as pickles describe them: views of storages.

use std::fmt;

/// Type of the numbers in a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementType {
    Float32,
    Float64,
    Float16,
    BFloat16,
    Int64,
    Int32,
    Int16,
    Int8,
    UInt8,
    Bool,
}

impl ElementType {
    /// Returns the size of a number, in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::Float64 | Self::Int64 => 8,
            Self::Float32 | Self::Int32 => 4,
            Self::Float16 | Self::BFloat16 | Self::Int16 => 2,
            Self::Int8 | Self::UInt8 | Self::Bool => 1,
        }
    }
}

/// As torch names it.
impl fmt::Display for ElementType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "torch.{}", format!("{self:?}").to_lowercase())
    }
}

/// A run of numbers outside the pickle; tensors may share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorStorage<'a> {
    pub element: ElementType,
    pub key: &'a str,
    pub count: usize,
}

/// A view of a storage, not checked to lie inside it.
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
    /// Returns the same view with its axes in another order.
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
