//! Filters of the Describe calls. Each names a property and its accepted values.

use crate::ec2::Ec2Error;
use crate::ec2::error::Ec2Result;
use crate::wildcard::Pattern;

/// One filter. A resource matches if any value does; `*` matches any text and `?` any one character.
#[derive(Debug, Clone)]
pub struct Filter {
    pub name: String,
    values: Vec<Pattern>,
}

/// Checks that a call has all these filters. `known` lists names; one that ends in `*` is a prefix of names.
///
/// # Errors
/// `InvalidParameterValue` for an unknown filter.
pub fn check_filters(filters: &[Filter], known: &str) -> Ec2Result {
    let is_known = |name: &str| {
        known.split(' ').any(|known| match known.strip_suffix('*') {
            Some(prefix) => name.len() > prefix.len() && name.starts_with(prefix),
            None => name == known,
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
            values: values.iter().map(|value| Pattern::new(value)).collect(),
        }
    }

    /// Returns whether any of the filter's values matches a text.
    pub fn matches(&self, text: &str) -> bool {
        self.values.iter().any(|pattern| pattern.matches(text))
    }

    /// Returns whether the tags match a filter `tag:KEY`, `tag-key` or `tag-value`; `None` for any other filter.
    pub fn matches_tags<'a>(
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
