//! Crops a face from a photo, bit for bit as facenet-pytorch's `extract_face` does with Pillow: the box truncated to
//! whole pixels, then `resize((160, 160), BILINEAR)`. Galleries and thresholds in use were made with it. Other resamplers
//! shift the embedding: plain bilinear by 0.01, bicubic by 0.06, area by 0.07.

use photo::Photo;

use super::geometry::BoundingBox;
use crate::kernels::area::PixelRect;

const CHANNELS: usize = 3;

/// Pillow computes with integer weights of this many fraction bits (`Resample.c`).
const PRECISION_BITS: u32 = 22;

/// A face, `size` x `size` pixels, rows of red, green, blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaceCrop {
    pub size: usize,
    pub pixels: Vec<u8>,
}

/// Crops the box from the photo and resizes it to `size` x `size`. `margin` is the number of pixels in the result around
/// the box, both sides together.
pub fn crop_face(photo: &Photo, face: &BoundingBox, size: usize, margin: usize) -> FaceCrop {
    let rect = pixel_rect(photo, face, size, margin);
    FaceCrop {
        size,
        pixels: resize_bilinear(photo, rect, size, size),
    }
}

/// Returns the whole pixels that the crop covers: at least one, even if the box lies outside the photo.
pub fn pixel_rect(photo: &Photo, face: &BoundingBox, size: usize, margin: usize) -> PixelRect {
    let share = margin as f32 / (size - margin) as f32 / 2.0;
    let (margin_x, margin_y) = (face.width() * share, face.height() * share);
    let span = |start: f32, end: f32, limit: usize| {
        // The cast truncates, and NaN becomes 0.
        let start = (start.max(0.0) as usize).min(limit - 1);
        (start, (end.max(0.0) as usize).clamp(start + 1, limit))
    };
    let (left, right) = span(face.left - margin_x, face.right + margin_x, photo.width());
    let (top, bottom) = span(face.top - margin_y, face.bottom + margin_y, photo.height());
    PixelRect {
        left,
        top,
        right,
        bottom,
    }
}

/// Resizes with Pillow's antialiased bilinear filter: one axis after the other, each rounded to 8 bits.
pub fn resize_bilinear(
    photo: &Photo,
    rect: PixelRect,
    out_width: usize,
    out_height: usize,
) -> Vec<u8> {
    let (width, height) = (rect.right - rect.left, rect.bottom - rect.top);
    let (across, down) = (filter(width, out_width), filter(height, out_height));
    let row = |y: usize| {
        &photo.pixels()[(y * photo.width() + rect.left) * CHANNELS..][..width * CHANNELS]
    };
    let pixels: Vec<u8> = (rect.top..rect.bottom).flat_map(row).copied().collect();
    if vertical_first((width, height), (out_width, out_height)) {
        resize_rows(&resize_columns(&pixels, width, &down), width, &across)
    } else {
        resize_columns(&resize_rows(&pixels, width, &across), out_width, &down)
    }
}

/// Returns whether Pillow 13.0 begins with the columns, which shows in the last bit. The rule was found by trying sizes.
/// Earlier versions always begin with the rows, which shifts an embedding by up to 0.01.
fn vertical_first(
    (width, height): (usize, usize),
    (out_width, out_height): (usize, usize),
) -> bool {
    height.saturating_sub(out_height) > 2 * width.saturating_sub(out_width)
}

fn resize_rows(pixels: &[u8], width: usize, filter: &[Tap]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pixels.len() / width * filter.len());
    for row in pixels.chunks_exact(width * CHANNELS) {
        for tap in filter {
            let mut sums = [ROUND; CHANNELS];
            for (pixel, weight) in row[tap.start * CHANNELS..]
                .chunks_exact(CHANNELS)
                .zip(&tap.weights)
            {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
            out.extend(sums.map(to_byte));
        }
    }
    out
}

fn resize_columns(pixels: &[u8], width: usize, filter: &[Tap]) -> Vec<u8> {
    let row_length = width * CHANNELS;
    let mut out = Vec::with_capacity(filter.len() * row_length);
    let mut sums = vec![ROUND; row_length];
    for tap in filter {
        sums.fill(ROUND);
        for (row, weight) in pixels[tap.start * row_length..]
            .chunks_exact(row_length)
            .zip(&tap.weights)
        {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        out.extend(sums.iter().copied().map(to_byte));
    }
    out
}

const ROUND: i32 = 1 << (PRECISION_BITS - 1);

/// One output pixel: the weighted sum of the inputs from `start` on.
struct Tap {
    start: usize,
    weights: Vec<i32>,
}

fn filter(inputs: usize, outputs: usize) -> Vec<Tap> {
    let scale = inputs as f64 / outputs as f64;
    // Shrinking widens the triangle, so that no input pixel is skipped.
    let reach = scale.max(1.0);
    (0..outputs)
        .map(|output| {
            let center = (output as f64 + 0.5) * scale;
            let start = (center - reach + 0.5).max(0.0) as usize;
            let end = ((center + reach + 0.5) as usize).min(inputs);
            let triangle =
                |input: usize| (1.0 - ((input as f64 - center + 0.5) / reach).abs()).max(0.0);
            let raw: Vec<f64> = (start..end).map(triangle).collect();
            let total: f64 = raw.iter().sum();
            let fixed =
                |weight: f64| (weight / total * f64::from(1u32 << PRECISION_BITS) + 0.5) as i32;
            Tap {
                start,
                weights: raw.into_iter().map(fixed).collect(),
            }
        })
        .collect()
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}
