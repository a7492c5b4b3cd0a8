//! A page of an ordered collection, with keys rolled up at a delimiter. Pure.

use std::collections::BTreeMap;
use std::ops::Bound;

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct Query<'a> {
    pub prefix: &'a str,
    /// None and the empty one are the same.
    pub delimiter: Option<&'a str>,
    /// All that is listed comes after this.
    pub after: &'a str,
    pub most: usize,
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<T> {
    Object(String, T),
    CommonPrefix(String),
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub entries: Vec<Entry<T>>,
    /// Whether there is more after the last entry.
    pub truncated: bool,
}

impl<T> Entry<T> {
    /// The key or the common prefix, by which entries are ordered.
    pub fn name(&self) -> &str {
        match self {
            Self::Object(key, _) => key,
            Self::CommonPrefix(prefix) => prefix,
        }
    }
}

/// Lists by the order of the keys' bytes. A common prefix costs as much as a key, however many keys it stands for.
pub fn list<T: Clone>(objects: &BTreeMap<String, T>, query: &Query<'_>) -> Page<T> {
    let mut page = Page {
        entries: Vec::new(),
        truncated: false,
    };
    if query.most == 0 {
        return page;
    }
    let mut from = if query.after < query.prefix {
        Bound::Included(query.prefix.to_owned())
    } else {
        Bound::Excluded(query.after.to_owned())
    };
    while let Some((key, value)) = objects.range((from, Bound::Unbounded)).next() {
        let Some(rest) = key.strip_prefix(query.prefix) else {
            break;
        };
        let delimiter = query.delimiter.filter(|delimiter| !delimiter.is_empty());
        let rolled_up = delimiter.and_then(|delimiter| {
            let end = query.prefix.len() + rest.find(delimiter)? + delimiter.len();
            Some(&key[..end])
        });
        let entry = match rolled_up {
            Some(prefix) => {
                let next = after_all_with(prefix);
                // A page that ended with this prefix, or within it, has listed it.
                if prefix <= query.after {
                    match next {
                        Some(next) => from = Bound::Included(next),
                        None => break,
                    }
                    continue;
                }
                let entry = Entry::CommonPrefix(prefix.to_owned());
                match next {
                    Some(next) => from = Bound::Included(next),
                    None => from = Bound::Excluded(char::MAX.to_string().repeat(300)),
                }
                entry
            }
            None => {
                from = Bound::Excluded(key.clone());
                Entry::Object(key.clone(), value.clone())
            }
        };
        if page.entries.len() == query.most {
            page.truncated = true;
            break;
        }
        page.entries.push(entry);
    }
    page
}

/// The least text that is greater than all that begin with `prefix`.
fn after_all_with(prefix: &str) -> Option<String> {
    let mut letters: Vec<char> = prefix.chars().collect();
    while let Some(last) = letters.pop() {
        let mut next = u32::from(last) + 1;
        // The code points of surrogates are no letters.
        if (0xD800..0xE000).contains(&next) {
            next = 0xE000;
        }
        if let Some(next) = char::from_u32(next) {
            letters.push(next);
            return Some(letters.into_iter().collect());
        }
    }
    None
}
