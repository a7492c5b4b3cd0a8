//! Resizing by area: an output value is the mean of the pixels that its cell touches, as in torch's
//! `interpolate(mode="area")` (`adaptive_avg_pool2d`), which facenet-pytorch's detector uses for all its inputs.

use std::ops::Range;

use photo::Photo;

use super::dispatch::{Kernel, run};
use super::instructions::Instructions;
use super::vectors::Float;

const CHANNELS: usize = 3;

/// A pixel's channels, padded to a vector.
type Pixel<T> = [T; CHANNELS + 1];

/// Rows of bytes whose sum fits into 16 bits.
const MAX_SHORT_ROWS: usize = 256;
/// Pairs of neighboring pixels that are split together.
const PAIRS: usize = 8;

/// A rectangle of whole pixels; `right` and `bottom` are exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PixelRect {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

impl PixelRect {
    pub fn whole(photo: &Photo) -> Self {
        Self {
            left: 0,
            top: 0,
            right: photo.width(),
            bottom: photo.height(),
        }
    }
}

/// Resizes parts of photos by area. An output value is (mean - 127.5) / 128, as the detector's networks read it.
#[derive(Debug, Default)]
pub struct AreaResizer {
    rect: PixelRect,
    height: usize,
    /// First column of each output, and its end.
    columns: Vec<(u32, u32)>,
    /// One over 128 times the number of columns.
    weights: Vec<f32>,
    /// Sums of up to `MAX_SHORT_ROWS` rows.
    strip: Vec<u16>,
    /// Sums of the rows of one output row, and padding.
    totals: Vec<u32>,
    /// Prefix sums of the totals over the columns; the first is zero.
    sums: Vec<Pixel<u32>>,
    /// One output row, padded to whole blocks.
    pixels: Vec<Pixel<f32>>,
}

impl AreaResizer {
    /// Sets the part of the photo, and the size of the output for [`Self::split_row`].
    pub fn set_target(&mut self, rect: PixelRect, width: usize, height: usize) {
        (self.rect, self.height) = (rect, height);
        self.columns.clear();
        self.weights.clear();
        for x in 0..width {
            let (start, end) = cell(x, rect.right - rect.left, width);
            self.columns.push((start as u32, end as u32));
            self.weights.push(0.007_812_5 / (end - start) as f32);
        }
        let padded = width.next_multiple_of(2 * PAIRS);
        self.pixels.resize(padded, Pixel::default());
    }

    /// Resizes `rect` to `width` x `height` pixels, in rows of red, green, blue.
    pub fn resize(
        &mut self,
        photo: &Photo,
        rect: PixelRect,
        [width, height]: [usize; 2],
        out: &mut [f32],
    ) {
        self.set_target(rect, width, height);
        for (y, row) in out.chunks_exact_mut(width * CHANNELS).enumerate() {
            self.average(photo, y);
            let pixels = row.as_chunks_mut::<CHANNELS>().0;
            for (pixel, &[red, green, blue, _]) in pixels.iter_mut().zip(&self.pixels) {
                *pixel = [red, green, blue];
            }
        }
    }

    /// Computes one output row as six planes, `plane` values apart: red of the even pixels, red of the odd ones, then
    /// green and blue. Beyond the row, a plane's values are unspecified.
    pub fn split_row(&mut self, photo: &Photo, y: usize, out: &mut [f32], plane: usize) {
        self.average(photo, y);
        let split = Split {
            pixels: &self.pixels,
            plane,
            out,
        };
        run(Instructions::best(), split);
    }

    /// Computes an output row into `pixels`.
    fn average(&mut self, photo: &Photo, y: usize) {
        let rect = self.rect;
        let (start, end) = cell(y, rect.bottom - rect.top, self.height);
        let stride = photo.width() * CHANNELS;
        let rows = SourceRows {
            bytes: &photo.pixels()[(rect.top + start) * stride + rect.left * CHANNELS..],
            stride,
            count: end - start,
            length: (rect.right - rect.left) * CHANNELS,
        };
        let average = Average {
            rows,
            resizer: self,
        };
        run(Instructions::best(), average);
    }
}

/// Averages an output row's cells. A cell's sum is the difference of two prefix sums.
struct Average<'a> {
    rows: SourceRows<'a>,
    resizer: &'a mut AreaResizer,
}

/// The photo's rows that an output row averages.
struct SourceRows<'a> {
    bytes: &'a [u8],
    stride: usize,
    count: usize,
    /// Of a row, in bytes.
    length: usize,
}

impl Kernel for Average<'_> {
    #[inline(always)]
    fn run<F: Float>(self) {
        let AreaResizer {
            columns,
            weights,
            strip,
            totals,
            sums,
            pixels,
            ..
        } = self.resizer;
        let length = self.rows.length;
        strip.resize(length, 0);
        totals.clear();
        totals.resize(length + 1, 0);
        sums.resize(length / CHANNELS + 1, Pixel::default());
        for first in (0..self.rows.count).step_by(MAX_SHORT_ROWS) {
            let rows = first..self.rows.count.min(first + MAX_SHORT_ROWS);
            self.rows.sum(rows, strip);
            for (total, &sum) in totals.iter_mut().zip(&*strip) {
                *total += u32::from(sum);
            }
        }
        let mut running = Pixel::<u32>::default();
        for (index, sum) in sums[1..].iter_mut().enumerate() {
            let values: &Pixel<u32> = totals[index * CHANNELS..]
                .first_chunk()
                .expect("one number more than pixels");
            running = std::array::from_fn(|channel| running[channel].wrapping_add(values[channel]));
            *sum = running;
        }
        let row_weight = 1.0 / self.rows.count as f32;
        for ((pixel, &(left, right)), weight) in pixels.iter_mut().zip(&*columns).zip(&*weights) {
            let (left, right) = (sums[left as usize], sums[right as usize]);
            let weight = row_weight * weight;
            *pixel = std::array::from_fn(|channel| {
                mean(right[channel].wrapping_sub(left[channel]), weight)
            });
        }
    }
}

impl SourceRows<'_> {
    /// Sums some of the rows.
    #[inline(always)]
    fn sum(&self, rows: Range<usize>, sums: &mut [u16]) {
        let first = rows.start;
        for row in rows {
            let bytes = &self.bytes[row * self.stride..][..self.length];
            for (sum, &byte) in sums.iter_mut().zip(bytes) {
                *sum = match row == first {
                    true => u16::from(byte),
                    false => *sum + u16::from(byte),
                };
            }
        }
    }
}

/// Splits pixels into six planes.
struct Split<'a> {
    pixels: &'a [Pixel<f32>],
    out: &'a mut [f32],
    plane: usize,
}

impl Kernel for Split<'_> {
    #[inline(always)]
    fn run<F: Float>(self) {
        let blocks = self.pixels.as_chunks::<{ 2 * PAIRS }>().0;
        for (number, pixels) in blocks.iter().enumerate() {
            for plane in 0..2 * CHANNELS {
                let (channel, parity) = (plane / 2, plane % 2);
                let values: [f32; PAIRS] =
                    std::array::from_fn(|pair| pixels[2 * pair + parity][channel]);
                self.out[plane * self.plane + number * PAIRS..][..PAIRS].copy_from_slice(&values);
            }
        }
    }
}

/// Returns an output value from a sum of pixels and one over 128 times their number.
#[inline(always)]
fn mean(sum: u32, weight: f32) -> f32 {
    // A sum is less than 2^31, and signed numbers convert faster.
    sum as i32 as f32 * weight - 127.5 * 0.007_812_5
}

/// Returns a copy of the photo with each side divided by `factor`: the means of `factor` x `factor` pixels. Left-over
/// pixels at the right and lower edge are dropped.
pub fn shrink(photo: &Photo, factor: usize) -> Photo {
    let (width, height) = (
        (photo.width() / factor).max(1),
        (photo.height() / factor).max(1),
    );
    let (cell_width, cell_height) = (factor.min(photo.width()), factor.min(photo.height()));
    let pixels_in_cell = (cell_width * cell_height) as u32;
    let mut sums = vec![0u32; width * CHANNELS];
    let mut pixels = Vec::with_capacity(width * height * CHANNELS);
    for y in 0..height {
        sums.fill(0);
        for row in y * cell_height..(y + 1) * cell_height {
            let row =
                &photo.pixels()[row * photo.width() * CHANNELS..][..width * cell_width * CHANNELS];
            for (cell, sum) in row
                .chunks_exact(cell_width * CHANNELS)
                .zip(sums.chunks_exact_mut(CHANNELS))
            {
                for pixel in cell.chunks_exact(CHANNELS) {
                    for (total, &value) in sum.iter_mut().zip(pixel) {
                        *total += u32::from(value);
                    }
                }
            }
        }
        pixels.extend(
            sums.iter()
                .map(|sum| ((sum + pixels_in_cell / 2) / pixels_in_cell) as u8),
        );
    }
    Photo::new(width, height, pixels)
}

/// Returns the first of the pixels that output `index` of `outputs` averages, and their end.
fn cell(index: usize, inputs: usize, outputs: usize) -> (usize, usize) {
    (
        index * inputs / outputs,
        ((index + 1) * inputs).div_ceil(outputs),
    )
}
