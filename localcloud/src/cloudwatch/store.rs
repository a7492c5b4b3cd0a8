//! All metrics, within bounds.

use std::collections::BTreeMap;

use super::series::{Series, merge};
use super::summary::Summary;
use crate::clock::Millis;

/// The most metrics; beyond, the one without new values for the longest time is dropped.
const MAX_METRICS: usize = 5_000;
/// The most summaries of all metrics; beyond, the oldest eighth is dropped.
const MAX_SUMMARIES: usize = 200_000;

/// A metric: its namespace, name and dimensions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricId {
    pub namespace: String,
    pub name: String,
    /// Names and values, in order.
    pub dimensions: Vec<(String, String)>,
}

/// The metrics, each with its values by unit.
#[derive(Debug, Default)]
pub struct Store {
    metrics: BTreeMap<MetricId, BTreeMap<String, Series>>,
    summaries: usize,
}

impl MetricId {
    pub fn new(namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> Self {
        let dimensions = dimensions.iter();
        let mut dimensions: Vec<(String, String)> = dimensions
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        dimensions.sort();
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            dimensions,
        }
    }
}

impl Store {
    /// Adds values of a time to a metric.
    pub fn add(&mut self, id: MetricId, at: Millis, unit: &str, values: &Summary, now: Millis) {
        if !self.metrics.contains_key(&id) && self.metrics.len() >= MAX_METRICS {
            self.drop_stalest();
        }
        let units = self.metrics.entry(id).or_default();
        let series = match units.get_mut(unit) {
            Some(series) => series,
            None => units.entry(unit.to_owned()).or_default(),
        };
        self.summaries -= series.len();
        series.add(at, values, now);
        self.summaries += series.len();
        if self.summaries > MAX_SUMMARIES {
            self.drop_oldest();
        }
    }

    /// Returns the values of a metric from `start` to before `end`, merged by periods from `start`, with the start of each.
    /// `unit` is that of the values; `None` for all of them.
    pub fn read(
        &self,
        id: &MetricId,
        unit: Option<&str>,
        start: Millis,
        end: Millis,
        period: Millis,
    ) -> BTreeMap<Millis, Summary> {
        let mut periods: BTreeMap<Millis, Summary> = BTreeMap::new();
        for (_, series) in self.series(id, unit) {
            for (at, values) in series.between(start, end) {
                merge(&mut periods, at - (at - start) % period, values);
            }
        }
        periods
    }

    /// Returns the unit of a metric's values; `None` if it has none, or several.
    pub fn unit<'a>(&'a self, id: &MetricId, unit: Option<&'a str>) -> Option<&'a str> {
        let mut units = self.series(id, unit);
        let (first, _) = units.next()?;
        units.next().is_none().then_some(first)
    }

    /// Returns all metrics in order, each with the time of its last values.
    pub fn all(&self) -> impl Iterator<Item = (&MetricId, Millis)> {
        self.metrics.iter().map(|(id, units)| (id, last(units)))
    }

    fn series<'a>(
        &'a self,
        id: &MetricId,
        unit: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a str, &'a Series)> {
        let units = self.metrics.get(id).into_iter().flatten();
        units
            .filter(move |(name, _)| unit.is_none_or(|unit| unit == name.as_str()))
            .map(|(name, series)| (name.as_str(), series))
    }

    fn drop_stalest(&mut self) {
        let stalest = self.metrics.iter().min_by_key(|(_, units)| last(units));
        let Some(id) = stalest.map(|(id, _)| id.clone()) else {
            return;
        };
        let dropped = self.metrics.remove(&id).unwrap_or_default();
        self.summaries -= dropped.values().map(Series::len).sum::<usize>();
    }

    fn drop_oldest(&mut self) {
        let series = self.metrics.values().flat_map(BTreeMap::values);
        let mut times: Vec<Millis> = series.flat_map(Series::times).collect();
        let (_, oldest, _) = times.select_nth_unstable(MAX_SUMMARIES / 8);
        let oldest = *oldest + 1;
        self.metrics.retain(|_, units| {
            units.retain(|_, series| {
                series.drop_before(oldest);
                series.len() > 0
            });
            !units.is_empty()
        });
        let series = self.metrics.values().flat_map(BTreeMap::values);
        self.summaries = series.map(Series::len).sum();
    }
}

fn last(units: &BTreeMap<String, Series>) -> Millis {
    let series = units.values();
    let times = series.filter_map(|series| series.times().next_back());
    times.max().unwrap_or_default()
}
