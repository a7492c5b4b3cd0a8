//! Vectors of x86-64 processors: AVX-512 with 16 lanes, AVX2 with 8.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::code_loops::{self, CodeGroup, QueryGroup};
use super::{Arithmetic, ByteDots, Float};

/// The methods of [`Float`] that are one intrinsic in each instruction set.
macro_rules! intrinsics {
    ($load:ident $splat:ident $add:ident $mul:ident $mul_add:ident $max:ident $min:ident) => {
        const FUSED: bool = true;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { $load(from) }
        }

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { $splat(value) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { $add(self, other) }
        }

        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            unsafe { $mul(self, other) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
            unsafe { $mul_add(self, factor, addend) }
        }

        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            unsafe { $max(self, other) }
        }

        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            unsafe { $min(self, other) }
        }
    };
}

impl Float for __m512 {
    const LANES: usize = 16;
    const TILE_PIXELS: usize = 12;

    intrinsics!(_mm512_loadu_ps _mm512_set1_ps _mm512_add_ps _mm512_mul_ps _mm512_fmadd_ps _mm512_max_ps _mm512_min_ps);

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, count: usize) {
        unsafe {
            if count == Self::LANES {
                _mm512_storeu_ps(to, self);
            } else {
                _mm512_mask_storeu_ps(to, first_lanes(count), self);
            }
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, count: usize) {
        unsafe {
            let whole = _mm512_max_epi32(_mm512_cvtps_epi32(self), _mm512_setzero_si512());
            _mm512_mask_cvtusepi32_storeu_epi8(to.cast(), first_lanes(count), whole);
        }
    }
}

/// Returns a mask of the first `count` of 16 lanes.
#[inline(always)]
fn first_lanes(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

impl Float for __m256 {
    const LANES: usize = 8;
    const TILE_PIXELS: usize = 6;

    intrinsics!(_mm256_loadu_ps _mm256_set1_ps _mm256_add_ps _mm256_mul_ps _mm256_fmadd_ps _mm256_max_ps _mm256_min_ps);

    #[inline(always)]
    unsafe fn add_products<const COUNT: usize>(
        sums: &mut [Self; COUNT],
        values: &[Self; COUNT],
        factor: *const f32,
    ) {
        unsafe {
            if COUNT == 3 {
                // SAFETY: `COUNT` is 3, so these are arrays of three.
                let sums = &mut *sums.as_mut_ptr().cast::<[Self; 3]>();
                add_three_products(sums, &*values.as_ptr().cast::<[Self; 3]>(), factor);
            } else {
                let factor = Self::splat(*factor);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = value.mul_add(factor, *sum);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, count: usize) {
        unsafe {
            if count == Self::LANES {
                _mm256_storeu_ps(to, self);
            } else {
                let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes);
                _mm256_maskstore_ps(to, mask, self);
            }
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, count: usize) {
        unsafe {
            let whole = _mm256_cvtps_epi32(self);
            let words = _mm_packs_epi32(
                _mm256_castsi256_si128(whole),
                _mm256_extracti128_si256(whole, 1),
            );
            let bytes = _mm_cvtsi128_si64(_mm_packus_epi16(words, words)).to_le_bytes();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, count);
        }
    }
}

/// Three vectors of values and twelve of sums leave one register for a factor. The compiler would load factors ahead
/// and keep a sum in memory instead.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_three_products(sums: &mut [__m256; 3], values: &[__m256; 3], factor: *const f32) {
    let ([mut first, mut second, mut third], [a, b, c]) = (*sums, *values);
    // SAFETY: reads four bytes at `factor`, which the caller vouches for; all else is registers.
    unsafe {
        asm!(
            "vbroadcastss {factor}, dword ptr [{from}]",
            "vfmadd231ps {first}, {a}, {factor}",
            "vfmadd231ps {second}, {b}, {factor}",
            "vfmadd231ps {third}, {c}, {factor}",
            from = in(reg) factor,
            factor = out(ymm_reg) _,
            a = in(ymm_reg) a,
            b = in(ymm_reg) b,
            c = in(ymm_reg) c,
            first = inout(ymm_reg) first,
            second = inout(ymm_reg) second,
            third = inout(ymm_reg) third,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    *sums = [first, second, third];
}

/// The bodies of [`Arithmetic`] for four products of bytes, added in 32 bits by `$dot`.
macro_rules! byte_dots {
    ($integers:ty, $floats:ty, $pixels:literal, $zero:ident $load:ident $splat:ident $dot:ident $to_float:ident) => {
        type Input = u8;
        type Weight = i8;
        type Vector = $integers;
        type Sum = $integers;
        type Float = $floats;
        const GROUP: usize = 4;
        const TILE_PIXELS: usize = $pixels;
        const K_BLOCK: usize = usize::MAX;

        #[inline(always)]
        unsafe fn zero() -> $integers {
            unsafe { $zero() }
        }

        #[inline(always)]
        unsafe fn weights(from: *const i8) -> $integers {
            unsafe { $load(from.cast()) }
        }

        #[inline(always)]
        unsafe fn inputs(from: *const u8) -> $integers {
            unsafe { $splat(from.cast::<i32>().read_unaligned()) }
        }

        #[inline(always)]
        unsafe fn accumulate(sum: $integers, inputs: $integers, weights: $integers) -> $integers {
            unsafe { $dot(sum, inputs, weights) }
        }

        #[inline(always)]
        unsafe fn to_float(sum: $integers) -> $floats {
            unsafe { $to_float(sum) }
        }
    };
}

/// AVX-512's VNNI instructions.
#[derive(Debug)]
pub struct Vnni512;

impl Arithmetic for Vnni512 {
    byte_dots!(__m512i, __m512, 12, _mm512_setzero_si512 _mm512_loadu_si512 _mm512_set1_epi32 _mm512_dpbusd_epi32
        _mm512_cvtepi32_ps);
}

impl ByteDots for Vnni512 {
    type Convolution = Self;

    #[inline(always)]
    unsafe fn code_dots(codes: &[CodeGroup], query: &[QueryGroup]) -> [i32; code_loops::LANES] {
        unsafe { code_loops::x86::avx512_vnni(codes, query) }
    }
}

/// The VNNI instructions of processors without AVX-512.
#[derive(Debug)]
pub struct Vnni256;

impl Arithmetic for Vnni256 {
    byte_dots!(__m256i, __m256, 6, _mm256_setzero_si256 _mm256_loadu_si256 _mm256_set1_epi32 _mm256_dpbusd_avx_epi32
        _mm256_cvtepi32_ps);
}

/// AVX2 without VNNI.
#[derive(Debug)]
pub struct Bytes256;

impl Arithmetic for Bytes256 {
    byte_dots!(__m256i, __m256, 6, _mm256_setzero_si256 _mm256_loadu_si256 _mm256_set1_epi32 add_products
        _mm256_cvtepi32_ps);
}

/// As [`Bytes256`] in half the time, for convolutions of inputs up to 127. Accumulators of a sixth pixel would not fit
/// into the registers.
#[derive(Debug)]
pub struct SmallBytes256;

impl Arithmetic for SmallBytes256 {
    byte_dots!(__m256i, __m256, 5, _mm256_setzero_si256 _mm256_loadu_si256 _mm256_set1_epi32 add_small_products
        _mm256_cvtepi32_ps);
}

/// Two instructions take the place of VNNI's. The first adds two products in 16 bits, which larger inputs than 127
/// would overflow.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_small_products(sum: __m256i, inputs: __m256i, weights: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(inputs, weights);
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// Multiplies the inputs' highest bit apart: 16 bits hold two products of 128 and a weight.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_products(sum: __m256i, inputs: __m256i, weights: __m256i) -> __m256i {
    let high = _mm256_and_si256(inputs, _mm256_set1_epi8(i8::MIN));
    let sum = add_small_products(sum, _mm256_xor_si256(inputs, high), weights);
    add_small_products(sum, high, weights)
}

macro_rules! code_dots_256 {
    ($($bytes:ty)*) => {
        $(impl ByteDots for $bytes {
            type Convolution = Self;

            #[inline(always)]
            unsafe fn code_dots(codes: &[CodeGroup], query: &[QueryGroup]) -> [i32; code_loops::LANES] {
                unsafe { code_loops::x86::avx2(codes, query) }
            }
        })*
    };
}

code_dots_256!(Vnni256 Bytes256 SmallBytes256);
