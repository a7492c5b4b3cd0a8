//! GetMetricData, without metric math.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::input::{
    invalid, invalid_value, items, metric, page_start, period, range, required, statistic, text,
    validation, whole,
};
use super::store::Store;
use crate::clock::Millis;
use crate::common_error::CommonError;

const MAX_QUERIES: usize = 500;
/// The default and greatest MaxDatapoints.
const MAX_DATAPOINTS: u64 = 100_800;

/// The result of one query.
struct Found {
    id: String,
    label: String,
    datapoints: Vec<(Millis, f64)>,
}

/// Returns the datapoints of several metrics. A page has MaxDatapoints of them; NextToken is the number before.
pub fn get(store: &Store, request: &Value) -> Result<Value, CommonError> {
    let queries = items(request, "MetricDataQueries");
    if queries.is_empty() || queries.len() > MAX_QUERIES {
        return Err(validation(format!(
            "The collection MetricDataQueries must have from 1 to {MAX_QUERIES} items."
        )));
    }
    let (start, end) = range(request)?;
    let newest_first = match text(request, "ScanBy") {
        None | Some("TimestampDescending") => true,
        Some("TimestampAscending") => false,
        Some(other) => return Err(invalid_value(other, "ScanBy")),
    };
    let most = whole(request, "MaxDatapoints")?.unwrap_or(MAX_DATAPOINTS);
    if !(1..=MAX_DATAPOINTS).contains(&most) {
        return Err(invalid(format!(
            "The parameter MaxDatapoints must be from 1 to {MAX_DATAPOINTS}."
        )));
    }
    let from = page_start(request)?;
    let mut ids = HashSet::new();
    let mut found = Vec::new();
    for query in &queries {
        let id = required(query, "Id")?;
        let is_id = id.starts_with(|first: char| first.is_ascii_lowercase())
            && id.chars().all(|it| it.is_ascii_alphanumeric() || it == '_');
        if !is_id {
            return Err(validation(format!(
                "The value '{id}' in field 'Id' must begin with a lower-case letter, and have letters, digits and underscores only."
            )));
        }
        if !ids.insert(id.to_owned()) {
            return Err(validation(format!(
                "The values of 'Id' in MetricDataQueries must be unique: '{id}' occurs twice."
            )));
        }
        let result = of_query(store, query, id, start, end, newest_first)?;
        let is_returned = query["ReturnData"] != json!(false) && query["ReturnData"] != "false";
        if is_returned {
            found.push(result);
        }
    }
    Ok(page(&found, from, most as usize))
}

fn of_query(
    store: &Store,
    query: &Value,
    id: &str,
    start: Millis,
    end: Millis,
    newest_first: bool,
) -> Result<Found, CommonError> {
    if text(query, "Expression").is_some() {
        return Err(validation(format!(
            "localcloud has no metric math: '{id}' has an Expression. Query its metrics by MetricStat."
        )));
    }
    let stat = &query["MetricStat"];
    if !stat.is_object() {
        return Err(validation(format!(
            "Either MetricStat or Expression is required: '{id}' has neither."
        )));
    }
    let metric = metric(&stat["Metric"])?;
    let statistic = statistic(required(stat, "Stat")?)?;
    let periods = store.read(&metric, text(stat, "Unit"), start, end, period(stat)?);
    let mut datapoints: Vec<(Millis, f64)> = periods
        .iter()
        .filter_map(|(at, values)| Some((*at, values.statistic(statistic)?)))
        .collect();
    if newest_first {
        datapoints.reverse();
    }
    Ok(Found {
        id: id.to_owned(),
        label: text(query, "Label").unwrap_or(&metric.name).to_owned(),
        datapoints,
    })
}

fn page(found: &[Found], from: usize, most: usize) -> Value {
    let (mut skipped, mut room, mut is_cut) = (from, most, false);
    let mut results = Vec::new();
    for result in found {
        let before = skipped.min(result.datapoints.len());
        skipped -= before;
        // A page repeats no result that the pages before have whole.
        if from > 0 && before == result.datapoints.len() {
            continue;
        }
        let rest = &result.datapoints[before..];
        let shown = &rest[..rest.len().min(room)];
        room -= shown.len();
        is_cut |= shown.len() < rest.len();
        let seconds: Vec<f64> = shown.iter().map(|(at, _)| *at as f64 / 1e3).collect();
        let values: Vec<f64> = shown.iter().map(|(_, value)| *value).collect();
        let status = match shown.len() < rest.len() {
            true => "PartialData",
            false => "Complete",
        };
        results.push(json!({
            "Id": result.id, "Label": result.label, "Timestamps": seconds, "Values": values, "StatusCode": status,
        }));
    }
    let mut reply = json!({ "MetricDataResults": results, "Messages": [] });
    if is_cut {
        reply["NextToken"] = json!(from.saturating_add(most - room).to_string());
    }
    reply
}
