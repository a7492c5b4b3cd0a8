//! Charts with named axes, a legend and a caption, as SVG that follows the reader's light or dark scheme.

mod axis;
mod panel;
mod path;
mod reference;
mod style;
#[cfg(test)]
mod tests;
mod text;

use std::fmt::Write;

use panel::Panel;
use text::{LINE, TextCursor};

use crate::escaped;

/// One chart: a plot with axes, and the words around it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chart {
    pub title: String,
    /// What one sees, in a sentence or two; stands below the plot.
    pub caption: String,
    pub x: Axis,
    pub left: Axis,
    /// A second vertical axis, for series and lines with [`Side::Right`].
    pub right: Option<Axis>,
    pub series: Vec<Series>,
    pub lines: Vec<Reference>,
}

/// What an axis measures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Axis {
    pub name: String,
    /// Stands behind the name. Values in `"s"` are shown in the unit of time that fits, from microseconds to hours.
    pub unit: &'static str,
    pub scale: Scale,
    /// The least and the most that is shown. Without them, all data and, on a linear vertical axis, zero.
    pub limits: Option<(f64, f64)>,
}

/// How values are spread along an axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scale {
    #[default]
    Linear,
    /// Values up to zero are left out.
    Logarithmic,
    /// For percentiles from 0 to 100: 90, 99 and 99.9 are equally far apart. 100 is at the end.
    Nines,
}

/// Points of one kind, in the order of their x.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    pub name: String,
    /// A value that is not a number interrupts a line.
    pub points: Vec<(f64, f64)>,
    pub shape: Shape,
    pub side: Side,
    pub color: Color,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Down to the axis.
    Area,
    /// One bar a point, centered on its x.
    Bars,
    /// A value holds until the next point.
    Steps,
    #[default]
    Line,
    Dots,
}

/// The vertical axis that values belong to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Side {
    #[default]
    Left,
    Right,
}

/// The palette of Okabe and Ito, "Color universal design", 2008, adapted to the contrast that each background needs. Lines
/// differ in their dashes and dots in their form as well, in the order of the series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Color {
    #[default]
    Blue,
    /// Vermilion.
    Red,
    Green,
    Purple,
    Orange,
    Sky,
    Gray,
}

/// A dashed horizontal line with a label, for instance a target.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reference {
    pub name: String,
    pub value: f64,
    pub side: Side,
}

/// The width of a chart that stands alone, and of one in several columns, with the heights of their plots. The second is
/// as wide as still fits twice into a page of a repository without smaller letters.
const ALONE: (f64, f64) = (680.0, 260.0);
const IN_COLUMNS: (f64, f64) = (430.0, 190.0);
/// Between charts and around a sheet.
const GAP: f64 = 10.0;

impl Chart {
    /// Returns a standalone SVG document.
    #[must_use]
    pub fn svg(&self) -> String {
        let panel = Panel::new(self, ALONE, true);
        let (width, height) = (ALONE.0, panel.height());
        let mut svg = opened(
            "http://www.w3.org/2000/svg",
            (width, height),
            &self.title,
            &self.description(),
        );
        let _ = write!(svg, "<style>{}</style>", style::sheet());
        panel.draw(&mut svg, (0.0, 0.0));
        svg += "</svg>\n";
        svg
    }

    /// Returns an `svg` element for a page that has [`style`].
    pub(crate) fn element(&self, is_alone: bool) -> String {
        let size = if is_alone { ALONE } else { IN_COLUMNS };
        let panel = Panel::new(self, size, true);
        let mut svg = opened(
            "",
            (size.0, panel.height()),
            &self.title,
            &self.description(),
        );
        panel.draw(&mut svg, (0.0, 0.0));
        svg += "</svg>";
        svg
    }

    /// Returns the content in words, for readers who do not see the picture.
    fn description(&self) -> String {
        let mut words = self.caption.clone();
        let axes = [Some(&self.left), self.right.as_ref()];
        let axes: Vec<_> = axes.into_iter().flatten().map(Axis::title).collect();
        let _ = write!(words, " {} over {}", axes.join(" and "), self.x.title());
        for series in &self.series {
            let _ = write!(words, "; {}", series.name);
        }
        for line in &self.lines {
            let _ = write!(words, "; line: {}", line.name);
        }
        words.trim().to_owned()
    }

    fn has_legend_of(&self, other: &Self) -> bool {
        let key = |it: &Series| (it.name.clone(), it.shape, it.side, it.color);
        self.series.iter().map(key).eq(other.series.iter().map(key))
    }
}

impl Axis {
    /// Returns the name with the unit, where ticks do not bear it themselves.
    fn title(&self) -> String {
        match self.unit {
            "" => self.name.clone(),
            unit => format!("{} ({unit})", self.name),
        }
    }
}

/// Returns a standalone SVG document with a title, a text below it, and charts in rows of `columns`. A legend that all charts
/// share is drawn once.
#[must_use]
pub fn columns(title: &str, text: &str, charts: &[Chart], columns: usize) -> String {
    let columns = columns.clamp(1, charts.len().max(1));
    let width = (IN_COLUMNS.0 + GAP) * columns as f64 + GAP;
    let shared = charts
        .first()
        .filter(|first| charts.len() > 1 && charts.iter().all(|it| it.has_legend_of(first)));

    let mut body = String::new();
    let inner = width - 4.0 * GAP;
    let mut cursor = TextCursor {
        x: 2.0 * GAP,
        y: 2.0 * GAP,
    };
    cursor.paragraph(&mut body, "title", title, inner);
    cursor.paragraph(&mut body, "soft", text, inner);
    if let Some(first) = shared {
        cursor.y += GAP / 2.0;
        cursor.y += panel::legend(&mut body, first, (cursor.x, cursor.y), inner);
    }
    let mut y = cursor.y + GAP - LINE / 2.0;
    for row in charts.chunks(columns) {
        let mut panels: Vec<_> = row
            .iter()
            .map(|chart| Panel::new(chart, IN_COLUMNS, shared.is_none()))
            .collect();
        let head = panels.iter().map(|it| it.head).fold(0.0, f64::max);
        for (column, panel) in panels.iter_mut().enumerate() {
            panel.head = head;
            let x = GAP + (IN_COLUMNS.0 + GAP) * column as f64;
            let (title, description) = (&panel.chart.title, panel.chart.description());
            let _ = write!(
                body,
                "<g role=\"img\" aria-label=\"{0}\"><title>{0}</title><desc>{1}</desc>",
                escaped(title),
                escaped(&description)
            );
            panel.draw(&mut body, (x, y));
            body += "</g>\n";
        }
        y += panels.iter().map(Panel::height).fold(0.0, f64::max) + GAP;
    }

    let mut svg = opened("http://www.w3.org/2000/svg", (width, y), title, text).replacen(
        "role=\"img\"",
        "role=\"group\"",
        1,
    );
    let _ = write!(
        svg,
        "<style>{}</style><rect class=\"paper\" width=\"{width}\" height=\"{y:.0}\"/>",
        style::sheet()
    );
    svg += &body;
    svg += "</svg>\n";
    svg
}

pub(crate) fn style() -> String {
    style::sheet()
}

/// Returns the begin of an `svg` element with what screen readers read.
fn opened(namespace: &str, size: (f64, f64), title: &str, description: &str) -> String {
    let (width, height) = size;
    let namespace = match namespace {
        "" => String::new(),
        uri => format!(" xmlns=\"{uri}\""),
    };
    let title = escaped(title);
    format!(
        "<svg{namespace} class=\"chart\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         role=\"img\" aria-label=\"{title}\"><title>{title}</title><desc>{}</desc>",
        escaped(description)
    )
}
