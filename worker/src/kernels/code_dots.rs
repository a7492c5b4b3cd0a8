//! Dot products of an int8 query with sixteen rows of the gallery's 4-bit codes at once. They are whole numbers, and
//! therefore the same on every processor.

pub use super::code_loops::{CODE_GROUP, CodeGroup, LANES, QueryGroup};
use super::dispatch::{ByteDotKernel, run_byte_dots};
use super::instructions::Instructions;
use super::vectors::ByteDots;

/// Returns the dot product of each of the sixteen rows with the query. Codes are 0 to 15; sums stay below 2^31 for up
/// to a million dimensions.
///
/// Panics if the processor lacks the instructions.
pub fn dots(instructions: Instructions, codes: &[CodeGroup], query: &[QueryGroup]) -> [i32; LANES] {
    run_byte_dots(instructions, CodeDots { codes, query })
}

struct CodeDots<'a> {
    codes: &'a [CodeGroup],
    query: &'a [QueryGroup],
}

impl ByteDotKernel for CodeDots<'_> {
    type Output = [i32; LANES];

    #[inline(always)]
    fn run<B: ByteDots>(self) -> [i32; LANES] {
        // SAFETY: the kernel runs on a processor with the instructions of `B`.
        unsafe { B::code_dots(self.codes, self.query) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_instructions_give_the_plain_sum(
            groups in prop::collection::vec(
                (prop::array::uniform32(any::<u16>()), prop::array::uniform2(prop::array::uniform4(-127i8..=127))),
                0..40,
            ),
        ) {
            let codes: Vec<CodeGroup> = groups.iter().map(|(codes, _)| bytemuck::cast(*codes)).collect();
            let query: Vec<QueryGroup> = groups.iter().map(|(_, query)| *query).collect();
            let code = |row: usize, dimension: usize| {
                let byte = codes[dimension / CODE_GROUP][4 * row + dimension % 4];
                i32::from(if dimension % CODE_GROUP < 4 { byte & 15 } else { byte >> 4 })
            };
            let plain: [i32; LANES] = std::array::from_fn(|row| {
                (0..CODE_GROUP * groups.len())
                    .map(|dimension| {
                        let (group, place) = (dimension / CODE_GROUP, dimension % CODE_GROUP);
                        code(row, dimension) * i32::from(query[group][place / 4][place % 4])
                    })
                    .sum()
            });
            for &instructions in Instructions::available() {
                prop_assert_eq!(dots(instructions, &codes, &query), plain, "{:?}", instructions);
            }
        }
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        let codes = [[0xff; 4 * LANES]; 64];
        for value in [127, -127] {
            let query = [[[value; 4]; 2]; 64];
            for &instructions in Instructions::available() {
                let expected = 64 * 8 * 15 * i32::from(value);
                assert_eq!(dots(instructions, &codes, &query), [expected; LANES]);
            }
        }
    }
}
