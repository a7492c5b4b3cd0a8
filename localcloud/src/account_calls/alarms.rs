//! CloudWatch's alarms on metrics. They are kept and described, never evaluated.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Map, Number, Value, json};

use super::{Reply, epoch_seconds, invalid, required, whole_number};
use crate::account::ACCOUNT_ID;
use crate::clock::Millis;
use crate::common_error::CommonError;

/// The alarms by name, as DescribeAlarms shows them.
#[derive(Debug, Default)]
pub struct Alarms(BTreeMap<String, Map<String, Value>>);

const OPERATORS: [&str; 4] = [
    "GreaterThanOrEqualToThreshold",
    "GreaterThanThreshold",
    "LessThanOrEqualToThreshold",
    "LessThanThreshold",
];
const STATISTICS: [&str; 5] = ["Average", "Maximum", "Minimum", "SampleCount", "Sum"];
/// The parameters that are kept as they are.
const TEXTS: [&str; 8] = [
    "AlarmDescription",
    "AlarmName",
    "ComparisonOperator",
    "ExtendedStatistic",
    "MetricName",
    "Namespace",
    "Statistic",
    "TreatMissingData",
];
const LISTS: [&str; 4] = [
    "AlarmActions",
    "Dimensions",
    "InsufficientDataActions",
    "OKActions",
];
const NUMBERS: [&str; 3] = ["DatapointsToAlarm", "EvaluationPeriods", "Period"];
const DEFAULT_PAGE: usize = 50;

/// Returns the ARN of an alarm.
pub fn arn(region: &str, name: &str) -> String {
    format!("arn:aws:cloudwatch:{region}:{ACCOUNT_ID}:alarm:{name}")
}

impl Alarms {
    /// Creates or replaces an alarm on one metric.
    pub fn put(&mut self, request: &Value, region: &str, now: Millis) -> Reply {
        let name = required(request, "AlarmName")?;
        one_of(request, "ComparisonOperator", &OPERATORS)?;
        required(request, "MetricName")?;
        required(request, "Namespace")?;
        if request["ExtendedStatistic"].is_null() {
            one_of(request, "Statistic", &STATISTICS)?;
        }
        let mut alarm = Map::new();
        for field in TEXTS.into_iter().chain(LISTS) {
            if !request[field].is_null() {
                alarm.insert(field.to_owned(), request[field].clone());
            }
        }
        for list in LISTS {
            alarm.entry(list).or_insert_with(|| json!([]));
        }
        for field in NUMBERS {
            if let Some(number) = whole_number(request, field)?.filter(|number| *number > 0) {
                alarm.insert(field.to_owned(), json!(number));
            } else if field != "DatapointsToAlarm" {
                return Err(invalid(format!(
                    "The parameter {field} must be greater than 0."
                )));
            }
        }
        alarm.insert("Threshold".to_owned(), Value::Number(threshold(request)?));
        let enabled = !matches!(&request["ActionsEnabled"], Value::Bool(false))
            && request["ActionsEnabled"].as_str() != Some("false");
        let derived = json!({
            "ActionsEnabled": enabled,
            "AlarmArn": arn(region, name),
            "AlarmConfigurationUpdatedTimestamp": epoch_seconds(now),
            "StateReason": "Unchecked: Initial alarm creation",
            "StateUpdatedTimestamp": epoch_seconds(now),
            "StateValue": "INSUFFICIENT_DATA",
        });
        alarm.extend(derived.as_object().cloned().unwrap_or_default());
        self.0.insert(name.to_owned(), alarm);
        Ok(Value::Null)
    }

    pub fn describe(&self, request: &Value) -> Reply {
        let names = texts(request, "AlarmNames");
        let prefix = request["AlarmNamePrefix"].as_str().unwrap_or_default();
        let state = request["StateValue"].as_str();
        // The last name of the page before.
        let after = request["NextToken"].as_str();
        let most = whole_number(request, "MaxRecords")?.unwrap_or(DEFAULT_PAGE);
        if !(1..=100).contains(&most) {
            return Err(invalid("The parameter MaxRecords is not from 1 to 100."));
        }
        let matching: Vec<_> = self
            .0
            .iter()
            .filter(|(name, alarm)| {
                (names.is_empty() || names.contains(&name.as_str()))
                    && name.starts_with(prefix)
                    && state.is_none_or(|state| alarm["StateValue"] == state)
                    && after.is_none_or(|after| name.as_str() > after)
            })
            .collect();
        let page = &matching[..matching.len().min(most)];
        let alarms: Vec<_> = page.iter().map(|(_, alarm)| (*alarm).clone()).collect();
        let mut reply = json!({ "MetricAlarms": alarms, "CompositeAlarms": [] });
        if let Some((last, _)) = page.last().filter(|_| page.len() < matching.len()) {
            reply["NextToken"] = json!(last);
        }
        Ok(reply)
    }

    /// Deletes all of the alarms, or none if one does not exist.
    pub fn delete(&mut self, request: &Value) -> Reply {
        let names = texts(request, "AlarmNames");
        if let Some(name) = names.iter().find(|name| !self.0.contains_key(**name)) {
            let message = format!("The alarm {name} does not exist.");
            return Err(CommonError::new(
                "ResourceNotFound",
                StatusCode::NOT_FOUND,
                message,
            ));
        }
        for name in names {
            self.0.remove(name);
        }
        Ok(Value::Null)
    }
}

fn texts<'a>(request: &'a Value, name: &str) -> Vec<&'a str> {
    let list = request[name].as_array().into_iter().flatten();
    list.filter_map(Value::as_str).collect()
}

fn one_of(request: &Value, name: &str, allowed: &[&str]) -> Result<(), CommonError> {
    let value = required(request, name)?;
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(invalid(format!(
        "Value '{value}' at '{name}' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
        allowed.join(", ")
    )))
}

fn threshold(request: &Value) -> Result<Number, CommonError> {
    let threshold = match &request["Threshold"] {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    };
    let number = threshold.and_then(Number::from_f64);
    number.ok_or_else(|| invalid("The parameter Threshold is required, and is a number."))
}
