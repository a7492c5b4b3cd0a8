//! Runs a kernel with the code compiled for a processor's instructions. Every kernel with code for several instruction
//! sets is called through here.

use super::instructions::Instructions;
use super::vectors::{ByteDots, Float, Portable};

/// A loop that is compiled for vectors of each width. `F` is the vector of float32.
pub trait Kernel {
    /// Must be `#[inline(always)]`: it is compiled for the instructions of the function that it is inlined into.
    fn run<F: Float>(self);
}

/// A loop over dot products of 8-bit integers, for which processors have instructions of several kinds.
pub trait ByteDotKernel {
    type Output;
    /// Returns whether the bytes are at most [`SMALL_BYTE`](super::convolve::SMALL_BYTE), of which AVX2 makes use.
    fn has_small_bytes(&self) -> bool {
        false
    }
    /// Must be `#[inline(always)]`, as [`Kernel::run`].
    fn run<B: ByteDots>(self) -> Self::Output;
}

/// Runs a kernel compiled for these instructions.
///
/// Panics if the processor lacks the instructions.
pub fn run<K: Kernel>(instructions: Instructions, kernel: K) {
    instructions.check();
    match instructions {
        Instructions::Portable => kernel.run::<Portable>(),
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 | Instructions::AvxVnni => unsafe { x86::vectors_256(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 | Instructions::Avx512Vnni | Instructions::Amx => unsafe {
            x86::vectors_512(kernel)
        },
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("only x86-64 processors have other instructions"),
    }
}

/// As [`run`], for dot products of bytes.
///
/// Panics if the processor lacks the instructions.
pub fn run_byte_dots<K: ByteDotKernel>(instructions: Instructions, kernel: K) -> K::Output {
    instructions.check();
    match instructions {
        Instructions::Portable => kernel.run::<Portable>(),
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 | Instructions::Avx512 if kernel.has_small_bytes() => unsafe {
            x86::small_bytes_256(kernel)
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 | Instructions::Avx512 => unsafe { x86::bytes_256(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Instructions::AvxVnni => unsafe { x86::bytes_256_vnni(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512Vnni | Instructions::Amx => unsafe { x86::bytes_512_vnni(kernel) },
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("only x86-64 processors have other instructions"),
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m256, __m512};

    use super::super::vectors::x86::{Bytes256, SmallBytes256, Vnni256, Vnni512};
    use super::{ByteDotKernel, Kernel};

    #[target_feature(enable = "avx2,fma")]
    pub fn vectors_256<K: Kernel>(kernel: K) {
        kernel.run::<__m256>();
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub fn vectors_512<K: Kernel>(kernel: K) {
        kernel.run::<__m512>();
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn bytes_256<K: ByteDotKernel>(kernel: K) -> K::Output {
        kernel.run::<Bytes256>()
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn small_bytes_256<K: ByteDotKernel>(kernel: K) -> K::Output {
        kernel.run::<SmallBytes256>()
    }

    #[target_feature(enable = "avxvnni,avx2,fma")]
    pub fn bytes_256_vnni<K: ByteDotKernel>(kernel: K) -> K::Output {
        kernel.run::<Vnni256>()
    }

    #[target_feature(enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub fn bytes_512_vnni<K: ByteDotKernel>(kernel: K) -> K::Output {
        kernel.run::<Vnni512>()
    }
}
