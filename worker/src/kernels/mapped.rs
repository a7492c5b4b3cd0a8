//! Files that are mapped into memory, and read without a copy.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

mod bus_error;

/// A read-only file mapped into memory. Processes that map the same file share its pages. If the file is cut meanwhile, the
/// next access to a lost page ends the process with status 1 and a line that names the file.
#[derive(Debug, Clone)]
pub struct MappedFile {
    map: Arc<Mmap>,
}

impl MappedFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        bus_error::install();
        // SAFETY: a mapped file must not be rewritten. Set-up and the converters never write a bundle in place: they rename
        // a new file over the old one, whose pages stay as they are. A truncated file ends the process.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { map: Arc::new(map) })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Borrows `length` elements from byte `offset` on, without a copy. Returns `None` if they reach beyond the file or
    /// are not aligned.
    pub fn mapped<T: Plain>(&self, offset: usize, length: usize) -> Option<Mapped<T>> {
        let end = length.checked_mul(size_of::<T>())?.checked_add(offset)?;
        let bytes = self.map.get(offset..end)?;
        bytes.as_ptr().cast::<T>().is_aligned().then(|| Mapped {
            map: Arc::clone(&self.map),
            offset,
            length,
            element: PhantomData,
        })
    }
}

/// Numbers of which every bit pattern is valid. Files hold them little-endian.
pub trait Plain: Copy + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for i8 {}
}

impl Plain for f32 {}
impl Plain for i8 {}

#[cfg(target_endian = "big")]
compile_error!("weight files are read in place: they need a little-endian processor");

/// A slice of a mapped file.
#[derive(Debug, Clone)]
pub struct Mapped<T> {
    map: Arc<Mmap>,
    offset: usize,
    length: usize,
    element: PhantomData<T>,
}

impl<T: Plain> Deref for Mapped<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let start = self.map[self.offset..].as_ptr().cast();
        // SAFETY: `MappedFile::mapped` checked range and alignment, and every bit pattern is a `Plain` value.
        unsafe { std::slice::from_raw_parts(start, self.length) }
    }
}
