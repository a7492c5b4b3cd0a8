//! GetMetricStatistics.

use serde_json::{Map, Value, json};

use super::input::{combination, metric, period, range, statistic, text, texts};
use super::store::Store;
use super::summary::Statistic;
use crate::common_error::CommonError;

const MAX_DATAPOINTS: u64 = 1440;
const MAX_STATISTICS: usize = 5;
const MAX_EXTENDED: usize = 10;

/// Returns the datapoints of one metric, in order of time. AWS promises no order.
pub fn get(store: &Store, request: &Value) -> Result<Value, CommonError> {
    let metric = metric(request)?;
    let (start, end) = range(request)?;
    let period = period(request)?;
    let names = texts(request, "Statistics");
    let extended_names = texts(request, "ExtendedStatistics");
    if names.is_empty() && extended_names.is_empty() {
        return Err(combination(
            "At least one of the parameters Statistics and ExtendedStatistics must be specified.",
        ));
    }
    if names.len() > MAX_STATISTICS || extended_names.len() > MAX_EXTENDED {
        return Err(combination("Too many statistics are specified."));
    }
    let read = |names: &[&str]| -> Result<Vec<(String, Statistic)>, CommonError> {
        let names = names.iter();
        names
            .map(|name| Ok(((*name).to_owned(), statistic(name)?)))
            .collect()
    };
    let (statistics, extended) = (read(&names)?, read(&extended_names)?);
    let datapoints = (end - start).div_ceil(period);
    if datapoints > MAX_DATAPOINTS {
        return Err(combination(format!(
            "You have requested up to {datapoints} datapoints, which exceeds the limit of 1,440. You may reduce the datapoints requested by increasing Period, or decreasing the time range."
        )));
    }
    let unit = text(request, "Unit");
    let shown_unit = store.unit(&metric, unit).unwrap_or("None");
    let mut datapoints = Vec::new();
    for (at, values) in store.read(&metric, unit, start, end, period) {
        let mut datapoint = Map::new();
        datapoint.insert("Timestamp".to_owned(), json!(at as f64 / 1e3));
        datapoint.insert("Unit".to_owned(), json!(shown_unit));
        for (name, statistic) in &statistics {
            let value = values.statistic(*statistic);
            datapoint.extend(value.map(|value| (name.clone(), json!(value))));
        }
        let percentiles: Map<String, Value> = extended
            .iter()
            .filter_map(|(name, it)| Some((name.clone(), json!(values.statistic(*it)?))))
            .collect();
        if !percentiles.is_empty() {
            datapoint.insert("ExtendedStatistics".to_owned(), Value::Object(percentiles));
        }
        datapoints.push(Value::Object(datapoint));
    }
    Ok(json!({ "Label": metric.name, "Datapoints": datapoints }))
}
