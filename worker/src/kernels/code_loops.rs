//! The layout of the gallery's 4-bit codes, and the loop over them for each instruction set. [`super::code_dots`] runs
//! the one that the processor has.

/// Rows that lie side by side in a block of codes.
pub const LANES: usize = 16;
/// Dimensions that one group of a block covers.
pub const CODE_GROUP: usize = 8;

/// Eight dimensions of sixteen rows. Bytes `4 * row..4 * row + 4` hold the row's first four dimensions in their low
/// halves and the other four in their high halves.
pub type CodeGroup = [u8; 4 * LANES];
/// The query's numbers for a `CodeGroup`: four for the low halves, four for the high halves.
pub type QueryGroup = [[i8; 4]; 2];

/// Adds two products, at most 2 * 15 * 127 together, in 16 bits: eight times before they could overflow. The query is
/// repeated for two rows, so that the compiler makes vectors of eight.
pub(super) fn portable(codes: &[CodeGroup], query: &[QueryGroup]) -> [i32; LANES] {
    const GROUPS_IN_16_BITS: usize = 8;
    let mut sums = [0; LANES];
    for (codes, query) in codes
        .chunks(GROUPS_IN_16_BITS)
        .zip(query.chunks(GROUPS_IN_16_BITS))
    {
        let mut short_sums = [0i16; 4 * LANES];
        for (group, halves) in codes.iter().zip(query) {
            let [low, high]: [[i16; 8]; 2] =
                halves.map(|half| std::array::from_fn(|place| i16::from(half[place % 4])));
            let two_rows = group.as_chunks::<8>().0;
            for (sums, codes) in short_sums.as_chunks_mut::<8>().0.iter_mut().zip(two_rows) {
                for place in 0..8 {
                    let code = i16::from(codes[place]);
                    sums[place] += (code & 15) * low[place] + (code >> 4) * high[place];
                }
            }
        }
        for (sum, short) in sums.iter_mut().zip(short_sums.as_chunks::<4>().0) {
            *sum += short.iter().map(|&short| i32::from(short)).sum::<i32>();
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{CodeGroup, LANES, QueryGroup};

    /// One instruction multiplies and adds four dimensions of all sixteen rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn avx512_vnni(codes: &[CodeGroup], query: &[QueryGroup]) -> [i32; LANES] {
        let nibble = _mm512_set1_epi8(15);
        let (mut low_sums, mut high_sums) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        for (group, [low, high]) in codes.iter().zip(query) {
            // SAFETY: a group is 64 bytes, which the instruction reads at any alignment.
            let group = unsafe { _mm512_loadu_si512(group.as_ptr().cast()) };
            let (low_codes, high_codes) = (
                _mm512_and_si512(group, nibble),
                _mm512_and_si512(_mm512_srli_epi32::<4>(group), nibble),
            );
            low_sums = _mm512_dpbusd_epi32(low_sums, low_codes, _mm512_set1_epi32(word(*low)));
            high_sums = _mm512_dpbusd_epi32(high_sums, high_codes, _mm512_set1_epi32(word(*high)));
        }
        let mut sums = [0; LANES];
        // SAFETY: sixteen 4-byte sums are the 64 bytes that the instruction writes at any alignment.
        unsafe {
            _mm512_storeu_si512(
                sums.as_mut_ptr().cast(),
                _mm512_add_epi32(low_sums, high_sums),
            )
        };
        sums
    }

    /// Adds sums of two products, at most 2 * 15 * 127 each, in 16 bits: eight of them before they could overflow.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub fn avx2(codes: &[CodeGroup], query: &[QueryGroup]) -> [i32; LANES] {
        const GROUPS_IN_16_BITS: usize = 4;
        let (nibble, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
        let mut sums = [_mm256_setzero_si256(); 2];
        for (codes, query) in codes
            .chunks(GROUPS_IN_16_BITS)
            .zip(query.chunks(GROUPS_IN_16_BITS))
        {
            let mut short_sums = [_mm256_setzero_si256(); 2];
            for (group, [low, high]) in codes.iter().zip(query) {
                let (low, high) = (
                    _mm256_set1_epi32(word(*low)),
                    _mm256_set1_epi32(word(*high)),
                );
                for (sum, half) in short_sums.iter_mut().zip(group.as_chunks::<32>().0) {
                    // SAFETY: half a group is 32 bytes, which the instruction reads at any alignment.
                    let half = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
                    let low_codes = _mm256_and_si256(half, nibble);
                    let high_codes = _mm256_and_si256(_mm256_srli_epi16::<4>(half), nibble);
                    *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(low_codes, low));
                    *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(high_codes, high));
                }
            }
            for (sum, short) in sums.iter_mut().zip(short_sums) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(short, ones));
            }
        }
        let mut result = [0; LANES];
        for (sum, eight) in sums.into_iter().zip(result.as_chunks_mut::<8>().0) {
            // SAFETY: eight 4-byte sums are the 32 bytes that the instruction writes at any alignment.
            unsafe { _mm256_storeu_si256(eight.as_mut_ptr().cast(), sum) };
        }
        result
    }

    /// Returns four bytes in the order of memory.
    fn word(bytes: [i8; 4]) -> i32 {
        i32::from_le_bytes(bytes.map(i8::cast_unsigned))
    }
}
