//! The figures of a run as text.

use std::fmt;

use super::{LoadReport, NameCounts, Percentiles, Requests, VariantAccuracy, needed};

/// A generator that sends later than this, in milliseconds, at the 99th percentile, is too busy itself.
const LATE_MS: f64 = 20.0;

/// The final table of a run.
impl fmt::Display for LoadReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "load      {}", self.load)?;
        if self.warm_up_s > 0.0 {
            let Requests { sent, failed, .. } = self.warm_up;
            let seconds = self.warm_up_s;
            writeln!(
                formatter,
                "warm-up   {seconds} s, left out: {sent} sent, {failed} failed"
            )?;
        }
        let Requests {
            due,
            shed,
            answered,
            failed,
            ..
        } = self.requests;
        writeln!(
            formatter,
            "requests  {due} due, {shed} shed by the generator, {answered} answered, {failed} failed"
        )?;
        for (reason, count) in &self.failures {
            writeln!(formatter, "          {count} x {reason}")?;
        }
        if let (Some(due), Some(answered)) = (self.due_per_s, self.answered_per_s) {
            writeln!(
                formatter,
                "rate      {due:.1} a second due, {answered:.1} a second answered"
            )?;
        }
        let NameCounts {
            right,
            wrong,
            unknown,
            refused,
        } = self.names;
        writeln!(
            formatter,
            "names     {right} right, {wrong} wrong, {unknown} unknown, {refused} photos refused"
        )?;
        if let Some(latency) = &self.latency_ms {
            writeln!(formatter, "latency   {latency}")?;
            let few: Vec<_> = latency.named().iter().filter_map(missing).collect();
            if !few.is_empty() {
                writeln!(formatter, "          not claimed: {}", few.join(", "))?;
            }
        }
        if let Some(lag) = &self.generator_lag_ms {
            writeln!(formatter, "generator sent late by {lag}")?;
            if lag.p99.unwrap_or(lag.max) > LATE_MS {
                writeln!(
                    formatter,
                    "          it was too busy itself; part of the latency is its own. Use a machine of its own, or a lower rate"
                )?;
            }
        }
        if let Some(fleet) = &self.fleet {
            writeln!(formatter, "{fleet}")?;
        }
        formatter.write_str(&accuracy_table(&self.by_variant))?;
        if self.is_success() {
            write!(formatter, "result    all right")
        } else {
            write!(formatter, "result    not all right")?;
            for problem in &self.problems {
                write!(formatter, "\n          {problem}")?;
            }
            Ok(())
        }
    }
}

fn missing((name, percentile, value): &(&str, f64, Option<f64>)) -> Option<String> {
    let needed = needed(*percentile);
    value
        .is_none()
        .then(|| format!("{name} (needs {needed} answers)"))
}

impl fmt::Display for Percentiles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "mean {} ms", short(self.mean))?;
        for (name, _, value) in self.named() {
            if let Some(value) = value {
                write!(formatter, "   {name} {}", short(value))?;
            }
        }
        write!(formatter, "   max {}", short(self.max))
    }
}

/// Returns the number with three digits or more.
fn short(number: f64) -> String {
    match number {
        number if number < 10.0 => format!("{number:.2}"),
        number if number < 100.0 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

/// Returns lines with the accuracy by kind of photo, each with its end. Empty without kinds.
fn accuracy_table(variants: &[VariantAccuracy]) -> String {
    if variants.is_empty() {
        return String::new();
    }
    let mut table = format!(
        "{:<16} {:>6} {:>6} {:>6} {:>8} {:>8} {:>7} {:>9}\n",
        "variant", "sent", "right", "wrong", "unknown", "refused", "failed", "accuracy"
    );
    for row in variants {
        let accuracy = row
            .accuracy
            .map_or("-".to_owned(), |share| format!("{:.1} %", share * 100.0));
        table += &format!(
            "{:<16} {:>6} {:>6} {:>6} {:>8} {:>8} {:>7} {:>9}\n",
            row.variant,
            row.sent,
            row.names.right,
            row.names.wrong,
            row.names.unknown,
            row.names.refused,
            row.failed,
            accuracy
        );
    }
    table
}
