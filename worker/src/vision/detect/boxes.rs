//! Arithmetic on candidate boxes, step for step that of facenet-pytorch's `utils/detect_face.py`, in f32.

use crate::kernels::area::PixelRect;
use crate::vision::geometry::BoundingBox;

/// A box in the cascade.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CandidateBox {
    pub bounding_box: BoundingBox,
    pub score: f32,
    pub regression: [f32; 4],
    pub landmarks: [f32; 10],
}

/// How the overlap of two boxes is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Intersection over union, with exclusive right and lower edges.
    Union,
    /// Intersection over the smaller box, with inclusive right and lower edges.
    SmallerInclusive,
}

/// Non-maximum suppression compares each box with all kept ones, so it takes the best boxes only. A crowd proposes some
/// thousands; more come from photos that are made to overload the worker.
const MAX_COMPARED: usize = 10_000;

/// Non-maximum suppression: returns the best box first, and each later one that overlaps no kept one by more than
/// `threshold`.
pub fn suppress(
    mut candidates: Vec<CandidateBox>,
    threshold: f32,
    overlap: Overlap,
) -> Vec<CandidateBox> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(MAX_COMPARED);
    let mut kept: Vec<CandidateBox> = Vec::new();
    for candidate in candidates {
        let covered = |better: &CandidateBox| {
            shared(&better.bounding_box, &candidate.bounding_box, overlap) > threshold
        };
        if !kept.iter().any(covered) {
            kept.push(candidate);
        }
    }
    kept
}

fn shared(a: &BoundingBox, b: &BoundingBox, overlap: Overlap) -> f32 {
    let edge = if overlap == Overlap::SmallerInclusive {
        1.0
    } else {
        0.0
    };
    let width = (a.right.min(b.right) - a.left.max(b.left) + edge).max(0.0);
    let height = (a.bottom.min(b.bottom) - a.top.max(b.top) + edge).max(0.0);
    let intersection = width * height;
    let area = |area: &BoundingBox| (area.width() + edge) * (area.height() + edge);
    match overlap {
        Overlap::Union => intersection / (area(a) + area(b) - intersection),
        Overlap::SmallerInclusive => intersection / area(a).min(area(b)),
    }
}

/// Moves the edges by the network's regression. R-Net and O-Net count both ends of a side (`inclusive`).
pub fn regress(bounding_box: &BoundingBox, regression: &[f32; 4], inclusive: bool) -> BoundingBox {
    let edge = if inclusive { 1.0 } else { 0.0 };
    let (width, height) = (bounding_box.width() + edge, bounding_box.height() + edge);
    BoundingBox {
        left: bounding_box.left + regression[0] * width,
        top: bounding_box.top + regression[1] * height,
        right: bounding_box.right + regression[2] * width,
        bottom: bounding_box.bottom + regression[3] * height,
    }
}

/// Returns the square with the same center and the longer side.
pub fn square(bounding_box: &BoundingBox) -> BoundingBox {
    let (width, height) = (bounding_box.width(), bounding_box.height());
    let side = width.max(height);
    let left = bounding_box.left + width * 0.5 - side * 0.5;
    let top = bounding_box.top + height * 0.5 - side * 0.5;
    BoundingBox {
        left,
        top,
        right: left + side,
        bottom: top + side,
    }
}

/// Returns the photo's pixels that a candidate covers, or `None` outside the photo. The reference counts from 1 and
/// includes both ends: a box from 5 to 9 covers the pixels 4 to 8.
pub fn covered_pixels(
    bounding_box: &BoundingBox,
    width: usize,
    height: usize,
) -> Option<PixelRect> {
    let span = |start: f32, end: f32, limit: usize| {
        let start = (start as i64).max(1) - 1;
        let end = (end as i64).min(limit as i64);
        (end > start).then_some((start as usize, end as usize))
    };
    let (left, right) = span(bounding_box.left, bounding_box.right, width)?;
    let (top, bottom) = span(bounding_box.top, bounding_box.bottom, height)?;
    Some(PixelRect {
        left,
        top,
        right,
        bottom,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No box overlaps another, and later ones are better: each would be compared with all before it.
    #[test]
    fn only_the_best_boxes_are_compared() {
        let boxes = 3 * MAX_COMPARED;
        let candidate = |index: usize| {
            let left = (20 * index) as f32;
            CandidateBox {
                bounding_box: BoundingBox {
                    left,
                    top: 0.0,
                    right: left + 10.0,
                    bottom: 10.0,
                },
                score: index as f32 / boxes as f32,
                regression: [0.0; 4],
                landmarks: [0.0; 10],
            }
        };
        let kept = suppress((0..boxes).map(candidate).collect(), 0.5, Overlap::Union);
        assert_eq!(kept.len(), MAX_COMPARED);
        assert_eq!(kept[0], candidate(boxes - 1));
        assert_eq!(kept.last(), Some(&candidate(boxes - MAX_COMPARED)));
    }
}
