//! Colors and letters.

use std::fmt::Write;

use super::Color;

/// Class, and the color on a light and on a dark background: each with a contrast of at least 3 to 1.
pub(super) const COLORS: [(Color, &str, &str, &str); 7] = [
    (Color::Blue, "blue", "#0068a8", "#58b0f0"),
    (Color::Red, "red", "#cc4a00", "#ff8a4c"),
    (Color::Green, "green", "#00805c", "#35c79a"),
    (Color::Purple, "purple", "#a8437f", "#e597c4"),
    (Color::Orange, "orange", "#a87000", "#f0b429"),
    (Color::Sky, "sky", "#3588bb", "#9fd4f7"),
    (Color::Gray, "gray", "#6e7781", "#9aa4af"),
];

/// Classes with a property, and its value on light and on dark. `paper` fills backgrounds and surrounds letters.
const NEUTRAL: [(&str, &str, &str, &str); 7] = [
    ("paper", "fill", "#fff", "#0d1117"),
    ("text", "fill", "#1f2328", "#e6edf3"),
    ("soft", "fill", "#57606a", "#9aa4af"),
    ("grid", "stroke", "#e3e7eb", "#262c34"),
    ("axis", "stroke", "#848d97", "#6e7681"),
    ("reference", "stroke", "#1f2328", "#e6edf3"),
    ("halo", "stroke", "#fff", "#0d1117"),
];

const FORMS: &str = ".chart text{font:12px system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",Arial,sans-serif}\
.chart .title{font-size:15px;font-weight:600}\
.chart .end{text-anchor:end}.chart .middle{text-anchor:middle}\
.chart .number{font-variant-numeric:tabular-nums}\
.chart .grid,.chart .axis{fill:none;stroke-width:1;shape-rendering:crispEdges}\
.chart .reference{fill:none;stroke-width:1.2;stroke-dasharray:7 4}\
.chart .halo{stroke-width:3.5;stroke-linejoin:round;paint-order:stroke;stroke-opacity:.85}\
.chart .area{stroke:none;fill-opacity:.28}.chart .bars{stroke:none}\
.chart .line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}\
.chart .dash1{stroke-dasharray:6 3;stroke-linecap:butt}.chart .dash2{stroke-dasharray:2 2.5;stroke-linecap:butt}\
.chart .dash3{stroke-dasharray:10 3 2 3;stroke-linecap:butt}.chart .dash4{stroke-dasharray:14 4;stroke-linecap:butt}\
.chart .dots{fill:none;stroke-width:4.5;stroke-linecap:round;stroke-opacity:.75}\
.chart .dot1{stroke-linecap:square;stroke-width:4}.chart .dot2{stroke-width:1.2}.chart .dot3{stroke-width:1.6}";

/// How many kinds of dashes and of dots there are.
pub(super) const DASHES: usize = 5;
pub(super) const DOTS: usize = 4;

pub(super) fn class(color: Color) -> &'static str {
    let found = COLORS.iter().find(|(it, ..)| *it == color);
    found.map_or("gray", |(_, class, ..)| class)
}

/// Returns the rules for elements within the class `chart`. They use neither variables nor nesting, for viewers beside
/// browsers.
pub(super) fn sheet() -> String {
    let scheme = |is_dark: bool| {
        let mut rules = String::new();
        for (class, property, light, dark) in NEUTRAL {
            let selector = if class == "text" { "" } else { "." };
            let value = if is_dark { dark } else { light };
            let _ = write!(rules, ".chart {selector}{class}{{{property}:{value}}}");
        }
        for (_, class, light, dark) in COLORS {
            let value = if is_dark { dark } else { light };
            let _ = write!(rules, ".chart .{class}{{stroke:{value};fill:{value}}}");
        }
        rules
    };
    format!(
        "{}@media(prefers-color-scheme:dark){{{}}}{FORMS}",
        scheme(false),
        scheme(true)
    )
}
