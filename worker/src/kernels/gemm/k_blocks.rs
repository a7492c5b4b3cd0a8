//! Blocks of a matrix product's inner dimension (K), whose weights stay in the first-level cache.

/// How a panel is divided: into whole kernel rows, or each kernel row into parts.
#[derive(Clone, Copy)]
pub struct KBlocks {
    kernel_rows: usize,
    groups: usize,
    /// Kernel rows of a block.
    rows: usize,
    /// Groups of a block; less than `groups` only if `rows` is 1.
    part: usize,
}

/// Kernel rows, and groups of inputs in each, that are summed at once.
#[derive(Clone, Copy)]
pub struct KBlock {
    pub row: usize,
    pub rows: usize,
    pub group: usize,
    pub groups: usize,
    pub is_first: bool,
    pub is_last: bool,
}

impl KBlocks {
    /// Divides a panel into blocks of about `size` groups, all of almost the same size.
    #[inline(always)]
    pub fn of(kernel_rows: usize, groups: usize, size: usize) -> Self {
        let parts = groups.div_ceil(size);
        let rows = (size / groups).clamp(1, kernel_rows);
        Self {
            kernel_rows,
            groups,
            rows: kernel_rows.div_ceil(kernel_rows.div_ceil(rows)),
            part: groups.div_ceil(parts),
        }
    }

    #[inline(always)]
    pub fn is_single(self) -> bool {
        self.rows == self.kernel_rows && self.part == self.groups
    }

    #[inline(always)]
    pub fn iter(self) -> impl Iterator<Item = KBlock> {
        let Self {
            kernel_rows,
            groups,
            rows,
            part,
        } = self;
        (0..kernel_rows).step_by(rows).flat_map(move |row| {
            (0..groups).step_by(part).map(move |group| KBlock {
                row,
                rows: rows.min(kernel_rows - row),
                group,
                groups: part.min(groups - group),
                is_first: row == 0 && group == 0,
                is_last: row + rows >= kernel_rows && group + part >= groups,
            })
        })
    }
}
