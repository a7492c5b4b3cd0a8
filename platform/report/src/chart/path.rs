//! From points to paths, with as many points as can be seen.

use std::fmt::Write;

/// A point in pixels.
pub(super) type Point = (f64, f64);

/// Splits at points that cannot be shown, and thins: of the points in one column of pixels, the first, the lowest, the
/// highest and the last stay.
pub(super) fn runs(points: impl Iterator<Item = Option<Point>>) -> Vec<Vec<Point>> {
    let mut runs = vec![];
    let (mut run, mut column) = (vec![], Column::default());
    for point in points {
        match point {
            Some(point) if column.holds(point) => column.points.push(point),
            Some(point) => {
                column.empty_into(&mut run);
                column.points.push(point);
            }
            None => {
                column.empty_into(&mut run);
                if !run.is_empty() {
                    runs.push(std::mem::take(&mut run));
                }
            }
        }
    }
    column.empty_into(&mut run);
    if !run.is_empty() {
        runs.push(run);
    }
    runs
}

#[derive(Debug, Default)]
struct Column {
    points: Vec<Point>,
}

impl Column {
    fn holds(&self, point: Point) -> bool {
        let first = self.points.first();
        first.is_some_and(|first| first.0.floor() == point.0.floor())
    }

    fn empty_into(&mut self, run: &mut Vec<Point>) {
        let height = |at: &usize| self.points[*at].1;
        let all = 0..self.points.len();
        let lowest = all.clone().min_by(|a, b| height(a).total_cmp(&height(b)));
        let highest = all.max_by(|a, b| height(a).total_cmp(&height(b)));
        let mut kept = vec![0, self.points.len().saturating_sub(1)];
        kept.extend(lowest.into_iter().chain(highest));
        kept.sort_unstable();
        kept.dedup();
        run.extend(kept.into_iter().filter_map(|at| self.points.get(at)));
        self.points.clear();
    }
}

/// Returns the corners of a line that stays at a value until the next point.
pub(super) fn stairs(run: &[Point]) -> Vec<Point> {
    let mut corners: Vec<Point> = Vec::new();
    for &(x, y) in run {
        if let Some(&(_, before)) = corners.last() {
            corners.push((x, before));
        }
        corners.push((x, y));
    }
    corners
}

/// Returns straight lines through the points as path data; points on the way of a horizontal or vertical line are left out.
pub(super) fn polyline(points: &[Point]) -> String {
    let tenth = |value: f64| (value * 10.0).round() as i64;
    let mut corners: Vec<(i64, i64)> = Vec::new();
    for point in points {
        let next = (tenth(point.0), tenth(point.1));
        if corners.last() == Some(&next) {
            continue;
        }
        if let [.., before, last] = corners[..]
            && (before.1 == last.1
                && last.1 == next.1
                && (last.0 - before.0) * (next.0 - last.0) > 0
                || before.0 == last.0
                    && last.0 == next.0
                    && (last.1 - before.1) * (next.1 - last.1) > 0)
        {
            corners.pop();
        }
        corners.push(next);
    }
    let mut path = String::new();
    let mut before = None;
    for (x, y) in corners {
        let (written_x, written_y) = (Tenths(x), Tenths(y));
        let _ = match before {
            None => write!(path, "M{written_x} {written_y}"),
            Some((_, same)) if same == y => write!(path, "H{written_x}"),
            Some((same, _)) if same == x => write!(path, "V{written_y}"),
            Some(_) => write!(path, "L{written_x} {written_y}"),
        };
        before = Some((x, y));
    }
    // A line of no length is drawn as a dot.
    if points.len() == 1 || !path.contains(['H', 'V', 'L']) && !path.is_empty() {
        path += "h0";
    }
    path
}

/// Formats tenths without a zero at the end.
struct Tenths(i64);

impl std::fmt::Display for Tenths {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.abs() / 10, self.0.abs() % 10);
        match rest {
            0 => write!(formatter, "{sign}{whole}"),
            _ => write!(formatter, "{sign}{whole}.{rest}"),
        }
    }
}
