//! The state of an alarm by the values of its metric.
//!
//! Source: "Configuring how CloudWatch alarms treat missing data",
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html>.

use serde_json::{Map, Value, json};

use crate::clock::Millis;
use crate::cloudwatch::{MetricId, Metrics, dimensions, statistic};

const MINUTE: Millis = 60_000;
/// An alarm looks back over this many periods more, if values are missing.
const MORE_PERIODS: usize = 2;

/// What an alarm compares.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a> {
    pub operator: &'a str,
    pub threshold: f64,
    /// The number of periods that count.
    pub periods: usize,
    /// How many of them must breach.
    pub to_alarm: usize,
    pub missing: &'a str,
}

/// Evaluates an alarm, given as DescribeAlarms shows it. Returns its state and the reason.
pub fn state(alarm: &Map<String, Value>, metrics: &Metrics, now: Millis) -> (&'static str, String) {
    let text = |field: &str| alarm.get(field).and_then(Value::as_str);
    let number = |field: &str| alarm.get(field).and_then(Value::as_u64);
    let name = text("ExtendedStatistic").or_else(|| text("Statistic"));
    let statistic = name.and_then(|name| statistic(name).ok());
    let list = json!({ "Dimensions": alarm.get("Dimensions") });
    let (Some(statistic), Ok(dimensions)) = (statistic, dimensions(&list)) else {
        return ("INSUFFICIENT_DATA", "The metric is not known.".to_owned());
    };
    let metric = MetricId {
        namespace: text("Namespace").unwrap_or_default().to_owned(),
        name: text("MetricName").unwrap_or_default().to_owned(),
        dimensions,
    };
    let periods = number("EvaluationPeriods").unwrap_or(1) as usize;
    let rule = Rule {
        operator: text("ComparisonOperator").unwrap_or_default(),
        threshold: alarm["Threshold"].as_f64().unwrap_or_default(),
        periods,
        to_alarm: number("DatapointsToAlarm").map_or(periods, |datapoints| datapoints as usize),
        missing: text("TreatMissingData").unwrap_or("missing"),
    };
    let period = number("Period").unwrap_or(60) * 1000;
    // An alarm is evaluated each minute, or each period if that is shorter, over the time before.
    let end = now - now % period.clamp(1000, MINUTE);
    let looked_at = periods + MORE_PERIODS;
    let start = end.saturating_sub(period * looked_at as Millis);
    let found = metrics.periods(&metric, text("Unit"), start, period, looked_at);
    let values: Vec<Option<f64>> = found
        .iter()
        .map(|values| values.as_ref()?.statistic(statistic))
        .collect();
    decide(&rule, &values, text("StateValue").unwrap_or_default())
}

/// Decides by the values of the periods looked at, oldest first.
pub fn decide(
    rule: &Rule<'_>,
    values: &[Option<f64>],
    present_state: &str,
) -> (&'static str, String) {
    let present: Vec<f64> = values.iter().rev().filter_map(|value| *value).collect();
    let counted = &present[..present.len().min(rule.periods)];
    let breaching = counted
        .iter()
        .filter(|value| rule.breaches(**value))
        .count();
    let missing = rule.periods - counted.len();
    let explain = |breaching: usize| {
        format!(
            "Threshold Crossed: {breaching} of the last {} datapoints {counted:?} were {} the threshold ({}).",
            rule.periods,
            comparison(rule.operator),
            rule.threshold
        )
    };
    let (breaching, to_alarm) = match rule.missing {
        "breaching" => (breaching + missing, rule.to_alarm),
        "notBreaching" => (breaching, rule.to_alarm),
        "ignore" if missing > 0 && breaching < rule.to_alarm => {
            let kept = ["ALARM", "OK"].into_iter().find(|it| *it == present_state);
            let state = kept.unwrap_or("INSUFFICIENT_DATA");
            return (state, "Missing datapoints are ignored.".to_owned());
        }
        _ if counted.is_empty() => {
            let reason = format!(
                "Insufficient Data: no datapoints were received for {} periods.",
                rule.periods
            );
            return ("INSUFFICIENT_DATA", reason);
        }
        // The datapoints that there are decide.
        _ => (breaching, rule.to_alarm.min(counted.len())),
    };
    match breaching >= to_alarm {
        true => ("ALARM", explain(breaching)),
        false => ("OK", explain(breaching)),
    }
}

impl Rule<'_> {
    fn breaches(&self, value: f64) -> bool {
        match self.operator {
            "GreaterThanOrEqualToThreshold" => value >= self.threshold,
            "GreaterThanThreshold" => value > self.threshold,
            "LessThanOrEqualToThreshold" => value <= self.threshold,
            _ => value < self.threshold,
        }
    }
}

fn comparison(operator: &str) -> &'static str {
    match operator {
        "GreaterThanOrEqualToThreshold" => "greater than or equal to",
        "GreaterThanThreshold" => "greater than",
        "LessThanOrEqualToThreshold" => "less than or equal to",
        _ => "less than",
    }
}
