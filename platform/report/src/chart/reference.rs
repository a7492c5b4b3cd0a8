//! Where the labels of reference lines stand: away from data and from each other.

use super::path::Point;
use super::text::{LINE, SIZE, width};

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rect {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Rect {
    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    /// Returns whether a straight line touches it, by clipping the line at each edge (Liang and Barsky, 1984).
    fn is_crossed(&self, from: Point, to: Point) -> bool {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let (mut enters, mut leaves) = (0.0_f64, 1.0_f64);
        for (step, room) in [
            (-dx, from.0 - self.left),
            (dx, self.right - from.0),
            (-dy, from.1 - self.top),
            (dy, self.bottom - from.1),
        ] {
            if step == 0.0 {
                if room < 0.0 {
                    return false;
                }
            } else if step < 0.0 {
                enters = enters.max(room / step);
            } else {
                leaves = leaves.min(room / step);
            }
        }
        enters <= leaves
    }
}

/// How many places along a line are tried.
const PLACES: u32 = 24;

/// Returns the place for the label of a line at height `y` in a plot of this size: the one that covers the least of what is
/// drawn, preferably above the line and to the right.
pub(super) fn place(
    label: &[String],
    y: f64,
    size: (f64, f64),
    drawn: &[Vec<Point>],
    taken: &[Rect],
) -> Rect {
    let widths = label.iter().map(|line| width(line, SIZE));
    let wide = (widths.fold(0.0, f64::max) + 6.0).min(size.0);
    let high = LINE * label.len() as f64;
    let mut best = None;
    for top in [y - high - 1.0, y + 2.0] {
        for place in 0..=PLACES {
            let left = (size.0 - wide) * f64::from(PLACES - place) / f64::from(PLACES);
            let rect = Rect {
                left,
                top,
                right: left + wide,
                bottom: top + high,
            };
            let is_outside = rect.top < 0.0 || rect.bottom > size.1;
            let overlaps = taken.iter().filter(|it| it.overlaps(&rect)).count();
            let crossed = drawn
                .iter()
                .flat_map(|line| line.windows(2))
                .filter(|it| rect.is_crossed(it[0], it[1]))
                .count();
            let cost = usize::from(is_outside) * 1_000_000 + overlaps * 10_000 + crossed;
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, rect));
            }
        }
    }
    best.map_or(
        Rect {
            left: 0.0,
            top: y,
            right: wide,
            bottom: y + high,
        },
        |(_, rect)| rect,
    )
}
