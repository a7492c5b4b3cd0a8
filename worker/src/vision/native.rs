//! Everything in this crate that the compiler cannot check, in one file: weights as a memory map, tensors that read
//! straight from it, and code compiled for instructions that only some processors have.
#![allow(
    unsafe_code,
    reason = "mapping a file, lending its bytes to libtorch and calling code for detected instructions need it"
)]

pub mod dot;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use tch::{Device, Kind, Tensor};

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

    /// A float32 tensor over the bytes at `offset`, without a copy; `sizes` and `strides` count elements.
    ///
    /// Panics if the tensor would reach beyond the file or is not aligned to 4 bytes.
    pub fn parameter(&self, offset: usize, sizes: &[i64], strides: &[i64]) -> Parameter {
        assert_eq!(sizes.len(), strides.len(), "one stride for each dimension");
        let last = sizes
            .iter()
            .zip(strides)
            .map(|(size, stride)| (size - 1) * stride);
        let elements = usize::try_from(last.sum::<i64>() + 1).expect("sizes are at least 1");
        assert!(
            offset + 4 * elements <= self.map.len(),
            "the tensor lies inside the file"
        );
        let start = &self.map[offset] as *const u8;
        assert_eq!(
            start.align_offset(align_of::<f32>()),
            0,
            "float32 data are aligned"
        );
        // SAFETY: the range was checked above, and the map outlives the tensor because `Parameter` holds both and lends
        // only a reference to the tensor. Nothing writes to a parameter.
        let tensor = unsafe { Tensor::from_blob(start, sizes, strides, Kind::Float, Device::Cpu) };
        Parameter {
            tensor,
            _file: Arc::clone(&self.map),
        }
    }
}

/// A tensor of weights that lies in a mapped file.
#[derive(Debug)]
pub struct Parameter {
    tensor: Tensor,
    _file: Arc<Mmap>,
}

impl Parameter {
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }
}

/// Work that gains from wide vectors. `run` must be `#[inline(always)]`, so that it is compiled once for each set of
/// instructions; `FUSED` says whether `mul_add` is an instruction.
pub trait Vectorised {
    fn run<const FUSED: bool>(self);
}

/// Runs `work` with the widest vectors that this processor has.
pub fn run_vectorised<W: Vectorised>(work: W) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor was just asked for these instructions.
            return unsafe { run_avx512(work) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor was just asked for these instructions.
            return unsafe { run_avx2(work) };
        }
    }
    // Arm's vectors and fused multiply-add are part of its base instruction set.
    if cfg!(target_arch = "aarch64") {
        work.run::<true>()
    } else {
        work.run::<false>()
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
