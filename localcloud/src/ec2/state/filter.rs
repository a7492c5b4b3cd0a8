//! Filters of the Describe calls: each names a property and the values it may have.

use crate::ec2::Ec2Error;
use crate::wildcard::Pattern;

/// One filter; a resource passes if any value matches. `*` stands for any text and `?` for any one letter.
#[derive(Debug, Clone)]
pub struct Filter {
    pub name: String,
    values: Vec<Pattern>,
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
