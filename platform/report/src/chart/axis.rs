//! Limits, ticks and their text.

use super::{Axis, Scale};

/// An axis whose limits and ticks are chosen.
#[derive(Debug, Clone)]
pub(super) struct Ruler {
    scale: Scale,
    limits: (f64, f64),
    pub ticks: Vec<Tick>,
    /// The axis' name with the unit, where ticks do not bear it.
    pub title: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub value: f64,
    pub text: String,
}

/// A unit of time: its name, its seconds, and the steps between ticks that readers expect. Shorter and longer steps are 1, 2
/// or 5 times a power of ten.
type TimeUnit = (&'static str, f64, &'static [f64]);
const TIME_UNITS: [TimeUnit; 5] = [
    ("µs", 1e-6, &[]),
    ("ms", 1e-3, &[]),
    ("s", 1.0, &[1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0]),
    ("min", 60.0, &[1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0]),
    ("h", 3_600.0, &[1.0, 2.0, 3.0, 4.0, 6.0, 12.0, 24.0]),
];
/// From how many of its unit on a time is given in that unit.
const FROM: f64 = 2.5;

impl Ruler {
    /// Chooses limits and at most `most` ticks for an axis that shows `values`. `is_vertical` axes begin at zero and end at a
    /// tick.
    pub(super) fn new(
        axis: &Axis,
        values: impl Iterator<Item = f64>,
        is_vertical: bool,
        most: usize,
    ) -> Self {
        let shown = |value: &f64| match axis.scale {
            Scale::Linear => value.is_finite(),
            Scale::Logarithmic => value.is_finite() && *value > 0.0,
            Scale::Nines => (0.0..100.0).contains(value),
        };
        let (mut low, mut high, mut are_whole) = (f64::INFINITY, f64::NEG_INFINITY, true);
        for value in values.filter(shown) {
            (low, high) = (low.min(value), high.max(value));
            are_whole &= value.fract() == 0.0;
        }
        let found = (low <= high).then_some((low, high));
        let given = axis
            .limits
            .filter(|(low, high)| low < high && shown(low) && shown(high));
        let most = most.max(2);
        match axis.scale {
            Scale::Linear => Self::linear(axis, given, found, are_whole, is_vertical, most),
            Scale::Logarithmic => Self::logarithmic(axis, given, found, most),
            Scale::Nines => Self::nines(axis, given, found, most),
        }
    }

    /// Returns where a value stands, from 0 at the least to 1 at the most shown; absent where it cannot be shown.
    pub(super) fn share(&self, value: f64) -> Option<f64> {
        let (low, high) = self.limits;
        let value = match self.scale {
            Scale::Nines if (100.0..=100.0 + 1e-9).contains(&value) => high,
            _ => value,
        };
        let along = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.log10(),
            Scale::Nines => -(1.0 - value / 100.0).log10(),
        };
        let share = (along(value) - along(low)) / (along(high) - along(low));
        share.is_finite().then(|| share.clamp(-9.0, 10.0))
    }

    /// Returns where areas and bars begin: zero, or the end that is closest to it.
    pub(super) fn base(&self) -> f64 {
        self.share(0.0).unwrap_or(0.0).clamp(0.0, 1.0)
    }

    fn linear(
        axis: &Axis,
        given: Option<(f64, f64)>,
        found: Option<(f64, f64)>,
        are_whole: bool,
        is_vertical: bool,
        most: usize,
    ) -> Self {
        let (mut low, mut high) = given.or(found).unwrap_or((0.0, 1.0));
        if is_vertical && given.is_none() {
            (low, high) = (low.min(0.0), high.max(0.0));
        }
        if low >= high {
            (low, high) = if low > 0.0 {
                (low - 0.5, low + 0.5)
            } else {
                (low, low + 1.0)
            };
        }
        let (unit, scale, steps) = match axis.unit {
            "s" => time_unit(low.abs().max(high.abs())),
            unit => (unit, 1.0, &[][..]),
        };
        let mut step = tick_step((high - low) / scale, most, steps) * scale;
        if are_whole && axis.unit != "s" {
            step = step.max(1.0);
        }
        if is_vertical && given.is_none() {
            low = (low / step + 1e-9).floor() * step;
            high = (high / step - 1e-9).ceil() * step;
        }
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        let ticks = (first..=last.min(first + 1_000)).map(|count| {
            let value = count as f64 * step;
            let text = number(
                value / scale,
                step / scale,
                high.abs().max(low.abs()) / scale,
            );
            Tick { value, text }
        });
        Self {
            scale: Scale::Linear,
            limits: (low, high),
            ticks: ticks.collect(),
            title: Axis {
                unit,
                ..axis.clone()
            }
            .title(),
        }
    }

    fn logarithmic(
        axis: &Axis,
        given: Option<(f64, f64)>,
        found: Option<(f64, f64)>,
        most: usize,
    ) -> Self {
        let limits = given.unwrap_or_else(|| {
            let (low, high) = found.unwrap_or((1.0, 10.0));
            let (low, high) = (below(low), above(high));
            if low < high {
                (low, high)
            } else {
                (low / 10.0, high * 10.0)
            }
        });
        let (from, to) = (
            limits.0.log10().floor() as i32,
            limits.1.log10().ceil() as i32,
        );
        let shown = |digits: &[f64], every: i32| {
            let powers = (from..=to).filter(|power| power.rem_euclid(every) == 0);
            let all = powers.flat_map(|power| digits.iter().map(move |it| it * 10_f64.powi(power)));
            let is_within = |it: &f64| (limits.0 * 0.999_999..=limits.1 * 1.000_001).contains(it);
            all.filter(is_within).collect::<Vec<_>>()
        };
        // The finest that fits; few ticks of 1 and 3 are better than two of 1 alone.
        let mut values = shown(&[1.0, 2.0, 5.0], 1);
        if values.len() > most + 1 {
            let decades = shown(&[1.0], 1);
            values = if decades.len() < 3 {
                shown(&[1.0, 3.0], 1)
            } else {
                decades
            };
        }
        let mut every = 1;
        while values.len() > most + 1 && every < 100 {
            every += 1;
            values = shown(&[1.0], every);
        }
        let tick = |value: f64| Tick {
            value,
            text: match axis.unit {
                "s" => duration(value),
                _ => quantity(value),
            },
        };
        Self {
            scale: Scale::Logarithmic,
            limits,
            ticks: values.into_iter().map(tick).collect(),
            title: match axis.unit {
                "s" => axis.name.clone(),
                _ => axis.title(),
            },
        }
    }

    fn nines(
        axis: &Axis,
        given: Option<(f64, f64)>,
        found: Option<(f64, f64)>,
        most: usize,
    ) -> Self {
        let (low, high) = given.or(found).unwrap_or((0.0, 99.0));
        let limits = (low, high.max(low + (100.0 - low) / 2.0));
        let mut values = vec![0.0, 50.0];
        values.extend((1..=9).map(|nines| 100.0 - 10_f64.powi(2 - nines)));
        values.retain(|it| (limits.0 - 1e-9..=limits.1 + 1e-9).contains(it));
        if values.len() > most {
            values.retain(|it| *it != 50.0);
        }
        values.truncate(most);
        let tick = |value: f64| Tick {
            value,
            text: trimmed(value, 7),
        };
        Self {
            scale: Scale::Nines,
            limits,
            ticks: values.into_iter().map(tick).collect(),
            title: axis.title(),
        }
    }
}

fn time_unit(most: f64) -> TimeUnit {
    let fits = |(_, seconds, _): &&TimeUnit| most >= seconds * FROM;
    *TIME_UNITS.iter().rev().find(fits).unwrap_or(&TIME_UNITS[0])
}

/// Returns the smallest good step with at most so many ticks over the span.
fn tick_step(span: f64, most: usize, steps: &[f64]) -> f64 {
    let least = span / most as f64 * (1.0 - 1e-9);
    if let Some(step) = steps.iter().find(|step| **step >= least)
        && least > steps[0] / 2.0
    {
        return *step;
    }
    let power = 10_f64.powf(least.log10().floor());
    let digit = [1.0, 2.0, 5.0, 10.0].into_iter();
    let fits = |digit: &f64| digit * power >= least;
    digit.clone().find(fits).unwrap_or(10.0) * power
}

/// Returns the next 1, 2 or 5 times a power of ten at or below the value.
fn below(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let fits = |digit: &f64| digit * power <= value * (1.0 + 1e-9);
    [5.0, 2.0, 1.0].into_iter().find(fits).unwrap_or(1.0) * power
}

fn above(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let fits = |digit: &f64| digit * power >= value * (1.0 - 1e-9);
    [1.0, 2.0, 5.0].into_iter().find(fits).unwrap_or(10.0) * power
}

/// Formats a tick with the decimals of its step, and all ticks of an axis with the same prefix.
fn number(value: f64, step: f64, most: f64) -> String {
    let (suffix, scale) = prefix(most);
    let (value, step) = (value / scale, step / scale);
    let decimals = (-step.log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize;
    let suffix = if value == 0.0 { "" } else { suffix };
    signed(format!("{value:.decimals$}{suffix}"))
}

fn prefix(value: f64) -> (&'static str, f64) {
    match value.abs() {
        1e12.. => ("T", 1e12),
        1e9.. => ("G", 1e9),
        1e6.. => ("M", 1e6),
        1e4.. => ("k", 1e3),
        _ => ("", 1.0),
    }
}

/// Formats a quantity with its own prefix: 12k, 0.05.
fn quantity(value: f64) -> String {
    let (suffix, scale) = prefix(value);
    signed(trimmed(value / scale, 3) + suffix)
}

/// Formats a time with its own unit: 20 ms, 5 s.
fn duration(seconds: f64) -> String {
    let (unit, scale) = match seconds.abs() {
        0.999.. => ("s", 1.0),
        0.000_999.. => ("ms", 1e-3),
        _ => ("µs", 1e-6),
    };
    format!("{} {unit}", trimmed(seconds / scale, 3))
}

/// Returns a number with so many significant digits, or more before the point, without zeros at its end.
fn trimmed(value: f64, digits: i32) -> String {
    let before = value.abs().max(1e-12).log10().floor() as i32 + 1;
    let text = format!("{value:.*}", (digits - before).clamp(0, 9) as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Writes a minus sign as wide as a digit.
fn signed(text: String) -> String {
    text.replace('-', "\u{2212}")
}
