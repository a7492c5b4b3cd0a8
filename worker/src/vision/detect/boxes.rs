//! Arithmetic on candidate boxes, step for step that of facenet-pytorch's `utils/detect_face.py`, in f32.

use crate::vision::area::PixelRect;
use crate::vision::geometry::BoundingBox;

/// A box on its way through the cascade.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub bounding_box: BoundingBox,
    pub score: f32,
    pub regression: [f32; 4],
    pub landmarks: [f32; 10],
}

/// How much two boxes have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Intersection over union, of boxes whose right and lower edge are outside.
    Union,
    /// Intersection over the smaller box, of boxes whose right and lower edge still belong to them.
    SmallerInclusive,
}

/// Non-maximum suppression compares each box with all that are kept. More boxes than these, of which the best count, come
/// from photos made to keep a processor core busy: a crowd proposes some thousands.
const MOST_COMPARED: usize = 10_000;

/// Non-maximum suppression: the best box first, each later one kept unless it overlaps a kept one by more than
/// `threshold`.
pub fn suppress(
    mut candidates: Vec<Candidate>,
    threshold: f32,
    overlap: Overlap,
) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(MOST_COMPARED);
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let covered = |better: &Candidate| {
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

/// Moves the edges by the network's regression. P-Net's counts box sizes as they are, the later networks' one more.
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

/// The square with the same centre and the longer side.
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

/// The pixels of the photo that a candidate covers; `None` if it lies outside. The reference counts from 1 and includes
/// both ends, so a box from 5 to 9 covers the pixels 4 to 8.
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

    /// Apart from each other, the later the better: each would be compared with all before it.
    #[test]
    fn of_a_mosaic_of_faces_only_the_best_are_compared() {
        let boxes = 3 * MOST_COMPARED;
        let candidate = |place: usize| {
            let left = (20 * place) as f32;
            Candidate {
                bounding_box: BoundingBox {
                    left,
                    top: 0.0,
                    right: left + 10.0,
                    bottom: 10.0,
                },
                score: place as f32 / boxes as f32,
                regression: [0.0; 4],
                landmarks: [0.0; 10],
            }
        };
        let kept = suppress((0..boxes).map(candidate).collect(), 0.5, Overlap::Union);
        assert_eq!(kept.len(), MOST_COMPARED);
        assert_eq!(kept[0], candidate(boxes - 1));
        assert_eq!(kept.last(), Some(&candidate(boxes - MOST_COMPARED)));
    }
}
