//! File names of photos.

use std::fmt;
use std::str::FromStr;

/// The longest file name, in bytes of UTF-8: the limit of common file systems. A job with two such names fits into a request
/// message.
pub const MAX_BYTES: usize = 255;

/// A valid file name of a photo: one path component that is safe as an object key, and unambiguous in the response
/// `<stem>:<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(String);

/// Why a file name was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FileNameError {
    #[error("the file name is empty")]
    Empty,
    #[error("the file name has {0} bytes; the limit is {MAX_BYTES}")]
    TooLong(usize),
    #[error("the file name contains a control character")]
    ControlCharacter,
    #[error("the file name contains {0:?}, which is not allowed")]
    Forbidden(char),
    #[error("the file name has nothing before its extension")]
    NoStem,
}

impl FileName {
    /// Parses a file name.
    ///
    /// # Errors
    /// When the name is empty, has more than [`MAX_BYTES`] bytes, contains a control character or one of
    /// `/ \ : "`, or has nothing before its last extension (as `.jpg` and `..`).
    pub fn parse(name: &str) -> Result<Self, FileNameError> {
        if name.is_empty() {
            return Err(FileNameError::Empty);
        }
        if name.len() > MAX_BYTES {
            return Err(FileNameError::TooLong(name.len()));
        }
        if name.chars().any(is_invisible) {
            return Err(FileNameError::ControlCharacter);
        }
        if let Some(forbidden) = name.chars().find(|c| matches!(c, '/' | '\\' | ':' | '"')) {
            return Err(FileNameError::Forbidden(forbidden));
        }
        if split_extension(name).0.trim_matches(['.', ' ']).is_empty() {
            return Err(FileNameError::NoStem);
        }
        Ok(Self(name.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name without its last extension: the key in the out-bucket, and the first part of the response.
    #[must_use]
    pub fn stem(&self) -> &str {
        split_extension(&self.0).0
    }

    /// Returns another name for another photo of this name: `photo.jpg` and the tag `3fa9` give `photo~3fa9.jpg`. If it is too
    /// long, the stem is shortened, and an extension that takes more than half of the bytes.
    #[must_use]
    pub fn derived(&self, tag: &str) -> Self {
        let (stem, extension) = split_extension(&self.0);
        let room = MAX_BYTES.saturating_sub(tag.len() + 1);
        let extension_room = room.saturating_sub(stem.len()).max(room / 2);
        let extension = &extension[..extension.floor_char_boundary(extension_room)];
        let stem = &stem[..stem.floor_char_boundary(room - extension.len())];
        Self(format!("{stem}~{tag}{extension}"))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for FileName {
    type Err = FileNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// Returns whether a character is invisible: a control character, a line or paragraph separator, a bidirectional
/// override, a zero-width character, or the byte order mark.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Splits a name before its last dot. Without a dot the extension is empty.
fn split_extension(name: &str) -> (&str, &str) {
    name.rfind('.').map_or((name, ""), |dot| name.split_at(dot))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stem(name: &str) -> String {
        FileName::parse(name).unwrap().stem().to_owned()
    }

    #[test]
    fn the_stem_loses_only_the_last_extension() {
        assert_eq!(stem("test_00.jpg"), "test_00");
        assert_eq!(stem("a.b.jpeg"), "a.b");
        assert_eq!(stem("plain"), "plain");
        assert_eq!(stem("Zoë Müller 王.png"), "Zoë Müller 王");
    }

    #[test]
    fn path_and_control_characters_are_refused() {
        for name in ["../x.jpg", "a/b.jpg", "a\\b.jpg", "a:b.jpg", "a\"b.jpg"] {
            assert!(
                matches!(FileName::parse(name), Err(FileNameError::Forbidden(_))),
                "{name}"
            );
        }
        for name in [
            "a\nb.jpg",
            "a\r.jpg",
            "\0.jpg",
            "a\u{202e}gpj.exe",
            "a\u{7f}.jpg",
        ] {
            assert_eq!(
                FileName::parse(name),
                Err(FileNameError::ControlCharacter),
                "{name:?}"
            );
        }
    }

    #[test]
    fn names_without_a_stem_are_refused() {
        assert_eq!(FileName::parse(""), Err(FileNameError::Empty));
        for name in [".jpg", "..", ".", "...", " .png"] {
            assert_eq!(FileName::parse(name), Err(FileNameError::NoStem), "{name}");
        }
    }

    #[test]
    fn the_length_limit_counts_bytes() {
        assert!(FileName::parse(&"x".repeat(255)).is_ok());
        assert_eq!(
            FileName::parse(&"x".repeat(256)),
            Err(FileNameError::TooLong(256))
        );
        assert_eq!(
            FileName::parse(&"é".repeat(128)),
            Err(FileNameError::TooLong(256))
        );
    }

    #[test]
    fn a_derived_name_keeps_the_extension_and_the_limit() {
        assert_eq!(
            FileName::parse("photo.jpg")
                .unwrap()
                .derived("3fa9")
                .as_str(),
            "photo~3fa9.jpg"
        );
        let long = FileName::parse(&format!("{}.jpg", "é".repeat(125))).unwrap();
        let derived = long.derived("0123456789abcdef");
        assert!(derived.as_str().len() <= MAX_BYTES);
        assert_eq!(FileName::parse(derived.as_str()), Ok(derived.clone()));
        assert!(derived.as_str().ends_with("~0123456789abcdef.jpg"));
    }

    /// Found by fuzzing: workers refused jobs with such a name.
    #[test]
    fn a_derived_name_shortens_an_extension_that_leaves_no_room() {
        let name = FileName::parse(&format!("photo.{}", "é".repeat(120))).unwrap();
        let derived = name.derived("0123456789abcdef");
        assert_eq!(FileName::parse(derived.as_str()), Ok(derived.clone()));
        assert_eq!(derived.stem(), "photo~0123456789abcdef");
    }
}
