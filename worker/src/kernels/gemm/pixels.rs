//! The output pixels that are the rows of a matrix product.

use super::shape::Geometry;

/// Walks the pixels of an output, row by row.
#[derive(Default)]
pub struct PixelCursor {
    image: usize,
    y: usize,
    x: usize,
}

impl PixelCursor {
    /// Starts at the pixel with number `index` of all images.
    #[inline(always)]
    pub fn new(geometry: &Geometry, index: usize) -> Self {
        let row = index / geometry.width;
        Self {
            image: row / geometry.height,
            y: row % geometry.height,
            x: index % geometry.width,
        }
    }

    /// Returns the offset of the pixel's first input.
    #[inline(always)]
    pub fn input(&self, geometry: &Geometry) -> usize {
        geometry.input.offset(self.image, self.y, self.x)
    }

    /// Returns the offset of the pixel's first output.
    #[inline(always)]
    pub fn output(&self, geometry: &Geometry) -> usize {
        geometry.output.offset(self.image, self.y, self.x)
    }

    #[inline(always)]
    pub fn step(&mut self, geometry: &Geometry) {
        self.x += 1;
        if self.x == geometry.width {
            self.x = 0;
            self.y += 1;
            if self.y == geometry.height {
                self.y = 0;
                self.image += 1;
            }
        }
    }
}
