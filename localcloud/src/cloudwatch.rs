//! CloudWatch's metrics: the statistics of their values, by second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;

/// How long values are kept, in seconds.
pub const KEPT_SECONDS: u64 = 24 * 3600;
/// The most metrics; values of further ones are dropped.
const MAX_METRICS: usize = 10_000;
/// Of a second, so many values are kept for percentiles.
const MAX_VALUES: usize = 1_000;

/// The metrics of the account.
#[derive(Debug)]
pub struct Metrics {
    clock: Clock,
    all: Mutex<BTreeMap<MetricName, Series>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricName {
    pub namespace: String,
    pub name: String,
    pub dimensions: BTreeSet<(String, String)>,
}

/// The values of a metric.
#[derive(Debug, Default)]
pub struct Series {
    pub unit: String,
    /// By seconds since the Unix epoch.
    seconds: BTreeMap<u64, Statistics>,
}

/// The statistics of the values of a period.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    count: f64,
    sum: f64,
    least: f64,
    most: f64,
    values: Vec<f64>,
}

impl Metrics {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            all: Mutex::default(),
        }
    }

    /// Adds a value of now.
    pub fn record(
        &self,
        namespace: &str,
        name: &str,
        dimensions: &[(&str, &str)],
        value: f64,
        unit: &str,
    ) {
        let dimensions = dimensions
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let metric = MetricName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            dimensions: dimensions.collect(),
        };
        let second = self.clock.now() / 1000;
        self.add(metric, second, unit, Statistics::of(value));
    }

    /// Adds the statistics of a second since the Unix epoch.
    pub fn add(&self, metric: MetricName, second: u64, unit: &str, statistics: Statistics) {
        let mut all = self.lock();
        if all.len() >= MAX_METRICS && !all.contains_key(&metric) {
            return;
        }
        let series = all.entry(metric).or_default();
        unit.clone_into(&mut series.unit);
        series.seconds.entry(second).or_default().merge(&statistics);
        let oldest = (self.clock.now() / 1000).saturating_sub(KEPT_SECONDS);
        series.seconds = series.seconds.split_off(&oldest);
    }

    /// Returns what `read` makes of a metric's values; `None` for a metric without any.
    pub fn with<R>(&self, metric: &MetricName, read: impl FnOnce(&Series) -> R) -> Option<R> {
        self.lock().get(metric).map(read)
    }

    /// Returns the metrics that `is_wanted` selects, in order.
    pub fn names(&self, is_wanted: impl Fn(&MetricName) -> bool) -> Vec<MetricName> {
        self.lock()
            .keys()
            .filter(|name| is_wanted(name))
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MetricName, Series>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Series {
    /// Returns the statistics of each period with values, by its beginning. `begin`, `end` and `period` are seconds.
    pub fn periods(&self, begin: u64, end: u64, period: u64) -> BTreeMap<u64, Statistics> {
        let mut periods: BTreeMap<u64, Statistics> = BTreeMap::new();
        let period = period.max(1);
        // Periods begin at multiples of their length; AWS rounds the beginning down to one.
        for (second, statistics) in self.seconds.range(begin / period * period..end.max(begin)) {
            periods
                .entry(second / period * period)
                .or_default()
                .merge(statistics);
        }
        periods
    }
}

impl Statistics {
    pub fn of(value: f64) -> Self {
        Self {
            count: 1.0,
            sum: value,
            least: value,
            most: value,
            values: vec![value],
        }
    }

    /// Returns statistics of values that are not known one by one.
    pub fn of_set(count: f64, sum: f64, least: f64, most: f64) -> Self {
        Self {
            count,
            sum,
            least,
            most,
            values: Vec::new(),
        }
    }

    fn merge(&mut self, other: &Self) {
        if self.count == 0.0 {
            (self.least, self.most) = (other.least, other.most);
        }
        self.count += other.count;
        self.sum += other.sum;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
        let room = MAX_VALUES.saturating_sub(self.values.len());
        self.values.extend(other.values.iter().take(room));
    }

    /// Returns a statistic by CloudWatch's name; `None` if there is no such one.
    pub fn get(&self, name: &str) -> Option<f64> {
        match name {
            "SampleCount" => Some(self.count),
            "Sum" => Some(self.sum),
            "Average" => Some(self.sum / self.count),
            "Minimum" => Some(self.least),
            "Maximum" => Some(self.most),
            _ => {
                let percent: f64 = name.strip_prefix('p')?.parse().ok()?;
                (0.0..=100.0)
                    .contains(&percent)
                    .then(|| self.percentile(percent))
            }
        }
    }

    /// Returns the value below which this part of the values lies, by nearest rank.
    fn percentile(&self, percent: f64) -> f64 {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
        values
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_summed_by_period() {
        let mut series = Series::default();
        for (second, value) in [(118, 9.0), (120, 1.0), (121, 3.0), (179, 2.0), (180, 7.0)] {
            let of_second: &mut Statistics = series.seconds.entry(second).or_default();
            of_second.merge(&Statistics::of(value));
        }
        let periods = series.periods(125, 181, 60);
        assert_eq!(periods.keys().copied().collect::<Vec<_>>(), [120, 180]);
        let first = &periods[&120];
        let names = [
            "SampleCount",
            "Sum",
            "Average",
            "Minimum",
            "Maximum",
            "p50",
            "p100",
            "px",
        ];
        let expected = [3.0, 6.0, 2.0, 1.0, 3.0, 2.0, 3.0].map(Some);
        assert_eq!(names.map(|name| first.get(name))[..7], expected);
        assert_eq!(first.get("px"), None);
        assert_eq!(series.periods(120, 120, 60), BTreeMap::new());
    }
}
