//! One chart: where its parts stand, and how they are drawn.

use std::fmt::Write;

use super::axis::Ruler;
use super::path::{Point, polyline, runs, stairs};
use super::reference::{Rect, place};
use super::text::{LINE, SIZE, TextCursor, width, wrapped, write_text};
use super::{Chart, Series, Shape, Side, style};

/// Between the edge and what is inside.
const PAD: f64 = 14.0;
/// The sample of a series in the legend, with the space behind it.
const SAMPLE: f64 = 22.0;
/// From the names of the vertical axes to the plot, of which half is for the upper half of a tick's text.
const ABOVE_PLOT: f64 = 12.0;
/// From the plot to the text of ticks.
const TICK: f64 = 5.0;

/// A chart with its measures.
pub(super) struct Panel<'a> {
    pub chart: &'a Chart,
    /// What stands above the plot takes this height.
    pub head: f64,
    width: f64,
    plot: (f64, f64),
    /// From the left edge to the plot.
    margin: f64,
    has_legend: bool,
    x: Ruler,
    left: Ruler,
    right: Option<Ruler>,
}

impl<'a> Panel<'a> {
    /// Measures a chart of this width whose plot has this height.
    pub(super) fn new(chart: &'a Chart, size: (f64, f64), has_legend: bool) -> Self {
        let (width, height) = size;
        let vertical = |axis, side| {
            let series = chart.series.iter().filter(move |it| it.side == side);
            let lines = chart.lines.iter().filter(move |it| it.side == side);
            let values = series.flat_map(|it| it.points.iter().map(|point| point.1));
            let values = values.chain(lines.map(|line| line.value));
            Ruler::new(axis, values, true, (height / 42.0) as usize)
        };
        let left = vertical(&chart.left, Side::Left);
        let right = chart.right.as_ref().map(|axis| vertical(axis, Side::Right));
        let margin = PAD + ticks_width(&left) + TICK + 2.0;
        // The last tick's text may stand half beyond the plot.
        let beside = right
            .as_ref()
            .map_or(6.0, |it| ticks_width(it) + TICK + 2.0);
        let mut plot = (width - margin - PAD - beside, height);
        let x = horizontal(chart, plot.0);
        if let Some(last) = x.ticks.last() {
            let end =
                x.share(last.value).unwrap_or(1.0) * plot.0 + self::width(&last.text, SIZE) / 2.0;
            plot.0 -= (end - plot.0 - beside - PAD / 2.0).max(0.0);
        }
        let mut panel = Self {
            chart,
            head: 0.0,
            width,
            plot,
            margin,
            has_legend,
            x,
            left,
            right,
        };
        panel.head = panel.write_head(&mut String::new()) + ABOVE_PLOT;
        panel
    }

    pub(super) fn height(&self) -> f64 {
        self.head + self.plot.1 + self.write_foot(&mut String::new())
    }

    /// Draws it with its top left corner at this point.
    pub(super) fn draw(&self, svg: &mut String, at: (f64, f64)) {
        let (width, height) = (self.width, self.height());
        let _ = match at {
            (0.0, 0.0) => write!(svg, "<g>"),
            (x, y) => write!(svg, "<g transform=\"translate({x:.0} {y:.0})\">"),
        };
        let _ = write!(
            svg,
            "<rect class=\"paper\" width=\"{width:.0}\" height=\"{height:.0}\"/>"
        );
        self.write_head(svg);
        let (left, top) = (self.margin, self.head);
        let _ = write!(svg, "<g transform=\"translate({left:.1} {top:.0})\">");
        self.write_axes(svg);
        // Lines and dots at the edge of the plot are drawn in full.
        let (wide, high) = (self.plot.0 + 10.0, self.plot.1 + 10.0);
        let _ = write!(
            svg,
            "<svg x=\"-5\" y=\"-5\" width=\"{wide:.1}\" height=\"{high:.0}\" viewBox=\"-5 -5 {wide:.1} {high:.0}\">"
        );
        let drawn = self.write_series(svg);
        *svg += "</svg>";
        self.write_references(svg, &drawn);
        if drawn.is_empty() {
            let middle = (self.plot.0 / 2.0, self.plot.1 / 2.0);
            write_text(svg, "soft middle", middle, "no data");
        }
        let _ = write!(
            svg,
            "</g><g transform=\"translate(0 {:.0})\">",
            top + self.plot.1
        );
        self.write_foot(svg);
        *svg += "</g></g>";
    }

    /// Writes title, legend and the names of the vertical axes; returns their height.
    fn write_head(&self, svg: &mut String) -> f64 {
        let inner = self.width - 2.0 * PAD;
        let mut cursor = TextCursor { x: PAD, y: PAD };
        cursor.paragraph(svg, "title", &self.chart.title, inner);
        if self.has_legend && !self.chart.series.is_empty() {
            cursor.y += 4.0;
            cursor.y += legend(svg, self.chart, (cursor.x, cursor.y), inner);
        }
        cursor.y += 6.0;
        let most = match self.right {
            Some(_) => inner / 2.0 - PAD,
            None => inner,
        };
        let left = wrapped(&self.left.title, SIZE, most);
        let right = self.right.as_ref().map(|it| wrapped(&it.title, SIZE, most));
        let right = right.unwrap_or_default();
        let lines = left.len().max(right.len());
        // Names stand directly above their axes.
        for (texts, class, x) in [(left, "soft", PAD), (right, "soft end", self.width - PAD)] {
            for (line, text) in texts.iter().enumerate() {
                let above = (lines - texts.len() + line) as f64;
                write_text(svg, class, (x, cursor.y + LINE * (above + 0.75)), text);
            }
        }
        cursor.y + LINE * lines as f64
    }

    /// Writes the ticks' texts of the horizontal axis, its name and the caption; returns their height.
    fn write_foot(&self, svg: &mut String) -> f64 {
        let mut y = TICK + SIZE;
        for tick in &self.x.ticks {
            let share = self.x.share(tick.value).unwrap_or(0.0);
            let x = self.margin + share * self.plot.0;
            write_text(svg, "soft middle number", (x, y), &tick.text);
        }
        y += 3.0;
        let middle = self.margin + self.plot.0 / 2.0;
        let most = 2.0 * (middle - PAD).min(self.width - PAD - middle);
        for line in wrapped(&self.x.title, SIZE, most) {
            y += LINE;
            write_text(svg, "soft middle", (middle, y), &line);
        }
        let mut cursor = TextCursor {
            x: PAD,
            y: y + 10.0,
        };
        cursor.paragraph(svg, "", &self.chart.caption, self.width - 2.0 * PAD);
        cursor.y + PAD / 2.0
    }

    fn write_axes(&self, svg: &mut String) {
        let (wide, high) = self.plot;
        let mut grid = String::new();
        for tick in &self.left.ticks {
            let Some(share) = self.left.share(tick.value) else {
                continue;
            };
            let y = (1.0 - share) * high;
            let _ = write!(grid, "M0 {y:.1}H{wide:.1}");
            let at = (-TICK - 2.0, y + SIZE * 0.35);
            write_text(svg, "soft end number", at, &tick.text);
        }
        let mut frame = format!("M0 {high}H{wide:.1}");
        if let Some(right) = &self.right {
            let _ = write!(frame, "M{wide:.1} 0V{high}");
            for tick in &right.ticks {
                let y = (1.0 - right.share(tick.value).unwrap_or(0.0)) * high;
                let _ = write!(frame, "M{wide:.1} {y:.1}h4");
                let at = (wide + TICK + 2.0, y + SIZE * 0.35);
                write_text(svg, "soft number", at, &tick.text);
            }
        }
        for tick in &self.x.ticks {
            let x = self.x.share(tick.value).unwrap_or(0.0) * wide;
            let _ = write!(frame, "M{x:.1} {high}v4");
        }
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"{grid}\"/><path class=\"axis\" d=\"{frame}\"/>"
        );
    }

    /// Draws all series; returns their lines.
    fn write_series(&self, svg: &mut String) -> Vec<Vec<Point>> {
        let mut drawn = Vec::new();
        let mut order: Vec<_> = classes(self.chart)
            .into_iter()
            .zip(&self.chart.series)
            .collect();
        // Areas and bars would cover lines.
        order.sort_by_key(|(_, series)| series.shape);
        let mut bars = BarPlaces::new(self.chart, &self.x, self.plot.0);
        for (class, series) in order {
            let runs = self.runs(series);
            let base = self.plot.1 * (1.0 - self.ruler(series.side).base());
            let mut data = String::new();
            match series.shape {
                Shape::Line => data.extend(runs.iter().map(|it| polyline(it))),
                Shape::Steps => data.extend(runs.iter().map(|it| polyline(&stairs(it)))),
                Shape::Area => data.extend(runs.iter().map(|it| filled(it, base))),
                Shape::Dots => data.extend(runs.iter().flatten().map(|it| dot(*it, &class))),
                Shape::Bars => {
                    let (offset, wide) = bars.next();
                    for (x, y) in runs.iter().flatten() {
                        let _ = write!(
                            data,
                            "M{:.1} {base:.1}V{y:.1}h{wide:.1}V{base:.1}Z",
                            x + offset
                        );
                    }
                }
            }
            if !data.is_empty() {
                let _ = write!(svg, "<path class=\"{class}\" d=\"{data}\"/>");
            }
            drawn.extend(runs.into_iter().map(|run| match series.shape {
                Shape::Steps => stairs(&run),
                _ => run,
            }));
        }
        drawn
    }

    fn write_references(&self, svg: &mut String, drawn: &[Vec<Point>]) {
        let (wide, high) = self.plot;
        let mut taken: Vec<Rect> = Vec::new();
        for line in &self.chart.lines {
            let share = self.ruler(line.side).share(line.value);
            let Some(share) = share.filter(|it| (-0.001..=1.001).contains(it)) else {
                continue;
            };
            let y = (1.0 - share) * high;
            let _ = write!(svg, "<path class=\"reference\" d=\"M0 {y:.1}H{wide:.1}\"/>");
            let label = wrapped(&line.name, SIZE, wide * 0.9);
            let rect = place(&label, y, self.plot, drawn, &taken);
            for (row, text) in label.iter().enumerate() {
                let at = (rect.right - 3.0, rect.top + LINE * (row as f64 + 0.75));
                write_text(svg, "halo end", at, text);
            }
            taken.push(rect);
        }
    }

    fn ruler(&self, side: Side) -> &Ruler {
        match (side, &self.right) {
            (Side::Right, Some(right)) => right,
            _ => &self.left,
        }
    }

    /// Returns the points of a series in pixels of the plot.
    fn runs(&self, series: &Series) -> Vec<Vec<Point>> {
        let ruler = self.ruler(series.side);
        runs(series.points.iter().map(|&(x, y)| {
            let (x, y) = (self.x.share(x)?, ruler.share(y)?);
            Some((x * self.plot.0, (1.0 - y) * self.plot.1))
        }))
    }
}

/// Chooses the horizontal axis, with as many ticks as fit without touching.
fn horizontal(chart: &Chart, wide: f64) -> Ruler {
    let mut values: Vec<f64> = chart
        .series
        .iter()
        .flat_map(|it| it.points.iter().map(|point| point.0))
        .collect();
    // Room for half a bar at both ends.
    let bars = chart.series.iter().filter(|it| it.shape == Shape::Bars);
    for series in bars {
        let half = spacing(&series.points) / 2.0;
        let ends = [series.points.first(), series.points.last()];
        let ends = ends.into_iter().flatten().map(|point| point.0);
        values.extend(ends.flat_map(|x| [x - half, x + half]));
    }
    let mut most = (wide / 50.0) as usize;
    loop {
        let ruler = Ruler::new(&chart.x, values.iter().copied(), false, most);
        let places = ruler.ticks.iter().map(|tick| {
            let middle = ruler.share(tick.value).unwrap_or(0.0) * wide;
            let half = width(&tick.text, SIZE) / 2.0;
            (middle - half, middle + half)
        });
        let places: Vec<_> = places.collect();
        if most <= 2 || places.windows(2).all(|it| it[0].1 + 12.0 <= it[1].0) {
            return ruler;
        }
        most -= 1;
    }
}

/// Returns the smallest distance between points in x; 1 for a single one.
fn spacing(points: &[(f64, f64)]) -> f64 {
    let distances = points.windows(2).map(|it| (it[1].0 - it[0].0).abs());
    let least = distances
        .filter(|it| *it > 0.0)
        .fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 1.0 }
}

/// Where bars stand around their x: those of several series side by side.
struct BarPlaces {
    wide: f64,
    next: f64,
}

impl BarPlaces {
    fn new(chart: &Chart, x: &Ruler, plot: f64) -> Self {
        let bars = chart.series.iter().filter(|it| it.shape == Shape::Bars);
        let first = bars.clone().find_map(|it| it.points.first());
        let distance = bars.clone().map(|it| spacing(&it.points));
        let distance = distance.fold(f64::INFINITY, f64::min);
        let from = first.map_or(0.0, |it| it.0);
        let pixels = match (x.share(from), x.share(from + distance)) {
            (Some(from), Some(to)) => (to - from) * plot,
            _ => 8.0,
        };
        let group = (pixels * 0.8).max(1.0);
        Self {
            wide: group / bars.count().max(1) as f64,
            next: -group / 2.0,
        }
    }

    /// Returns the offset and the width of the next series' bars.
    fn next(&mut self) -> (f64, f64) {
        let offset = self.next;
        self.next += self.wide;
        (offset, self.wide)
    }
}

fn ticks_width(ruler: &Ruler) -> f64 {
    let widths = ruler.ticks.iter().map(|tick| width(&tick.text, SIZE));
    widths.fold(0.0, f64::max)
}

fn filled(run: &[Point], base: f64) -> String {
    let ends = (run.first(), run.last());
    let (Some(first), Some(last)) = ends else {
        return String::new();
    };
    let mut outline = vec![(first.0, base)];
    outline.extend(run);
    outline.push((last.0, base));
    polyline(&outline) + "Z"
}

fn dot((x, y): Point, class: &str) -> String {
    match class {
        it if it.ends_with("dot2") => format!("M{:.1} {:.1}l3.5 -6.5l3.5 6.5Z", x - 3.5, y + 3.0),
        it if it.ends_with("dot3") => {
            format!("M{:.1} {:.1}l6 6m0 -6l-6 6", x - 3.0, y - 3.0)
        }
        _ => format!("M{x:.1} {y:.1}h0"),
    }
}

/// Returns the classes of each series: color, shape, and what tells it from others without color.
fn classes(chart: &Chart) -> Vec<String> {
    let (mut lines, mut dots) = (0, 0);
    let class = |series: &Series| {
        let color = style::class(series.color);
        let next = |count: &mut usize, kinds: usize| {
            *count += 1;
            (*count - 1) % kinds
        };
        match series.shape {
            Shape::Area => format!("{color} area"),
            Shape::Bars => format!("{color} bars"),
            Shape::Line | Shape::Steps => {
                format!("{color} line dash{}", next(&mut lines, style::DASHES))
            }
            Shape::Dots => format!("{color} dots dot{}", next(&mut dots, style::DOTS)),
        }
    };
    chart.series.iter().map(class).collect()
}

/// Writes a sample and the name of each series, in as many rows as they need; returns their height.
pub(super) fn legend(svg: &mut String, chart: &Chart, at: (f64, f64), wide: f64) -> f64 {
    const ROW: f64 = LINE + 2.0;
    let (mut x, mut y) = (0.0, 0.0);
    for (class, series) in classes(chart).into_iter().zip(&chart.series) {
        let name = match (series.side, &chart.right) {
            (Side::Right, Some(_)) => format!("{} (right axis)", series.name),
            _ => series.name.clone(),
        };
        let lines = wrapped(&name, SIZE, wide - SAMPLE);
        let widths = lines.iter().map(|line| width(line, SIZE));
        let item = SAMPLE + widths.fold(0.0, f64::max);
        if x > 0.0 && x + item > wide {
            (x, y) = (0.0, y + ROW);
        }
        let (left, middle) = (at.0 + x, at.1 + y + ROW / 2.0);
        let data = match series.shape {
            Shape::Line | Shape::Steps => format!("M{left:.1} {middle:.1}h17"),
            Shape::Area | Shape::Bars => format!("M{left:.1} {:.1}h16v10h-16Z", middle - 5.0),
            Shape::Dots => dot((left + 8.0, middle), &class),
        };
        let _ = write!(svg, "<path class=\"{class}\" d=\"{data}\"/>");
        for (row, line) in lines.iter().enumerate() {
            let below = at.1 + y + ROW * (row as f64) + ROW * 0.72;
            write_text(svg, "", (left + SAMPLE, below), line);
        }
        y += ROW * (lines.len().max(1) - 1) as f64;
        x += item + 16.0;
    }
    y + ROW
}
