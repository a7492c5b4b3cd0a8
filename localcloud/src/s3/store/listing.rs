//! Pages of an ordered collection, with keys rolled up at a delimiter. Pure.

use std::collections::BTreeMap;
use std::ops::Bound;

/// What a page holds.
#[derive(Debug, Clone, Default)]
pub struct ListQuery<'a> {
    pub prefix: &'a str,
    /// An empty delimiter is none.
    pub delimiter: Option<&'a str>,
    /// The page begins after this name.
    pub after: &'a str,
    pub size: usize,
}

/// An entry of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<T> {
    Object(String, T),
    CommonPrefix(String),
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub entries: Vec<Entry<T>>,
    /// Whether more entries follow.
    pub truncated: bool,
}

impl<T> Entry<T> {
    /// Returns the key or the common prefix; entries are ordered by it.
    pub fn name(&self) -> &str {
        match self {
            Self::Object(key, _) => key,
            Self::CommonPrefix(prefix) => prefix,
        }
    }
}

/// Lists objects in the byte order of their keys. A common prefix costs one lookup, however many keys have it.
pub fn list<T: Clone>(objects: &BTreeMap<String, T>, query: &ListQuery<'_>) -> Page<T> {
    let mut page = Page {
        entries: Vec::new(),
        truncated: false,
    };
    if query.size == 0 {
        return page;
    }
    let mut from = if query.after < query.prefix {
        Bound::Included(query.prefix.to_owned())
    } else {
        Bound::Excluded(query.after.to_owned())
    };
    while let Some((key, value)) = objects.range((from, Bound::Unbounded)).next() {
        if !key.starts_with(query.prefix) {
            break;
        }
        let entry = match common_prefix(key, query.prefix, query.delimiter) {
            Some(prefix) => {
                from = match after_all_with(prefix) {
                    Some(next) => Bound::Included(next),
                    // Greater than every key, which has at most 1024 bytes.
                    None => Bound::Excluded(char::MAX.to_string().repeat(300)),
                };
                // An earlier page has listed this prefix.
                if prefix <= query.after {
                    continue;
                }
                Entry::CommonPrefix(prefix.to_owned())
            }
            None => {
                from = Bound::Excluded(key.clone());
                Entry::Object(key.clone(), value.clone())
            }
        };
        if page.entries.len() == query.size {
            page.truncated = true;
            break;
        }
        page.entries.push(entry);
    }
    page
}

/// Returns the part of a key up to the first delimiter after `prefix`, with which the key begins; `None` without a
/// delimiter.
pub fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: Option<&str>) -> Option<&'a str> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let end = prefix.len() + key[prefix.len()..].find(delimiter)? + delimiter.len();
    Some(&key[..end])
}

/// Returns the least text greater than all that begin with `prefix`; `None` if there is none.
fn after_all_with(prefix: &str) -> Option<String> {
    let mut letters: Vec<char> = prefix.chars().collect();
    while let Some(last) = letters.pop() {
        let mut next = u32::from(last) + 1;
        // Surrogates are not characters.
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
