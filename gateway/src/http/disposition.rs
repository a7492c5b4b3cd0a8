//! `Content-Disposition` of a multipart part. Written by hand: multer does not read `filename*`.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_DISPOSITION;
use proto::FileName;

use crate::error::{ErrorCode, RequestError};

/// A part's `Content-Disposition`, in the forms that clients write.
///
/// Browsers, curl and urllib3 2 follow the WHATWG's form encoding: raw UTF-8 in quotes, with only quote, carriage return and
/// line feed percent-encoded. Older versions of curl escape quotes and backslashes with a backslash. Older versions of
/// urllib3 write names that are not ASCII as `filename*=utf-8''…` (RFC 5987).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disposition {
    parameters: Vec<(String, String)>,
    is_utf8: bool,
}

impl Disposition {
    pub fn of_part(headers: &HeaderMap) -> Self {
        let bytes = headers
            .get(CONTENT_DISPOSITION)
            .map_or(&b""[..], |value| value.as_bytes());
        let text = String::from_utf8_lossy(bytes);
        let is_utf8 = matches!(text, std::borrow::Cow::Borrowed(_));
        Self {
            parameters: parameters(&text),
            is_utf8,
        }
    }

    /// Returns the name of the form field.
    pub fn field(&self) -> Option<&str> {
        self.parameter("name")
    }

    /// Returns the file name, or `None` when the part has none.
    ///
    /// # Errors
    /// [`ErrorCode::BadFileName`] when it is not allowed or cannot be decoded.
    pub fn file_name(&self) -> Option<Result<FileName, RequestError>> {
        let extended = self.parameter("filename*");
        let plain = self.parameter("filename");
        if extended.is_none() && plain.is_none() {
            return None;
        }
        // The plain name is the fallback for an extended one that cannot be decoded (RFC 6266, 4.3).
        let name = extended
            .and_then(decode_extended)
            .or_else(|| plain.filter(|_| self.is_utf8).map(decode_form));
        let unreadable = || RequestError::new(ErrorCode::BadFileName, "the file name is not UTF-8");
        Some(
            name.ok_or_else(unreadable)
                .and_then(|name| Ok(FileName::parse(&name)?)),
        )
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self
            .parameters
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Returns the parameters as pairs of name and value.
fn parameters(header: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = header.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (value, remainder) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (value, remainder) = after.split_once(';').unwrap_or((after, ""));
                (value.trim_end().to_owned(), remainder)
            }
        };
        found.push((name.trim_matches([';', ' ', '\t']).to_owned(), value));
        rest = remainder;
    }
    found
}

/// Splits `text` after a closing quote: returns the unescaped string before it, and the rest.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return (value, &text[index + 1..]),
            '\\' => match characters.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            other => value.push(other),
        }
    }
    (value, "")
}

/// Decodes the WHATWG's form encoding. Other percent signs stay.
fn decode_form(text: &str) -> String {
    let mut decoded = text.to_owned();
    for (encoded, character) in [
        ("%22", "\""),
        ("%0D", "\r"),
        ("%0d", "\r"),
        ("%0A", "\n"),
        ("%0a", "\n"),
    ] {
        decoded = decoded.replace(encoded, character);
    }
    decoded
}

/// Decodes `charset'language'percent-encoded`.
fn decode_extended(text: &str) -> Option<String> {
    let (charset, rest) = text.split_once('\'')?;
    let (_language, encoded) = rest.split_once('\'')?;
    let bytes = percent_decode(encoded)?;
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" => String::from_utf8(bytes).ok(),
        "iso-8859-1" => Some(bytes.into_iter().map(char::from).collect()),
        _ => None,
    }
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn disposition(header: &[u8]) -> Disposition {
        let value = HeaderValue::from_bytes(header).unwrap();
        Disposition::of_part(&HeaderMap::from_iter([(CONTENT_DISPOSITION, value)]))
    }

    fn file_name(parameter: &str) -> Option<Result<String, ErrorCode>> {
        let header = format!(r#"form-data; name="inputFile"; {parameter}"#);
        let disposition = disposition(header.as_bytes());
        assert_eq!(disposition.field(), Some("inputFile"));
        let name = disposition.file_name();
        name.map(|name| {
            name.map(|name| name.to_string())
                .map_err(|error| error.code)
        })
    }

    fn accepted(parameter: &str) -> String {
        file_name(parameter).unwrap().unwrap()
    }

    fn refused(parameter: &str) {
        assert_eq!(
            file_name(parameter),
            Some(Err(ErrorCode::BadFileName)),
            "{parameter}"
        );
    }

    #[test]
    fn the_forms_of_all_clients_are_read() {
        assert_eq!(accepted(r#"filename="test_00.jpg""#), "test_00.jpg");
        assert_eq!(accepted(r#"filename=test_00.jpg"#), "test_00.jpg");
        assert_eq!(accepted(r#"FileName = "a;b=c.jpg" ; x=y"#), "a;b=c.jpg");
        assert_eq!(accepted(r#"filename="Zoë 王.jpg""#), "Zoë 王.jpg");
        assert_eq!(accepted(r#"filename*=utf-8''Zo%C3%AB.jpg"#), "Zoë.jpg");
        assert_eq!(
            accepted(r#"filename="Zo?.jpg"; filename*=UTF-8'de'Zo%C3%AB.jpg"#),
            "Zoë.jpg"
        );
        assert_eq!(accepted(r#"filename*=iso-8859-1''Zo%EB.jpg"#), "Zoë.jpg");
        assert_eq!(accepted(r#"filename="100%25 sure.jpg""#), "100%25 sure.jpg");
    }

    #[test]
    fn encoded_quotes_and_line_breaks_are_decoded_and_refused() {
        refused(r#"filename="a%0Ab.jpg""#);
        refused(r#"filename="a%0db.jpg""#);
        refused(r#"filename="a%22b.jpg""#);
        refused(r#"filename="a\"b.jpg""#);
        refused(r#"filename*=utf-8''a%0Ab.jpg"#);
        refused(r#"filename*=utf-8''..%2Fa.jpg"#);
        refused(r#"filename="..\\a.jpg""#);
        refused(r#"filename="..\a.jpg""#);
    }

    #[test]
    fn names_that_cannot_be_decoded_are_refused() {
        refused(r#"filename*=utf-16''a.jpg"#);
        refused(r#"filename*=utf-8''%FF.jpg"#);
        refused(r#"filename*=utf-8''%4"#);
        refused(r#"filename*=a.jpg"#);
        refused(r#"filename="""#);
        let latin = disposition(b"form-data; name=\"inputFile\"; filename=\"Zo\xeb.jpg\"");
        assert_eq!(
            latin.file_name().unwrap().unwrap_err().code,
            ErrorCode::BadFileName
        );
    }

    #[test]
    fn a_plain_name_replaces_an_extended_one_that_cannot_be_decoded() {
        for extended in [
            "utf8''Zo%C3%AB.jpg",
            "windows-1252''Zo%EB.jpg",
            "utf-8''Zo%C3.jpg",
            "utf-8''%4",
        ] {
            let both = format!(r#"filename="zoe.jpg"; filename*={extended}"#);
            assert_eq!(accepted(&both), "zoe.jpg");
        }
    }

    #[test]
    fn a_field_without_a_file_name_has_none() {
        assert_eq!(file_name(""), None);
        assert_eq!(disposition(b"").field(), None);
    }

    proptest! {
        #[test]
        fn no_header_panics(header in "form-data; [a-z\"\\\\*=;%' é]{0,60}") {
            let _ = disposition(header.as_bytes()).file_name();
        }

        #[test]
        fn a_name_as_browsers_encode_it_is_read_back(name in "[^\\p{C}/\\\\:\"%]{1,40}") {
            if FileName::parse(&name).is_ok() {
                prop_assert_eq!(accepted(&format!("filename=\"{name}\"")), name);
            }
        }
    }
}
