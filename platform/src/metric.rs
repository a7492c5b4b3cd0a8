//! Metrics, defined in tables: each crate has one, made by [`metric_table!`](crate::metric_table).

use std::fmt::Write;
use std::marker::PhantomData;

pub use metrics::{Counter, Gauge, Histogram, Unit};

/// A metric of the kind `K`: [`Counter`], [`Gauge`] or [`Histogram`].
#[derive(Debug)]
pub struct Metric<K> {
    definition: Definition,
    kind: PhantomData<K>,
}

/// A row of a table.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    pub name: &'static str,
    pub kind: Kind,
    /// The label that it is recorded with, if any.
    pub label: Option<&'static str>,
    pub unit: Unit,
    pub meaning: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Defines metrics: constant, kind, name, label in brackets if it has one, unit, meaning. Adds `TABLE`, which lists them, and
/// `describe`, which registers units and meanings.
#[macro_export]
macro_rules! metric_table {
    ($($constant:ident: $kind:ident $name:literal $([$label:ident])? $unit:ident, $meaning:literal;)*) => {
        $(#[doc = $meaning]
        pub const $constant: $crate::metric::Metric<$crate::metric::$kind> =
            $crate::metric::Metric::define($crate::metric::Definition {
                name: $name,
                kind: $crate::metric::Kind::$kind,
                label: $crate::metric::first(&[$(stringify!($label))?]),
                unit: $crate::metric::Unit::$unit,
                meaning: $meaning,
            });)*

        /// The definitions of this table.
        pub const TABLE: &[$crate::metric::Definition] = &[$($constant.definition()),*];

        /// Registers units and meanings. Call it after `platform::telemetry::init`.
        pub fn describe() {
            TABLE.iter().for_each($crate::metric::Definition::describe);
        }
    };
}

impl<K> Metric<K> {
    #[must_use]
    pub const fn define(definition: Definition) -> Self {
        Self {
            definition,
            kind: PhantomData,
        }
    }

    #[must_use]
    pub const fn definition(&self) -> Definition {
        self.definition
    }
}

macro_rules! recorded {
    ($($kind:ty, $record:ident;)*) => {
        $(impl Metric<$kind> {
            /// Returns what records values.
            pub fn get(&self) -> $kind {
                metrics::$record!(self.definition.name)
            }

            /// Returns what records values with this value of the label.
            pub fn of(&self, label: &'static str) -> $kind {
                let name = self.definition.label.expect("the table names the label");
                metrics::$record!(self.definition.name, name => label)
            }
        })*
    };
}

recorded! {
    Counter, counter;
    Gauge, gauge;
    Histogram, histogram;
}

impl Definition {
    /// Registers unit and meaning.
    pub fn describe(&self) {
        let Self {
            name,
            unit,
            meaning,
            ..
        } = *self;
        match self.kind {
            Kind::Counter => metrics::describe_counter!(name, unit, meaning),
            Kind::Gauge => metrics::describe_gauge!(name, unit, meaning),
            Kind::Histogram => metrics::describe_histogram!(name, unit, meaning),
        }
    }
}

/// Returns the tables in Markdown, as the docs have them.
#[must_use]
pub fn markdown(table: &[Definition]) -> String {
    let mut text = String::from("| metric | kind | label | meaning |\n|---|---|---|---|\n");
    for it in table {
        let kind = match it.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let label = it.label.map_or(String::new(), |label| format!("`{label}`"));
        let meaning = it.meaning.trim_end_matches('.');
        let _ = writeln!(text, "| `{}` | {kind} | {label} | {meaning} |", it.name);
    }
    text
}

/// Returns the first text of a list, for [`metric_table!`](crate::metric_table).
#[doc(hidden)]
#[must_use]
pub const fn first(texts: &[&'static str]) -> Option<&'static str> {
    match texts {
        [text, ..] => Some(text),
        [] => None,
    }
}
