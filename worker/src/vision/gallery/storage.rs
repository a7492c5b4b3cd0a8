//! Numbers in memory or in a mapped file.

use std::ops::{Deref, Range};

use bytemuck::Pod;

use crate::kernels::MappedFile;

#[derive(Debug, Clone)]
pub enum Storage<T> {
    Owned(Vec<T>),
    /// Bytes of the file, aligned for `T` and a multiple of its size, as [`Storage::mapped`] checks.
    Mapped(MappedFile, Range<usize>),
}

impl<T: Pod> Storage<T> {
    /// Takes the numbers in `range` of the file, without a copy if they are aligned there.
    ///
    /// Panics if the range does not lie in the file or does not hold a whole number of `T`s.
    pub fn mapped(file: &MappedFile, range: Range<usize>) -> Self {
        let bytes = &file.bytes()[range.clone()];
        if bytemuck::try_cast_slice::<u8, T>(bytes).is_ok() {
            Self::Mapped(file.clone(), range)
        } else {
            Self::Owned(bytemuck::pod_collect_to_vec(bytes))
        }
    }

    /// Returns the numbers for writing; mapped ones are copied first.
    pub fn to_mut(&mut self) -> &mut Vec<T> {
        if let Self::Mapped(..) = self {
            *self = Self::Owned(self.to_vec());
        }
        match self {
            Self::Owned(numbers) => numbers,
            Self::Mapped(..) => unreachable!("it was just copied"),
        }
    }
}

impl<T: Pod> Deref for Storage<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(numbers) => numbers,
            Self::Mapped(file, range) => bytemuck::cast_slice(&file.bytes()[range.clone()]),
        }
    }
}

impl<T> Default for Storage<T> {
    fn default() -> Self {
        Self::Owned(Vec::new())
    }
}
