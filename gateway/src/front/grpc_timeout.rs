//! The timeout that a client sets. Written by hand: tonic's parser is private.

use std::time::Duration;

use tonic::metadata::MetadataMap;

/// Returns the client's `grpc-timeout`: up to eight digits and a unit, as
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md> defines it. `None`: it is missing or malformed.
#[must_use]
pub fn of(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(text: &'static str) -> Option<Duration> {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", text.parse().unwrap());
        of(&metadata)
    }

    #[test]
    fn all_units_are_read() {
        assert_eq!(of_text("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(of_text("90S"), Some(Duration::from_secs(90)));
        assert_eq!(
            of_text("99999999m"),
            Some(Duration::from_millis(99_999_999))
        );
    }

    #[test]
    fn other_texts_are_ignored() {
        for text in ["", "S", "5", "5s", "-5S", "123456789S"] {
            assert_eq!(of_text(text), None, "{text}");
        }
        assert_eq!(of(&MetadataMap::new()), None);
    }
}
