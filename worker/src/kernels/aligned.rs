//! Memory that begins at a cache line.

use std::ops::{Deref, DerefMut};

const LINE: usize = 16;

#[repr(C, align(64))]
#[derive(Debug, Clone, Copy)]
struct Line([f32; LINE]);

/// Numbers whose vectors do not straddle cache lines: such a load takes twice as long.
#[derive(Debug, Clone)]
pub struct Aligned {
    lines: Vec<Line>,
    length: usize,
}

impl Aligned {
    pub fn zeros(length: usize) -> Self {
        Self {
            lines: vec![Line([0.0; LINE]); length.div_ceil(LINE)],
            length,
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a line is 16 numbers without padding, and the lines hold at least `length`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}
