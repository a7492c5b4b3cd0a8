//! PutMetricData.

use serde_json::Value;

use super::input::{
    combination, instant, invalid, invalid_value, items, metric, missing, number, number_of,
    required, text, whole,
};
use super::store::{MetricId, Store};
use super::summary::Summary;
use crate::clock::Millis;
use crate::common_error::CommonError;

const MAX_METRICS: usize = 1000;
const MAX_VALUES: usize = 150;
const HOUR: Millis = 60 * 60 * 1000;
const MAX_AGE: Millis = 14 * 24 * HOUR;
const MAX_AHEAD: Millis = 2 * HOUR;
const UNITS: &str = "\
    Seconds Microseconds Milliseconds Bytes Kilobytes Megabytes Gigabytes Terabytes Bits Kilobits Megabits \
    Gigabits Terabits Percent Count Bytes/Second Kilobytes/Second Megabytes/Second Gigabytes/Second \
    Terabytes/Second Bits/Second Kilobits/Second Megabits/Second Gigabits/Second Terabits/Second Count/Second None";

/// One checked item of the call.
struct Datum {
    metric: MetricId,
    at: Millis,
    unit: String,
    values: Summary,
}

/// Stores all data of the call, or none if one is refused.
pub fn put(store: &mut Store, request: &Value, now: Millis) -> Result<Value, CommonError> {
    let namespace = required(request, "Namespace")?;
    if namespace.starts_with("AWS/") {
        return Err(invalid(format!(
            "The value {namespace} for parameter Namespace is invalid: names that begin with AWS/ are AWS's own."
        )));
    }
    let data = items(request, "MetricData");
    if data.is_empty() {
        return Err(missing("MetricData"));
    }
    if data.len() > MAX_METRICS {
        return Err(invalid(format!(
            "The collection MetricData must not have a size greater than {MAX_METRICS}."
        )));
    }
    let data: Result<Vec<Datum>, CommonError> = data
        .into_iter()
        .map(|mut datum| {
            let fields = datum
                .as_object_mut()
                .ok_or_else(|| invalid("A member of MetricData is no structure."))?;
            fields.insert("Namespace".to_owned(), namespace.into());
            read(&datum, now)
        })
        .collect();
    for datum in data? {
        store.add(datum.metric, datum.at, &datum.unit, &datum.values, now);
    }
    Ok(Value::Null)
}

fn read(datum: &Value, now: Millis) -> Result<Datum, CommonError> {
    let unit = text(datum, "Unit").unwrap_or("None");
    if UNITS.split(' ').all(|known| known != unit) {
        return Err(invalid_value(unit, "Unit"));
    }
    if let Some(resolution) = whole(datum, "StorageResolution")?
        && resolution != 1
        && resolution != 60
    {
        return Err(invalid("The parameter StorageResolution must be 1 or 60."));
    }
    let at = instant(datum, "Timestamp")?.unwrap_or(now);
    if at + MAX_AGE < now || at > now + MAX_AHEAD {
        return Err(invalid(
            "The parameter Timestamp must specify a time within the past two weeks and no more than two hours ahead.",
        ));
    }
    Ok(Datum {
        metric: metric(datum)?,
        at,
        unit: unit.to_owned(),
        values: values(datum)?,
    })
}

fn values(datum: &Value) -> Result<Summary, CommonError> {
    let statistics = &datum["StatisticValues"];
    let listed = items(datum, "Values");
    let value = number(datum, "Value")?;
    match (value, listed.is_empty(), statistics.is_object()) {
        (Some(value), true, false) => Ok(Summary::of(value, 1.0)),
        (None, false, false) => of_list(&listed, &items(datum, "Counts")),
        (None, true, true) => {
            let field = |name| number(statistics, name)?.ok_or_else(|| missing(name));
            let count = field("SampleCount")?;
            let (minimum, maximum) = (field("Minimum")?, field("Maximum")?);
            if count <= 0.0 || minimum > maximum {
                return Err(invalid("The parameter StatisticValues is invalid."));
            }
            let sum = field("Sum")?;
            Ok(Summary::of_statistics(count, sum, minimum, maximum))
        }
        (None, true, false) => Err(missing("Value")),
        _ => Err(combination(
            "At most one of the parameters Value, Values and StatisticValues can be specified.",
        )),
    }
}

fn of_list(values: &[Value], counts: &[Value]) -> Result<Summary, CommonError> {
    if values.len() > MAX_VALUES || (!counts.is_empty() && counts.len() != values.len()) {
        return Err(invalid(format!(
            "The parameters Values and Counts must have the same number of items, at most {MAX_VALUES}."
        )));
    }
    let refused = || invalid("The parameters Values and Counts are lists of numbers.");
    let mut whole: Option<Summary> = None;
    for (index, value) in values.iter().enumerate() {
        let count = counts.get(index).map_or(Some(1.0), number_of);
        let count = count.filter(|count| *count > 0.0).ok_or_else(refused)?;
        let summary = Summary::of(number_of(value).ok_or_else(refused)?, count);
        match &mut whole {
            Some(whole) => whole.add(&summary),
            None => whole = Some(summary),
        }
    }
    whole.ok_or_else(refused)
}
