//! CloudWatch's alarms on metrics. They are evaluated when they are described; their actions are never executed.

mod evaluate;

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Map, Number, Value, json};

use super::{AccountResult, epoch_seconds, invalid, required, whole_number};
use crate::account::ACCOUNT_ID;
use crate::clock::Millis;
use crate::cloudwatch::{Metrics, statistic, texts};
use crate::common_error::CommonError;

/// The alarms by name.
#[derive(Debug, Default)]
pub struct Alarms(BTreeMap<String, Alarm>);

#[derive(Debug)]
struct Alarm {
    /// As DescribeAlarms shows it.
    shown: Map<String, Value>,
    /// Until when a state holds that SetAlarmState set.
    set_until: Option<Millis>,
}

const OPERATORS: [&str; 4] = [
    "GreaterThanOrEqualToThreshold",
    "GreaterThanThreshold",
    "LessThanOrEqualToThreshold",
    "LessThanThreshold",
];
const STATISTICS: [&str; 5] = ["Average", "Maximum", "Minimum", "SampleCount", "Sum"];
/// The parameters that are kept as they are.
const TEXTS: [&str; 9] = [
    "AlarmDescription",
    "AlarmName",
    "ComparisonOperator",
    "ExtendedStatistic",
    "MetricName",
    "Namespace",
    "Statistic",
    "TreatMissingData",
    "Unit",
];
const MISSING: [&str; 4] = ["breaching", "ignore", "missing", "notBreaching"];
const STATES: [&str; 3] = ["ALARM", "INSUFFICIENT_DATA", "OK"];
/// How long SetAlarmState holds. On AWS, the next evaluation replaces the state, within a minute.
const SET_STATE_HOLDS: Millis = 60_000;
const ACTIONS: [&str; 3] = ["AlarmActions", "InsufficientDataActions", "OKActions"];
const NUMBERS: [&str; 3] = ["DatapointsToAlarm", "EvaluationPeriods", "Period"];
const DEFAULT_PAGE: usize = 50;
const DAY_SECONDS: usize = 24 * 60 * 60;

/// Returns the ARN of an alarm.
pub fn arn(region: &str, name: &str) -> String {
    format!("arn:aws:cloudwatch:{region}:{ACCOUNT_ID}:alarm:{name}")
}

impl Alarms {
    /// Creates or replaces an alarm on one metric.
    pub fn put(&mut self, request: &Value, region: &str, now: Millis) -> AccountResult {
        let name = required(request, "AlarmName")?;
        one_of(request, "ComparisonOperator", &OPERATORS)?;
        required(request, "MetricName")?;
        required(request, "Namespace")?;
        match request["ExtendedStatistic"].as_str() {
            None => one_of(request, "Statistic", &STATISTICS)?,
            Some(name) => drop(statistic(name).map_err(|error| invalid(error.message))?),
        }
        if !request["TreatMissingData"].is_null() {
            one_of(request, "TreatMissingData", &MISSING)?;
        }
        check_periods(request)?;
        let mut alarm = Map::new();
        // Names within other values would become names of XML elements.
        for field in TEXTS {
            if let Some(text) = request[field].as_str() {
                alarm.insert(field.to_owned(), json!(text));
            }
        }
        for field in ACTIONS {
            let actions = request[field].as_array().into_iter().flatten();
            let actions: Vec<_> = actions.filter_map(Value::as_str).collect();
            alarm.insert(field.to_owned(), json!(actions));
        }
        let dimensions = crate::cloudwatch::dimensions(request)?.into_iter();
        let dimensions: Vec<_> = dimensions
            .map(|(name, value)| json!({ "Name": name, "Value": value }))
            .collect();
        alarm.insert("Dimensions".to_owned(), json!(dimensions));
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
        // A changed alarm keeps its state until the next evaluation.
        if let Some(present) = self.0.get(name) {
            for field in ["StateReason", "StateUpdatedTimestamp", "StateValue"] {
                alarm.insert(field.to_owned(), present.shown[field].clone());
            }
        }
        let alarm = Alarm {
            shown: alarm,
            set_until: None,
        };
        self.0.insert(name.to_owned(), alarm);
        Ok(Value::Null)
    }

    /// Evaluates all alarms.
    pub fn evaluate(&mut self, metrics: &Metrics, now: Millis) {
        for alarm in self.0.values_mut() {
            if alarm.set_until.is_some_and(|until| now < until) {
                continue;
            }
            alarm.set_until = None;
            let (state, reason) = evaluate::state(&alarm.shown, metrics, now);
            alarm.enter(state, reason, now);
        }
    }

    /// Sets a state, which holds until the next evaluation.
    pub fn set_state(&mut self, request: &Value, now: Millis) -> AccountResult {
        let name = required(request, "AlarmName")?;
        one_of(request, "StateValue", &STATES)?;
        let (state, reason) = (
            required(request, "StateValue")?,
            required(request, "StateReason")?,
        );
        let alarm = self.0.get_mut(name).ok_or_else(|| not_found(name))?;
        alarm.enter(state, reason.to_owned(), now);
        alarm.set_until = Some(now + SET_STATE_HOLDS);
        Ok(Value::Null)
    }

    /// Returns the alarms on one metric.
    pub fn describe_for_metric(&self, request: &Value) -> AccountResult {
        required(request, "MetricName")?;
        required(request, "Namespace")?;
        let dimensions = crate::cloudwatch::dimensions(request)?;
        let is_wanted = |shown: &Map<String, Value>| {
            let same =
                |field: &str| request[field].is_null() || shown.get(field) == Some(&request[field]);
            let period = whole_number(request, "Period").ok().flatten();
            [
                "MetricName",
                "Namespace",
                "Statistic",
                "ExtendedStatistic",
                "Unit",
            ]
            .into_iter()
            .all(same)
                && period.is_none_or(|period| shown["Period"] == json!(period))
                && crate::cloudwatch::dimensions(&json!({ "Dimensions": shown["Dimensions"] }))
                    .is_ok_and(|it| it == dimensions)
        };
        let alarms = self.0.values().map(|alarm| &alarm.shown);
        let alarms: Vec<_> = alarms.filter(|shown| is_wanted(shown)).collect();
        Ok(json!({ "MetricAlarms": alarms }))
    }

    pub fn describe(&self, request: &Value) -> AccountResult {
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
                    && state.is_none_or(|state| alarm.shown["StateValue"] == state)
                    && after.is_none_or(|after| name.as_str() > after)
            })
            .collect();
        let page = &matching[..matching.len().min(most)];
        let alarms: Vec<_> = page.iter().map(|(_, alarm)| alarm.shown.clone()).collect();
        let mut reply = json!({ "MetricAlarms": alarms, "CompositeAlarms": [] });
        if let Some((last, _)) = page.last().filter(|_| page.len() < matching.len()) {
            reply["NextToken"] = json!(last);
        }
        Ok(reply)
    }

    /// Deletes all of the alarms, or none if one does not exist.
    pub fn delete(&mut self, request: &Value) -> AccountResult {
        let names = texts(request, "AlarmNames");
        if let Some(name) = names.iter().find(|name| !self.0.contains_key(**name)) {
            return Err(not_found(name));
        }
        for name in names {
            self.0.remove(name);
        }
        Ok(Value::Null)
    }
}

/// Checks that the periods of an alarm are valid and fit together.
fn check_periods(request: &Value) -> Result<(), CommonError> {
    let periods = whole_number(request, "EvaluationPeriods")?.unwrap_or(0);
    let period = whole_number(request, "Period")?.unwrap_or(0);
    let is_period = matches!(period, 0 | 1 | 5 | 10 | 20 | 30) || period.is_multiple_of(60);
    if !is_period {
        return Err(invalid(
            "Value at 'Period' must be 1, 5, 10, 20, 30 or a multiple of 60.",
        ));
    }
    // From periods of an hour on, an alarm may look back for a week.
    let most = if period < 3600 {
        DAY_SECONDS
    } else {
        7 * DAY_SECONDS
    };
    if periods.saturating_mul(period) > most {
        return Err(invalid(format!(
            "Metrics cannot be checked across more than {} days (EvaluationPeriods * Period must be <= {most}).",
            most / DAY_SECONDS
        )));
    }
    if whole_number(request, "DatapointsToAlarm")?.is_some_and(|datapoints| datapoints > periods) {
        return Err(invalid(
            "DatapointsToAlarm must be less than or equal to EvaluationPeriods.",
        ));
    }
    Ok(())
}

impl Alarm {
    fn enter(&mut self, state: &str, reason: String, now: Millis) {
        if self.shown["StateValue"] != state {
            let at = json!(epoch_seconds(now));
            self.shown
                .insert("StateUpdatedTimestamp".to_owned(), at.clone());
            self.shown
                .insert("StateTransitionedTimestamp".to_owned(), at);
            self.shown.insert("StateValue".to_owned(), json!(state));
            self.shown.insert("StateReason".to_owned(), json!(reason));
        }
    }
}

fn not_found(name: &str) -> CommonError {
    let message = format!("The alarm {name} does not exist.");
    CommonError::new("ResourceNotFound", StatusCode::NOT_FOUND, message)
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
