//! Filters of the Describe calls: each names a property and the values it may have.

use crate::ec2::Ec2Error;

/// One filter; a resource passes if any value matches. `*` stands for any text and `?` for any one letter.
#[derive(Debug, Clone)]
pub struct Filter {
    pub name: String,
    values: Vec<Pattern>,
}

/// A value, read once for all the resources it is compared with.
#[derive(Debug, Clone)]
enum Pattern {
    Exactly(String),
    Wildcards(Vec<Piece>),
}

/// Checks that a call knows all these filters. `known` may hold names and, ending in `*`, the beginnings of names.
///
/// # Errors
/// `InvalidParameterValue` for one that it does not know.
pub fn check_filters(filters: &[Filter], known: &[&str]) -> Result<(), Ec2Error> {
    let is_known = |name: &str| {
        known.iter().any(|known| match known.strip_suffix('*') {
            Some(beginning) => name.len() > beginning.len() && name.starts_with(beginning),
            None => name == *known,
        })
    };
    match filters.iter().find(|filter| !is_known(&filter.name)) {
        Some(unknown) => Err(Ec2Error::InvalidFilter(unknown.name.clone())),
        None => Ok(()),
    }
}

impl Filter {
    pub fn new(name: &str, values: &[String]) -> Self {
        Self {
            name: name.to_owned(),
            values: values.iter().map(|value| Pattern::of(value)).collect(),
        }
    }

    /// Whether any of the filter's values matches a text.
    pub fn matches(&self, text: &str) -> bool {
        self.values.iter().any(|pattern| pattern.matches(text))
    }

    /// Whether the filter is `tag:KEY`, `tag-key` or `tag-value`, and these tags pass; `None` if it is another filter.
    pub fn accepts_tags<'a>(
        &self,
        tags: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Option<bool> {
        let mut tags = tags.into_iter();
        match self.name.as_str() {
            "tag-key" => Some(tags.any(|(key, _)| self.matches(key))),
            "tag-value" => Some(tags.any(|(_, value)| self.matches(value))),
            name => {
                let wanted = name.strip_prefix("tag:")?;
                Some(tags.any(|(key, value)| key == wanted && self.matches(value)))
            }
        }
    }
}

impl Pattern {
    fn of(value: &str) -> Self {
        if value.contains(['*', '?', '\\']) {
            Self::Wildcards(parse(value))
        } else {
            Self::Exactly(value.to_owned())
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exactly(value) => value == text,
            Self::Wildcards(pieces) => pieces_match(pieces, text),
        }
    }
}

/// Matches EC2's wildcards; a backslash takes the next letter literally.
pub fn wildcard_matches(pattern: &str, text: &str) -> bool {
    pieces_match(&parse(pattern), text)
}

/// Linear in practice: only the last star is ever returned to.
fn pieces_match(pattern: &[Piece], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(Piece::AnyText) => {
                last_star = Some((at_pattern, at_text));
                at_pattern += 1;
            }
            Some(Piece::AnyLetter) => {
                at_pattern += 1;
                at_text += 1;
            }
            Some(Piece::Letter(letter)) if *letter == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => {
                let Some((star, covered)) = last_star else {
                    return false;
                };
                last_star = Some((star, covered + 1));
                at_pattern = star + 1;
                at_text = covered + 1;
            }
        }
    }
    pattern[at_pattern..]
        .iter()
        .all(|piece| matches!(piece, Piece::AnyText))
}

#[derive(Debug, Clone)]
enum Piece {
    AnyText,
    AnyLetter,
    Letter(char),
}

fn parse(pattern: &str) -> Vec<Piece> {
    let mut letters = pattern.chars();
    let mut pieces = Vec::with_capacity(pattern.len());
    while let Some(letter) = letters.next() {
        pieces.push(match letter {
            '*' => Piece::AnyText,
            '?' => Piece::AnyLetter,
            '\\' => Piece::Letter(letters.next().unwrap_or('\\')),
            letter => Piece::Letter(letter),
        });
    }
    pieces
}
