//! Resizing by area: every output value is the mean of the pixels that its cell touches, as in torch's
//! `interpolate(mode="area")` (`adaptive_avg_pool2d`), which facenet-pytorch's detector uses for all its inputs.

use super::decode::Photo;

const CHANNELS: usize = 3;

/// Sums over every rectangle from the top left corner (F. C. Crow, "Summed-area tables for texture mapping", 1984), so
/// that a cell costs four reads a channel whatever its size.
///
/// The sums wrap around at 2^32; a difference of two is right all the same, since no cell holds 16 million pixels.
#[derive(Debug)]
pub struct AreaTable {
    width: usize,
    height: usize,
    sums: Vec<u32>,
}

/// A rectangle of whole pixels, from `left`, `top` up to but without `right`, `bottom`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelRect {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

impl AreaTable {
    pub fn new(photo: &Photo) -> Self {
        let (width, height) = (photo.width(), photo.height());
        let stride = (width + 1) * CHANNELS;
        let mut sums = vec![0u32; stride * (height + 1)];
        for (y, row) in photo.pixels().chunks_exact(width * CHANNELS).enumerate() {
            let (above, below) = sums[y * stride..(y + 2) * stride].split_at_mut(stride);
            let mut running = [0u32; CHANNELS];
            let cells = above[CHANNELS..].as_chunks::<CHANNELS>().0.iter();
            let targets = below[CHANNELS..].as_chunks_mut::<CHANNELS>().0.iter_mut();
            for ((pixel, above), target) in
                row.as_chunks::<CHANNELS>().0.iter().zip(cells).zip(targets)
            {
                for channel in 0..CHANNELS {
                    running[channel] = running[channel].wrapping_add(u32::from(pixel[channel]));
                    target[channel] = running[channel].wrapping_add(above[channel]);
                }
            }
        }
        Self {
            width,
            height,
            sums,
        }
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    pub fn whole(&self) -> PixelRect {
        PixelRect {
            left: 0,
            top: 0,
            right: self.width,
            bottom: self.height,
        }
    }

    /// Appends `rect` resized to `out_width` x `out_height`, in rows of red, green, blue, each value
    /// (mean - 127.5) / 128: what the detector's networks read.
    pub fn resize_normalised(
        &self,
        rect: PixelRect,
        out_width: usize,
        out_height: usize,
        out: &mut Vec<f32>,
    ) {
        let stride = (self.width + 1) * CHANNELS;
        let columns: Vec<(usize, usize)> = (0..out_width)
            .map(|x| cell(x, rect.right - rect.left, out_width))
            .map(|(start, end)| ((rect.left + start) * CHANNELS, (rect.left + end) * CHANNELS))
            .collect();
        out.reserve(out_width * out_height * CHANNELS);
        for y in 0..out_height {
            let (start, end) = cell(y, rect.bottom - rect.top, out_height);
            let upper = &self.sums[(rect.top + start) * stride..][..stride];
            let lower = &self.sums[(rect.top + end) * stride..][..stride];
            for &(left, right) in &columns {
                let pixels = (end - start) * (right - left) / CHANNELS;
                let weight = 1.0 / pixels as f32;
                let corners = [
                    &lower[right..],
                    &lower[left..],
                    &upper[right..],
                    &upper[left..],
                ];
                let [low_right, low_left, up_right, up_left] = corners.map(|row| &row[..CHANNELS]);
                out.extend((0..CHANNELS).map(|channel| {
                    let lower_part = low_right[channel].wrapping_sub(low_left[channel]);
                    let sum =
                        lower_part.wrapping_sub(up_right[channel].wrapping_sub(up_left[channel]));
                    (sum as f32 * weight - 127.5) * 0.007_812_5
                }));
            }
        }
    }
}

/// A copy of the photo with each side divided by `factor`, by the mean over `factor` x `factor` pixels; the pixels left
/// over at the right and lower edge are dropped.
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

/// The pixels that output `index` of `outputs` averages over: from the first up to but without the second.
fn cell(index: usize, inputs: usize, outputs: usize) -> (usize, usize) {
    (
        index * inputs / outputs,
        ((index + 1) * inputs).div_ceil(outputs),
    )
}
