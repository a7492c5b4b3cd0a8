//! Charts as SVG, and reports as HTML pages that need no other file.
//!
//! Own code instead of the crate plotters: that one sets colors as attributes, so a picture cannot follow the reader's light
//! or dark scheme, and it brings rasters, fonts and backends.
//!
//! - [`chart`]: charts with axes, legend and caption, as SVG
//! - [`html`]: a page of headings, text, tables and charts

pub mod chart;
pub mod html;

/// Returns text that is safe between tags and in quoted attributes, of XML and HTML. Characters that XML forbids become
/// U+FFFD.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            '\t' | '\n' | '\r' => safe.push(character),
            '\0'..' ' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            _ => safe.push(character),
        }
    }
    safe
}
