//! Filter patterns.
//!
//! Source: "Filter pattern syntax",
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>. Of it, localcloud has terms and
//! comparisons of JSON fields without parentheses; it refuses regular expressions and patterns of space-delimited fields.

mod json;

use super::input::invalid;
use crate::common_error::CommonError;
use json::JsonPattern;

/// What an event's message must be like.
#[derive(Debug)]
pub enum FilterPattern {
    Terms(Terms),
    Json(JsonPattern),
}

/// Texts that a message must have or must not have. Upper and lower case differ.
#[derive(Debug, Default)]
pub struct Terms {
    all: Vec<String>,
    /// At least one of them, if there are no other terms to have.
    any: Vec<String>,
    none: Vec<String>,
}

impl FilterPattern {
    /// Parses a pattern. An empty one matches everything.
    ///
    /// # Errors
    /// `InvalidParameterException`.
    pub fn of(pattern: &str) -> Result<Self, CommonError> {
        let pattern = pattern.trim();
        if pattern.len() > 1024 {
            return Err(invalid("The filter pattern has more than 1024 characters."));
        }
        match pattern.chars().next() {
            Some('{') => Ok(Self::Json(JsonPattern::of(pattern)?)),
            Some('[') => Err(invalid(
                "Invalid filter pattern: localcloud has no patterns of space-delimited fields. Use terms or JSON.",
            )),
            Some('%') => Err(invalid(
                "Invalid filter pattern: localcloud has no regular expressions. Use terms or JSON.",
            )),
            _ => Ok(Self::Terms(terms(pattern)?)),
        }
    }

    pub fn matches(&self, message: &str) -> bool {
        match self {
            Self::Terms(terms) => terms.matches(message),
            Self::Json(pattern) => serde_json::from_str(message)
                .is_ok_and(|message: serde_json::Value| pattern.matches(&message)),
        }
    }
}

impl Terms {
    fn matches(&self, message: &str) -> bool {
        let has = |term: &String| message.contains(term.as_str());
        let has_any = self.any.is_empty() || !self.all.is_empty() || self.any.iter().any(has);
        self.all.iter().all(has) && has_any && !self.none.iter().any(has)
    }
}

fn terms(pattern: &str) -> Result<Terms, CommonError> {
    let mut terms = Terms::default();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let (list, term) = match first {
            '?' => (&mut terms.any, &rest[1..]),
            '-' => (&mut terms.none, &rest[1..]),
            _ => (&mut terms.all, rest),
        };
        let (text, after) = match term.strip_prefix('"') {
            Some(quoted) => quoted_text(quoted)?,
            None => {
                let end = term.find(char::is_whitespace).unwrap_or(term.len());
                let word = &term[..end];
                let is_word = |it: char| it.is_alphanumeric() || it == '_';
                if word.is_empty() || !word.chars().all(is_word) {
                    return Err(invalid(format!(
                        "Invalid filter pattern: invalid character(s) in term '{word}'. Put it into double quotes."
                    )));
                }
                (word.to_owned(), &term[end..])
            }
        };
        list.push(text);
        rest = after.trim_start();
    }
    Ok(terms)
}

/// Returns the text up to the closing quotation mark, and what follows. A backslash makes the next character literal.
fn quoted_text(text: &str) -> Result<(String, &str), CommonError> {
    let mut quoted = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((quoted, &text[at + 1..])),
            '\\' => quoted.extend(letters.next().map(|(_, letter)| letter)),
            letter => quoted.push(letter),
        }
    }
    Err(invalid(
        "Invalid filter pattern: a quotation mark is not closed.",
    ))
}
