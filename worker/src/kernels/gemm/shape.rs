//! Sizes and strides of a convolution that is computed as a matrix product.

use super::super::panels::{PANEL, panels};

/// Distances between neighboring images, rows and pixels in a buffer, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strides {
    pub image: usize,
    pub row: usize,
    pub pixel: usize,
}

impl Strides {
    /// Returns the distances in images without gaps.
    fn contiguous(height: usize, width: usize, channels: usize) -> Self {
        Self {
            image: height * width * channels,
            row: width * channels,
            pixel: channels,
        }
    }

    pub(crate) fn offset(&self, image: usize, row: usize, pixel: usize) -> usize {
        image * self.image + row * self.row + pixel * self.pixel
    }
}

/// What one convolution reads and writes. Sizes and strides count elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    pub images: usize,
    /// Of the output.
    pub height: usize,
    /// Of the output.
    pub width: usize,
    pub outputs: usize,
    /// Between the inputs of neighboring outputs.
    pub input: Strides,
    /// Between two kernel rows in the input.
    pub kernel_row: usize,
    pub kernel_rows: usize,
    /// Inputs under one kernel row.
    pub run: usize,
    pub output: Strides,
}

impl Geometry {
    /// Returns the geometry without padding, stride 1, of images [height, width, inputs] without gaps.
    pub fn contiguous(
        images: usize,
        [height, width, inputs]: [usize; 3],
        [kernel_height, kernel_width]: [usize; 2],
        outputs: usize,
    ) -> Self {
        let output_height = height - kernel_height + 1;
        let output_width = width - kernel_width + 1;
        Self {
            images,
            height: output_height,
            width: output_width,
            outputs,
            input: Strides::contiguous(height, width, inputs),
            kernel_row: width * inputs,
            kernel_rows: kernel_height,
            run: kernel_width * inputs,
            output: Strides::contiguous(output_height, output_width, outputs),
        }
    }

    pub(super) fn pixels(&self) -> usize {
        self.images * self.height * self.width
    }

    /// Returns the number of weights of one output channel: whole groups in each kernel row.
    pub(super) fn taps(&self, group: usize) -> usize {
        self.kernel_rows * self.padded_run(group)
    }

    /// Returns the row stride of the im2col matrix if the input buffer is that matrix already: each pixel's inputs lie
    /// together, and neighbors are the same distance apart.
    pub(crate) fn matrix_stride(&self) -> Option<usize> {
        let Strides { image, row, pixel } = self.input;
        let rows_follow = self.height == 1 || row == self.width * pixel;
        let images_follow = self.images == 1 || image == self.height * self.width * pixel;
        (self.kernel_rows == 1 && rows_follow && images_follow).then_some(pixel)
    }

    /// Returns the number of weights of one kernel row and output channel.
    fn padded_run(&self, group: usize) -> usize {
        self.run.next_multiple_of(group)
    }

    /// Returns the number of elements of the input from the first to the last that is read, whole groups included.
    fn input_length(&self, group: usize) -> usize {
        self.input
            .offset(self.images - 1, self.height - 1, self.width - 1)
            + (self.kernel_rows - 1) * self.kernel_row
            + self.padded_run(group)
    }

    /// Returns the number of elements from the first output to the last.
    fn output_length(&self) -> usize {
        let last = (self.images - 1, self.height - 1, self.width - 1);
        self.output.offset(last.0, last.1, last.2) + self.outputs
    }

    /// Panics if the buffers of these lengths are too short, or the weights are not whole panels.
    pub(crate) fn check(&self, group: usize, input: usize, weights: usize, output: usize) {
        assert!(
            self.pixels() > 0 && self.outputs > 0,
            "there is something to compute"
        );
        assert!(
            self.input_length(group) <= input,
            "the inputs lie in their buffer"
        );
        assert!(
            self.output_length() <= output,
            "the outputs lie in their buffer"
        );
        assert_eq!(
            weights,
            panels(self.outputs) * self.taps(group) * PANEL,
            "the weights are whole panels"
        );
    }
}
