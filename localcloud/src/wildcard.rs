//! Patterns with `*` and `?`.

/// A pattern, parsed once. `*` matches any text, `?` any one character, and a backslash makes the next one literal.
#[derive(Debug, Clone)]
pub struct Pattern(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Exactly(String),
    Wildcards(Vec<Token>),
}

#[derive(Debug, Clone)]
enum Token {
    AnyText,
    AnyChar,
    Literal(char),
}

impl Pattern {
    pub fn new(text: &str) -> Self {
        Self(if text.contains(['*', '?', '\\']) {
            Kind::Wildcards(parse(text))
        } else {
            Kind::Exactly(text.to_owned())
        })
    }

    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Exactly(value) => value == text,
            Kind::Wildcards(tokens) => tokens_match(tokens, text),
        }
    }
}

/// Linear in practice: it backtracks to the last star only.
fn tokens_match(pattern: &[Token], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(Token::AnyText) => {
                last_star = Some((at_pattern, at_text));
                at_pattern += 1;
            }
            Some(Token::AnyChar) => {
                at_pattern += 1;
                at_text += 1;
            }
            Some(Token::Literal(letter)) if *letter == text[at_text] => {
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
        .all(|token| matches!(token, Token::AnyText))
}

fn parse(pattern: &str) -> Vec<Token> {
    let mut letters = pattern.chars();
    let mut tokens = Vec::with_capacity(pattern.len());
    while let Some(letter) = letters.next() {
        tokens.push(match letter {
            '*' => Token::AnyText,
            '?' => Token::AnyChar,
            '\\' => Token::Literal(letters.next().unwrap_or('\\')),
            letter => Token::Literal(letter),
        });
    }
    tokens
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("app-tier-instance*", "app-tier-instance-7", true),
            ("app-tier-instance*", "app-tier-instance", true),
            ("app-tier-instance*", "my-app-tier-instance-7", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("?", "é", true),
            ("*b*d", "abcbcd", true),
            ("*b*d", "abcbc", false),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
            ("Web", "web", false),
        ] {
            let matched = Pattern::new(pattern).matches(text);
            assert_eq!(matched, expected, "{pattern:?} on {text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The matcher agrees with the definition, which tries every split.
        #[test]
        fn wildcards_match_as_defined(pattern in "[ab*?]{0,7}", text in "[abc]{0,8}") {
            fn defined(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, None) => true,
                    (Some((b'*', rest)), _) => (0..=text.len()).any(|skipped| defined(rest, &text[skipped..])),
                    (Some((b'?', rest)), Some((_, text))) => defined(rest, text),
                    (Some((letter, rest)), Some((first, text))) => letter == first && defined(rest, text),
                    _ => false,
                }
            }
            prop_assert_eq!(Pattern::new(&pattern).matches(&text), defined(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
