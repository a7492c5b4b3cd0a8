//! Patterns with `*` and `?`.

/// A pattern, read once for all the texts it is compared with. `*` stands for any text, `?` for any one letter, and a
/// backslash takes the next letter literally.
#[derive(Debug, Clone)]
pub struct Pattern(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Exactly(String),
    Wildcards(Vec<Piece>),
}

#[derive(Debug, Clone)]
enum Piece {
    AnyText,
    AnyLetter,
    Letter(char),
}

impl Pattern {
    pub fn of(text: &str) -> Self {
        Self(if text.contains(['*', '?', '\\']) {
            Kind::Wildcards(parse(text))
        } else {
            Kind::Exactly(text.to_owned())
        })
    }

    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Exactly(value) => value == text,
            Kind::Wildcards(pieces) => pieces_match(pieces, text),
        }
    }
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
