//! Parsers for values on the command line. Durations have the syntax of [`platform::duration`].

use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use platform::duration;

use crate::plan::{KeepIdle, PolicyKind, Window};

/// Parses the name of a policy. `--help` lists the names.
pub(crate) fn policy_kind() -> impl TypedValueParser<Value = PolicyKind> {
    let values = PolicyKind::ALL.map(|kind| PossibleValue::new(kind.name()).help(kind.about()));
    PossibleValuesParser::new(values).try_map(|name| name.parse::<PolicyKind>())
}

/// Parses a duration or `auto`.
pub(crate) fn keep_idle(text: &str) -> Result<KeepIdle, String> {
    match text {
        "auto" => Ok(KeepIdle::Auto),
        _ => duration::parse(text)
            .map(KeepIdle::AtMost)
            .map_err(|error| format!("{error}, or auto")),
    }
}

/// Parses a silence deadline. A worker reports every second, and a report may be late.
pub(crate) fn silence_deadline(text: &str) -> Result<Duration, String> {
    let deadline = duration::parse_positive(text)?;
    if deadline < Duration::from_secs(3) {
        return Err("must be 3s or more: workers report every second".to_owned());
    }
    Ok(deadline)
}

/// Parses a polling interval. Nothing is launched by a list of instances that is older than 5 s.
pub(crate) fn tick(text: &str) -> Result<Duration, String> {
    let tick = duration::parse_positive(text)?;
    if !(Duration::from_millis(50)..=Duration::from_secs(4)).contains(&tick) {
        return Err("must be from 50ms to 4s".to_owned());
    }
    Ok(tick)
}

/// Parses a finite number of dollars above zero.
pub(crate) fn dollars(text: &str) -> Result<f64, String> {
    let dollars: f64 = text
        .parse()
        .map_err(|_| "expected a number of dollars: 0.08925".to_owned())?;
    if !dollars.is_finite() || dollars <= 0.0 {
        return Err("must be more than zero dollars".to_owned());
    }
    Ok(dollars)
}

/// Parses an instance type and its price.
pub(crate) fn price(text: &str) -> Result<(String, f64), String> {
    match text.split_once('=') {
        Some((kind, price)) if !kind.is_empty() => Ok((kind.to_owned(), dollars(price)?)),
        _ => Err("expected TYPE=DOLLARS: c7i.large=0.08925".to_owned()),
    }
}

/// Parses a share from 0 to 0.9. A larger share of failures would leave too few successes.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok();
    share
        .filter(|share| (0.0..=0.9).contains(share))
        .ok_or_else(|| "expected a share between 0 and 0.9".to_owned())
}

/// Parses a daily period in UTC and its minimum number of workers: `08:00-18:00=5`.
pub(crate) fn window(text: &str) -> Result<Window, String> {
    let (period, workers) = text
        .trim()
        .split_once('=')
        .ok_or("expected a period and a number of workers: 08:00-18:00=5")?;
    let (from, to) = period
        .split_once('-')
        .ok_or_else(|| format!("{period:?} is not a period: expected 08:00-18:00"))?;
    let (from, to) = (time_of_day(from)?, time_of_day(to)?);
    if from == to {
        return Err("begins and ends at the same time; the whole day is 00:00-24:00".to_owned());
    }
    let min_workers = workers
        .trim()
        .parse()
        .map_err(|_| format!("{workers:?} is not a number of workers"))?;
    Ok(Window {
        from,
        to,
        min_workers,
    })
}

/// Parses a time of day, as the time since midnight. The day ends at 24:00.
fn time_of_day(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time of day: expected 00:00 to 24:00");
    let (hours, minutes) = text.trim().split_once(':').ok_or_else(wrong)?;
    let number = |digits: &str| {
        let is_plain = digits.len() == 2 && digits.bytes().all(|it| it.is_ascii_digit());
        is_plain.then(|| digits.parse::<u64>().ok()).flatten()
    };
    match (number(hours), number(minutes)) {
        (Some(24), Some(0)) => Ok(Duration::from_secs(24 * 60 * 60)),
        (Some(hours @ 0..24), Some(minutes @ 0..60)) => {
            Ok(Duration::from_secs((hours * 60 + minutes) * 60))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_above_zero() {
        assert_eq!(dollars("1.5"), Ok(1.5));
        for wrong in ["", "0", "-1", "NaN", "inf", "$1"] {
            assert!(dollars(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_share_is_at_most_nine_tenths() {
        assert_eq!(share("0.25"), Ok(0.25));
        for wrong in ["", "-0.1", "0.91", "NaN", "10%"] {
            assert!(share(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn windows_have_a_period_and_a_number_of_workers() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        for (text, from, to, min_workers) in [
            ("08:00-18:00=5", 480, 1_080, 5),
            (" 22:30 - 02:00 = 1 ", 1_350, 120, 1),
            ("00:00-24:00=0", 0, 1_440, 0),
        ] {
            let expected = Window {
                from: minutes(from),
                to: minutes(to),
                min_workers,
            };
            assert_eq!(window(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn the_error_names_the_fault_of_a_window() {
        for (text, complaint) in [
            ("", "expected a period and a number of workers"),
            ("08:00-18:00", "expected a period and a number of workers"),
            ("08:00=5", "\"08:00\" is not a period"),
            ("8:00-18:00=5", "\"8:00\" is not a time of day"),
            ("08:00-18:60=5", "\"18:60\" is not a time of day"),
            ("08:00-24:01=5", "\"24:01\" is not a time of day"),
            ("08:00-+9:00=5", "\"+9:00\" is not a time of day"),
            ("08:00-18:00=many", "\"many\" is not a number of workers"),
            ("08:00-18:00=-1", "\"-1\" is not a number of workers"),
            ("08:00-08:00=5", "begins and ends at the same time"),
        ] {
            let error = window(text).unwrap_err();
            assert!(error.starts_with(complaint), "{text:?}: {error}");
        }
    }
}
