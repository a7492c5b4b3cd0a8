//! CloudWatch's metrics: a bounded store in memory, and the calls that write and read it.
//!
//! | module | does |
//! |---|---|
//! | `series` | the values of one metric, by second for three hours and by minute beyond; pure |
//! | `summary` | statistics of values, percentiles included; pure |
//! | `store` | all metrics within their bounds; pure |
//! | `input` | reads the parameters of calls |
//! | `put`, `statistics`, `data`, `list` | PutMetricData, GetMetricStatistics, GetMetricData, ListMetrics |

mod data;
mod input;
mod list;
mod put;
mod series;
mod statistics;
mod store;
mod summary;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::clock::{Clock, Millis};
use crate::common_error::CommonError;
pub use input::{dimensions, statistic, texts};
pub use store::{MetricId, Store};
pub use summary::Summary;

/// The metrics of the account.
#[derive(Debug)]
pub struct Metrics {
    clock: Clock,
    store: Mutex<Store>,
}

impl Metrics {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            store: Mutex::default(),
        }
    }

    /// Adds one value of a metric now, as Lambda does of each invocation.
    /// `unit` is one of CloudWatch's, such as `Count` or `Milliseconds`.
    pub fn record(
        &self,
        namespace: &str,
        name: &str,
        dimensions: &[(&str, &str)],
        value: f64,
        unit: &str,
    ) {
        if !value.is_finite() {
            return;
        }
        let now = self.clock.now();
        let metric = MetricId::new(namespace, name, dimensions);
        self.lock()
            .add(metric, now, unit, &Summary::of(value, 1.0), now);
    }

    /// Handles one call; `None` for an action that is not of metrics.
    pub fn call(&self, action: &str, request: &Value) -> Option<Result<Value, CommonError>> {
        let now = self.clock.now();
        let mut store = self.lock();
        Some(match action {
            "GetMetricData" => data::get(&store, request),
            "GetMetricStatistics" => statistics::get(&store, request),
            "ListMetrics" => list::list(&store, request, now),
            "PutMetricData" => put::put(&mut store, request, now),
            _ => return None,
        })
    }

    /// Returns the values of a metric in each of `periods` periods of `period` milliseconds from `start`.
    pub fn periods(
        &self,
        metric: &MetricId,
        unit: Option<&str>,
        start: Millis,
        period: Millis,
        periods: usize,
    ) -> Vec<Option<Summary>> {
        let end = start + period * periods as Millis;
        let mut found = vec![None; periods];
        for (at, summary) in self.lock().read(metric, unit, start, end, period) {
            found[((at - start) / period) as usize] = Some(summary);
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
