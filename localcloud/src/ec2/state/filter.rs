//! Filters of the Describe calls: each names a property and the values it may have.

use super::instance::Instance;
use crate::ec2::Ec2Error;

/// One filter; an instance passes if any value matches. `*` stands for any text and `?` for any one letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub name: String,
    pub values: Vec<String>,
}

impl Filter {
    /// Whether an instance passes.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a filter that is not known.
    pub fn accepts(&self, instance: &Instance) -> Result<bool, Ec2Error> {
        let spec = &instance.spec;
        Ok(match self.name.as_str() {
            "instance-state-name" => self.matches(instance.state.name()),
            "instance-state-code" => self.matches(&instance.state.code().to_string()),
            "instance-id" => self.matches(&instance.instance_id),
            "image-id" => self.matches(&spec.image_id),
            "instance-type" => self.matches(&spec.instance_type),
            "reservation-id" => self.matches(&instance.reservation_id),
            "client-token" => self.matches(&instance.client_token),
            "key-name" => spec
                .key_name
                .as_ref()
                .is_some_and(|name| self.matches(name)),
            "subnet-id" | "network-interface.subnet-id" => {
                spec.subnet_id.as_ref().is_some_and(|id| self.matches(id))
            }
            "instance.group-id" | "group-id" => {
                spec.security_groups.iter().any(|group| self.matches(group))
            }
            "instance-lifecycle" => spec
                .market
                .lifecycle()
                .is_some_and(|lifecycle| self.matches(lifecycle)),
            "tag-key" => instance.tags.keys().any(|key| self.matches(key)),
            "tag-value" => instance.tags.values().any(|value| self.matches(value)),
            name => match name.strip_prefix("tag:") {
                Some(key) => instance
                    .tags
                    .get(key)
                    .is_some_and(|value| self.matches(value)),
                None => return Err(Ec2Error::InvalidFilter(name.to_owned())),
            },
        })
    }

    /// Whether any of the filter's values matches a text.
    pub fn matches(&self, text: &str) -> bool {
        self.values
            .iter()
            .any(|pattern| wildcard_matches(pattern, text))
    }
}

/// Matches EC2's wildcards; a backslash takes the next letter literally. Linear in practice: only the last star is
/// ever returned to.
pub fn wildcard_matches(pattern: &str, text: &str) -> bool {
    let pattern = parse(pattern);
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
