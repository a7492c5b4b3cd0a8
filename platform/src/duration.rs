//! Durations on the command line.

use std::time::Duration;

/// The line at the end of a help text that has values named DURATION.
pub const HELP: &str =
    "A DURATION is seconds such as 2.5, or amounts with units: 500ms, 30s, 10m, 2h, \"1h 30m\".";

/// Parses a number of seconds such as `2.5`, or amounts with units such as `500ms` and `1h 30m`.
///
/// # Errors
/// When the text is neither.
pub fn parse(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string()),
        Err(_) => humantime::parse_duration(text).map_err(|error| error.to_string()),
    };
    parsed.map_err(|error| format!("{error}; give seconds such as 2.5, or units such as 500ms"))
}

/// Parses as [`parse`] does, and refuses zero.
///
/// # Errors
/// When the text is no duration, or is zero.
pub fn parse_positive(text: &str) -> Result<Duration, String> {
    match parse(text)? {
        Duration::ZERO => Err("give more than 0 seconds".to_owned()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_units_are_accepted() {
        for (text, milliseconds) in [
            ("120", 120_000),
            ("0.25", 250),
            ("1e3", 1_000_000),
            ("500ms", 500),
            ("1h 30m", 5_400_000),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "-1", "nan", "inf", "1 parsec", "soon"] {
            let refused = parse(text).unwrap_err();
            assert!(refused.contains("give seconds such as 2.5"), "{refused}");
        }
        assert!(parse_positive("0").is_err() && parse_positive("0ms").is_err());
    }
}
