//! Everything in this crate that the compiler cannot check: weights as a memory map, and code compiled for instructions
//! that only some processors have.
#![allow(
    unsafe_code,
    reason = "mapping a file, reading numbers from it in place and calling code for detected instructions need it"
)]

pub mod aligned;
#[cfg(target_arch = "x86_64")]
mod amx;
pub mod convolve;
pub mod dot;
pub mod instructions;
pub mod planes;
mod sweep;
mod vectors;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use self::instructions::Instructions;

/// A read-only file in memory. Processes that map the same file share its pages.
#[derive(Debug, Clone)]
pub struct MappedFile {
    map: Arc<Mmap>,
}

impl MappedFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: a mapped file must not be cut or rewritten while it is mapped. Set-up and the converters never write
        // a bundle in place: they prepare a new file and rename it over the old one, whose pages then stay as they are.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { map: Arc::new(map) })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// `length` elements that begin at byte `offset`, without a copy; `None` if they reach beyond the file or are not
    /// aligned.
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

/// Numbers for which any bytes stand for some value; files hold them little-endian.
pub trait Plain: Copy + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for i8 {}
}

impl Plain for f32 {}
impl Plain for i8 {}

#[cfg(target_endian = "big")]
compile_error!("weight files are read in place, which needs a little-endian processor");

/// Numbers that lie in a mapped file.
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
        // SAFETY: range and alignment were checked when this was made, and every bit pattern is a `Plain` value.
        unsafe { std::slice::from_raw_parts(start, self.length) }
    }
}

/// Work that gains from wide vectors. `run` must be `#[inline(always)]`, so that it is compiled once for each set of
/// instructions; `FUSED` says whether `mul_add` is an instruction.
pub trait Vectorised {
    fn run<const FUSED: bool>(self);
}

/// Runs `work` with the vectors of these instructions.
///
/// Panics if the processor does not have them.
pub fn run_vectorised<W: Vectorised>(instructions: Instructions, work: W) {
    instructions.check();
    match instructions {
        // Arm's vectors and fused multiply-add are part of its base instruction set.
        Instructions::Portable if cfg!(target_arch = "aarch64") => work.run::<true>(),
        Instructions::Portable => work.run::<false>(),
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 | Instructions::AvxVnni => unsafe { run_avx2(work) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Avx512Vnni | Instructions::Amx => unsafe {
            run_avx512(work)
        },
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("only x86-64 processors have other instructions"),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn run_avx512<W: Vectorised>(work: W) {
    work.run::<true>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<W: Vectorised>(work: W) {
    work.run::<true>();
}
