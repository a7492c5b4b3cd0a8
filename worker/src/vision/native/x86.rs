//! Vectors of x86-64 processors: AVX-512 with 16 lanes, AVX2 with 8.

use std::arch::asm;
use std::arch::x86_64::*;

use super::vectors::{Arithmetic, Float};

impl Float for __m512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { _mm512_mul_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        unsafe { _mm512_fmadd_ps(self, factor, addend) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        unsafe { _mm512_max_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        unsafe { _mm512_min_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, count: usize) {
        unsafe {
            if count == Self::LANES {
                _mm512_storeu_ps(to, self);
            } else {
                _mm512_mask_storeu_ps(to, first_16(count), self);
            }
        }
    }

    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, count: usize) {
        unsafe {
            let whole = _mm512_max_epi32(_mm512_cvtps_epi32(self), _mm512_setzero_si512());
            _mm512_mask_cvtusepi32_storeu_epi8(to.cast(), first_16(count), whole);
        }
    }
}

/// A mask of the first `count` of 16 lanes.
#[inline(always)]
fn first_16(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

impl Float for __m256 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { _mm256_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        unsafe { _mm256_mul_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        unsafe { _mm256_fmadd_ps(self, factor, addend) }
    }

    #[inline(always)]
    unsafe fn add_products<const COUNT: usize>(
        sums: &mut [Self; COUNT],
        values: &[Self; COUNT],
        factor: *const f32,
    ) {
        unsafe {
            if COUNT == 3 {
                // SAFETY: `COUNT` is 3, so these are arrays of three; the file's users have AVX2.
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
    unsafe fn max(self, other: Self) -> Self {
        unsafe { _mm256_max_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        unsafe { _mm256_min_ps(self, other) }
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
            // Both packings saturate; a value too large for the conversion becomes negative, hence the minimum.
            let whole = _mm256_cvtps_epi32(self.min(_mm256_set1_ps(255.0)));
            let words = _mm_packs_epi32(
                _mm256_castsi256_si128(whole),
                _mm256_extracti128_si256(whole, 1),
            );
            let bytes = _mm_cvtsi128_si64(_mm_packus_epi16(words, words)).to_le_bytes();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, count);
        }
    }
}

/// Left to the compiler, three vectors of values and twelve of sums leave no register to load factors ahead, and it loads
/// them ahead all the same, with a sum in memory.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn add_three_products(sums: &mut [__m256; 3], values: &[__m256; 3], factor: *const f32) {
    let ([mut first, mut second, mut third], [a, b, c]) = (*sums, *values);
    // SAFETY: reads four bytes at `factor`, which the caller vouches for, and nothing else but registers.
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

/// Sums of byte products by AVX-512's VNNI instructions.
#[derive(Debug)]
pub struct Vnni512;

impl Arithmetic for Vnni512 {
    type Input = u8;
    type Weight = i8;
    type Vector = __m512i;
    type Sum = __m512i;
    type Float = __m512;
    const GROUP: usize = 4;
    const PIXELS: usize = 12;
    const CHUNK: usize = usize::MAX;

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> __m512i {
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn accumulate(sum: __m512i, inputs: __m512i, weights: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sum, inputs, weights) }
    }

    #[inline(always)]
    unsafe fn to_float(sum: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(sum) }
    }
}

/// Sums of byte products by the VNNI instructions of processors without AVX-512.
#[derive(Debug)]
pub struct Vnni256;

impl Arithmetic for Vnni256 {
    type Input = u8;
    type Weight = i8;
    type Vector = __m256i;
    type Sum = __m256i;
    type Float = __m256;
    const GROUP: usize = 4;
    const PIXELS: usize = 6;
    const CHUNK: usize = usize::MAX;

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn weights(from: *const i8) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn inputs(from: *const u8) -> __m256i {
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn accumulate(sum: __m256i, inputs: __m256i, weights: __m256i) -> __m256i {
        unsafe { _mm256_dpbusd_avx_epi32(sum, inputs, weights) }
    }

    #[inline(always)]
    unsafe fn to_float(sum: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(sum) }
    }
}
