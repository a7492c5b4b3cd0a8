//! CloudWatch's calls about metrics, with requests and replies as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Reply, invalid, required, whole_number};
use crate::clock::Millis;
use crate::cloudwatch::{MetricName, Metrics, Statistics};
use crate::common_error::CommonError;

const STATISTICS: [&str; 5] = ["SampleCount", "Sum", "Average", "Minimum", "Maximum"];
/// AWS's limit on the data points of GetMetricStatistics.
const MAX_POINTS: u64 = 1_440;
const MAX_QUERIES: usize = 500;
const PAGE: usize = 500;

/// A period, and the time for which it is asked. In seconds.
struct Range {
    begin: u64,
    end: u64,
}

pub fn statistics(metrics: &Metrics, request: &Value) -> Reply {
    let metric = metric(request)?;
    let Range { begin, end } = range(request)?;
    let period = period(request)?;
    if (end - begin) / period > MAX_POINTS {
        return Err(invalid(format!(
            "You have requested up to {} datapoints, which exceeds the limit of {MAX_POINTS}. You may reduce the datapoints requested by increasing Period, or decreasing the time range.",
            (end - begin) / period
        )));
    }
    let names = list(request, "Statistics");
    let extended = list(request, "ExtendedStatistics");
    if names.is_empty() && extended.is_empty() {
        return Err(invalid(
            "At least one of the parameters Statistics and ExtendedStatistics must be specified.",
        ));
    }
    if let Some(unknown) = names.iter().find(|name| !STATISTICS.contains(name)) {
        return Err(invalid(format!(
            "{unknown:?} is not a statistic; give one of {}",
            STATISTICS.join(", ")
        )));
    }
    let points = metrics.with(&metric, |series| {
        let periods = series.periods(begin, end, period);
        let points = periods.into_iter().map(|(second, statistics)| {
            let mut point = json!({ "Timestamp": second, "Unit": series.unit });
            for name in &names {
                point[*name] = statistics.get(name).into();
            }
            let extended = extended
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), statistics.get(name)?.into())));
            let extended: serde_json::Map<String, Value> = extended.collect();
            if !extended.is_empty() {
                point["ExtendedStatistics"] = extended.into();
            }
            point
        });
        points.collect::<Vec<_>>()
    });
    let name = metric.name;
    Ok(json!({ "Label": name, "Datapoints": points.unwrap_or_default() }))
}

pub fn data(metrics: &Metrics, request: &Value) -> Reply {
    let Range { begin, end } = range(request)?;
    let queries = request["MetricDataQueries"].as_array();
    let queries = queries.ok_or_else(|| invalid("The parameter MetricDataQueries is required."))?;
    if queries.is_empty() || queries.len() > MAX_QUERIES {
        return Err(invalid(format!(
            "MetricDataQueries must have from 1 to {MAX_QUERIES} queries"
        )));
    }
    let mut results = Vec::new();
    for query in queries {
        let id = required(query, "Id")?;
        let stat = &query["MetricStat"];
        if stat.is_null() {
            return Err(invalid(
                "localcloud has no metric math: give MetricStat in each query, not Expression",
            ));
        }
        if matches!(&query["ReturnData"], Value::Bool(false)) || query["ReturnData"] == "false" {
            continue;
        }
        let metric = metric(&stat["Metric"])?;
        let period = period(stat)?;
        let name = required(stat, "Stat")?;
        if Statistics::of(0.0).get(name).is_none() {
            return Err(invalid(format!(
                "The value {name} for parameter Stat is not supported."
            )));
        }
        let points = metrics.with(&metric, |series| series.periods(begin, end, period));
        let mut points: Vec<_> = points
            .unwrap_or_else(BTreeMap::new)
            .into_iter()
            .map(|(second, statistics)| (second, statistics.get(name)))
            .collect();
        if request["ScanBy"] != "TimestampAscending" {
            points.reverse();
        }
        results.push(json!({
            "Id": id,
            "Label": query["Label"].as_str().unwrap_or(&metric.name),
            "Timestamps": points.iter().map(|(second, _)| *second).collect::<Vec<_>>(),
            "Values": points.iter().map(|(_, value)| *value).collect::<Vec<_>>(),
            "StatusCode": "Complete",
        }));
    }
    Ok(json!({ "MetricDataResults": results, "Messages": [] }))
}

pub fn list_metrics(metrics: &Metrics, request: &Value) -> Reply {
    let (namespace, name) = (
        request["Namespace"].as_str(),
        request["MetricName"].as_str(),
    );
    let filters: Vec<(&str, Option<&str>)> = request["Dimensions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|filter| Some((filter["Name"].as_str()?, filter["Value"].as_str())))
        .collect();
    let found = metrics.names(|metric| {
        namespace.is_none_or(|it| metric.namespace == it)
            && name.is_none_or(|it| metric.name == it)
            && filters.iter().all(|(name, value)| {
                let mut dimensions = metric.dimensions.iter();
                dimensions.any(|(key, is)| key == name && value.is_none_or(|value| value == is))
            })
    });
    let from = match request["NextToken"].as_str() {
        Some(token) => token.parse().map_err(|_| invalid("Invalid nextToken"))?,
        None => 0,
    };
    let shown: Vec<_> = found
        .iter()
        .skip(from)
        .take(PAGE)
        .map(|metric| {
            let dimensions = metric.dimensions.iter();
            let dimensions: Vec<_> = dimensions.map(|(name, value)| json!({ "Name": name, "Value": value })).collect();
            json!({ "Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions })
        })
        .collect();
    let mut reply = json!({ "Metrics": shown });
    if from + PAGE < found.len() {
        reply["NextToken"] = (from + PAGE).to_string().into();
    }
    Ok(reply)
}

pub fn put_data(metrics: &Metrics, request: &Value, now: Millis) -> Reply {
    let namespace = required(request, "Namespace")?;
    if namespace.starts_with("AWS/") {
        return Err(invalid(
            "The value AWS/ for parameter Namespace is invalid.",
        ));
    }
    let data = request["MetricData"].as_array();
    for datum in data.ok_or_else(|| invalid("The parameter MetricData is required."))? {
        let mut metric = metric_in(namespace, datum)?;
        metric.name = required(datum, "MetricName")?.to_owned();
        let second = match &datum["Timestamp"] {
            Value::Null => now / 1000,
            time => {
                seconds(time).ok_or_else(|| invalid("The parameter Timestamp is not a time."))?
            }
        };
        let unit = datum["Unit"].as_str().unwrap_or("None");
        let set = &datum["StatisticValues"];
        if !set.is_null() {
            let part = |name: &str| {
                number(&set[name])
                    .ok_or_else(|| invalid(format!("The parameter {name} is required.")))
            };
            let statistics = Statistics::of_set(
                part("SampleCount")?,
                part("Sum")?,
                part("Minimum")?,
                part("Maximum")?,
            );
            metrics.add(metric, second, unit, statistics);
            continue;
        }
        let values = match number(&datum["Value"]) {
            Some(value) => vec![value],
            None => datum["Values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(number)
                .collect(),
        };
        if values.is_empty() {
            return Err(invalid(
                "At least one of the parameters Value, Values and StatisticValues must be specified.",
            ));
        }
        for value in values {
            metrics.add(metric.clone(), second, unit, Statistics::of(value));
        }
    }
    Ok(Value::Null)
}

fn metric(request: &Value) -> Result<MetricName, CommonError> {
    metric_in(required(request, "Namespace")?, request)
}

fn metric_in(namespace: &str, request: &Value) -> Result<MetricName, CommonError> {
    let mut metric = MetricName {
        namespace: namespace.to_owned(),
        name: required(request, "MetricName")?.to_owned(),
        dimensions: Default::default(),
    };
    for dimension in request["Dimensions"].as_array().into_iter().flatten() {
        let name = required(dimension, "Name")?.to_owned();
        metric
            .dimensions
            .insert((name, required(dimension, "Value")?.to_owned()));
    }
    Ok(metric)
}

fn range(request: &Value) -> Result<Range, CommonError> {
    let time = |name: &str| {
        let wrong = || {
            invalid(format!(
                "The parameter {name} is required and must be a time."
            ))
        };
        seconds(&request[name]).ok_or_else(wrong)
    };
    let (begin, end) = (time("StartTime")?, time("EndTime")?);
    if begin >= end {
        return Err(invalid(
            "The parameter StartTime must be less than the parameter EndTime.",
        ));
    }
    Ok(Range { begin, end })
}

fn period(request: &Value) -> Result<u64, CommonError> {
    let period = whole_number(request, "Period")?.map(|period| period as u64);
    let is_valid = |period: &u64| {
        [1, 5, 10, 20, 30].contains(period) || (*period > 0 && period.is_multiple_of(60))
    };
    period.filter(is_valid).ok_or_else(|| {
        invalid("The parameter Period must be 1, 5, 10, 20, 30, or any multiple of 60.")
    })
}

/// Reads a time: seconds, or a text as RFC 3339 has it.
fn seconds(value: &Value) -> Option<u64> {
    if let Some(number) = number(value) {
        return Some(number.max(0.0) as u64);
    }
    let time = OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp()).ok()
}

fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
    number.filter(|number| number.is_finite())
}

fn list<'a>(request: &'a Value, name: &str) -> Vec<&'a str> {
    let items = request[name].as_array().into_iter().flatten();
    items.filter_map(Value::as_str).collect()
}
