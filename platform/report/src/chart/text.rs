//! Widths and lines of text, estimated: who draws the picture chooses the font.

use std::fmt::Write;

use crate::escaped;

/// The height of a line, and the size of its letters.
pub(super) const LINE: f64 = 16.0;
pub(super) const SIZE: f64 = 12.0;
pub(super) const TITLE_LINE: f64 = 20.0;
const TITLE_SIZE: f64 = 15.0;
const UNITS: [&str; 7] = ["s", "ms", "min", "h", "kB", "MB", "GB"];

/// Returns the width of text in letters of this size, as in DejaVu Sans, which is wider than most.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let of = |character: char| match character {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' | '\u{a0}' => 0.34,
        'f' | 't' | 'r' | 'I' | '(' | ')' | '/' | '-' => 0.42,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.98,
        'A'..='Z' => 0.72,
        '\0'..='\u{2fff}' => 0.63,
        _ => 1.05,
    };
    text.chars().map(of).sum::<f64>() * size
}

/// Breaks text into lines; a word that is too long for one is broken, too.
pub(super) fn wrapped(text: &str, size: f64, most: f64) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words(text) {
        let longer = if line.is_empty() {
            word.clone()
        } else {
            format!("{line} {word}")
        };
        if width(&longer, size) <= most {
            line = longer;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for character in word.chars() {
            line.push(character);
            if width(&line, size) > most && line.chars().count() > 1 {
                line.pop();
                lines.push(std::mem::replace(&mut line, character.to_string()));
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Returns the words; a number and its unit are one, with a space that does not break.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split([' ', '\n']).filter(|it| !it.is_empty()) {
        let is_unit = UNITS.contains(&word.trim_end_matches(|it: char| it.is_ascii_punctuation()));
        match words.last_mut() {
            Some(number) if is_unit && number.ends_with(|it: char| it.is_ascii_digit()) => {
                number.push('\u{a0}');
                number.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

/// Returns the lines of a title, of the height [`TITLE_LINE`].
pub(super) fn title_lines(title: &str, most: f64) -> Vec<String> {
    // Bold letters are wider.
    wrapped(title, TITLE_SIZE * 1.08, most)
}

pub(super) fn write_text(svg: &mut String, class: &str, at: (f64, f64), text: &str) {
    let (x, y) = at;
    let class = match class {
        "" => String::new(),
        class => format!(" class=\"{class}\""),
    };
    let _ = write!(
        svg,
        "<text{class} x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
        escaped(text)
    );
}

/// The top left corner of what is written next.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextCursor {
    pub x: f64,
    pub y: f64,
}

impl TextCursor {
    /// Writes text in as many lines as it needs, of class `title` or another, and moves below them.
    pub(super) fn paragraph(&mut self, svg: &mut String, class: &str, text: &str, most: f64) {
        let (lines, height) = match class {
            "title" => (title_lines(text, most), TITLE_LINE),
            _ => (wrapped(text, SIZE, most), LINE),
        };
        for line in lines {
            write_text(svg, class, (self.x, self.y + height * 0.75), &line);
            self.y += height;
        }
    }
}
