//! The hand-written loops of the native engine, and weights mapped into memory.
//!
//! - [`convolve`]: convolutions of float32 and of bytes as matrix products (GEMM) with [`panels`] of weights
//! - [`winograd_convolution`], [`planes`]: 3x3 convolutions by Winograd's F(4, 3), of pixels of channels and of planes
//! - [`pool`], [`area`], [`code_dots`]: maximum pools, resizing, dot products of the gallery's codes
//! - [`instructions`] names the processor's instruction sets, and `dispatch` runs a kernel compiled for one of them
//!
//! Written by hand for quick starts: a worker with libtorch takes 15 times as long to start, and ONNX Runtime takes eight
//! times as long to load (docs/performance.md). All unsafe code of this crate is here.
#![allow(
    unsafe_code,
    reason = "mapping files, reading numbers in place and calling code for detected instructions need it"
)]

/// Repeats the body with the variable as a constant from 0 to 11, as far as it is below the count. An index that varies
/// at run time would send accumulators through memory.
macro_rules! unroll {
    ($index:ident < $count:ident $body:block) => {
        unroll!(@ $index $count $body 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $index:ident $count:ident $body:block $($literal:literal)*) => {
        $(if $literal < $count {
            let $index: usize = $literal;
            $body
        })*
    };
}

pub mod aligned;
#[forbid(unsafe_code)]
pub mod area;
#[forbid(unsafe_code)]
mod blocks;
pub mod code_dots;
mod code_loops;
pub mod convolve;
mod dispatch;
mod gemm;
#[forbid(unsafe_code)]
pub mod instructions;
mod mapped;
#[forbid(unsafe_code)]
pub mod panels;
pub mod planes;
#[forbid(unsafe_code)]
pub mod pool;
mod vectors;
#[forbid(unsafe_code)]
pub mod winograd;
#[forbid(unsafe_code)]
pub mod winograd_convolution;

pub(crate) use dispatch::{Kernel, run};
pub use instructions::Instructions;
pub use mapped::{Mapped, MappedFile, Plain};
pub(crate) use vectors::Float;
