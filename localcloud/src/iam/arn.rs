//! ARNs and patterns of them.

use crate::account::ACCOUNT_ID;
use crate::wildcard::Pattern;

/// A pattern of ARNs. Each of the six parts is compared by itself, so that no wildcard spans two.
#[derive(Debug, Clone)]
pub struct ArnPattern(Vec<Pattern>);

impl ArnPattern {
    /// Parses a pattern in the form of `Pattern`; `None` if it does not have six parts.
    pub fn new(pattern: &str) -> Option<Self> {
        let parts: Vec<Pattern> = parts(pattern).map(Pattern::new).collect();
        (parts.len() == 6).then_some(Self(parts))
    }

    pub fn matches(&self, arn: &str) -> bool {
        let parts: Vec<&str> = parts(arn).collect();
        parts.len() == self.0.len() && self.0.iter().zip(parts).all(|(it, part)| it.matches(part))
    }
}

fn parts(arn: &str) -> impl Iterator<Item = &str> {
    arn.splitn(6, ':')
}

/// Returns the ARN of a role or an instance profile.
pub fn iam_arn(kind: &str, name: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT_ID}:{kind}/{name}")
}
