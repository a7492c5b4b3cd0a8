//! One action on one resource, with the condition keys of its service.

use std::collections::BTreeMap;

use crate::account::ACCOUNT_ID;

/// What a call needs to be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Such as `s3:GetObject`.
    pub action: String,
    /// An ARN, or `*` for an action without resources.
    pub resource: String,
    /// Whether the call only asks if it would be allowed.
    pub dry_run: bool,
    /// Condition keys in lower case.
    context: BTreeMap<String, Vec<String>>,
}

impl Access {
    pub fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            action: action.into(),
            resource: resource.into(),
            dry_run: false,
            context: BTreeMap::from([("aws:resourceaccount".to_owned(), vec![ACCOUNT_ID.into()])]),
        }
    }

    /// Adds a value of a condition key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        let values = self.context.entry(key.to_ascii_lowercase()).or_default();
        values.push(value.into());
        self
    }

    /// Adds each tag under `KEY/tag`.
    #[must_use]
    pub fn with_tags<'a>(
        self,
        key: &str,
        tags: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Self {
        let tags = tags.into_iter();
        tags.fold(self, |access, (tag, value)| {
            access.with(&format!("{key}/{tag}"), value)
        })
    }

    /// Returns the values of a condition key in lower case.
    pub fn values(&self, key: &str) -> Option<&[String]> {
        self.context.get(key).map(Vec::as_slice)
    }
}

/// Returns the actions and resources of accesses.
#[cfg(test)]
pub fn describe(accesses: &[Access]) -> String {
    let texts = accesses
        .iter()
        .map(|it| format!("{} {}", it.action, it.resource));
    texts.collect::<Vec<_>>().join(", ")
}
