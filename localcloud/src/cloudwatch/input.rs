//! The parameters of calls. A form has texts where JSON has numbers.

use std::fmt::Display;

use http::StatusCode;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::store::MetricId;
use super::summary::Statistic;
use crate::clock::Millis;
use crate::common_error::CommonError;

const MAX_DIMENSIONS: usize = 30;

/// Returns CloudWatch's error for a parameter.
pub fn invalid(message: impl Into<String>) -> CommonError {
    CommonError::new("InvalidParameterValue", StatusCode::BAD_REQUEST, message)
}

/// Returns CloudWatch's error for a parameter with this value.
pub fn invalid_value(value: impl Display, name: &str) -> CommonError {
    invalid(format!(
        "The value {value} for parameter {name} is invalid."
    ))
}

/// Returns CloudWatch's error for parameters that do not fit together.
pub fn combination(message: impl Into<String>) -> CommonError {
    CommonError::new(
        "InvalidParameterCombination",
        StatusCode::BAD_REQUEST,
        message,
    )
}

/// Returns CloudWatch's error of the structure of a request.
pub fn validation(message: impl Into<String>) -> CommonError {
    CommonError::new("ValidationError", StatusCode::BAD_REQUEST, message)
}

/// Returns the NextToken, which is the number of items on the pages before.
///
/// # Errors
/// `InvalidNextToken`.
pub fn page_start(request: &Value) -> Result<usize, CommonError> {
    let message = "The parameter NextToken is invalid.";
    let token = text(request, "NextToken").unwrap_or("0").parse::<usize>();
    token.map_err(|_| CommonError::new("InvalidNextToken", StatusCode::BAD_REQUEST, message))
}

/// Returns a text; `None` if it is missing or empty.
pub fn text<'a>(request: &'a Value, name: &str) -> Option<&'a str> {
    request[name].as_str().filter(|text| !text.is_empty())
}

/// Returns a text.
///
/// # Errors
/// `MissingParameter`.
pub fn required<'a>(request: &'a Value, name: &str) -> Result<&'a str, CommonError> {
    text(request, name).ok_or_else(|| missing(name))
}

pub fn missing(name: &str) -> CommonError {
    let message = format!("The parameter {name} is required.");
    CommonError::new("MissingParameter", StatusCode::BAD_REQUEST, message)
}

/// Returns the items of a list, which a form may leave out.
pub fn items(request: &Value, name: &str) -> Vec<Value> {
    request[name].as_array().cloned().unwrap_or_default()
}

/// Returns the texts of a list.
pub fn texts<'a>(request: &'a Value, name: &str) -> Vec<&'a str> {
    let items = request[name].as_array().into_iter().flatten();
    items.filter_map(Value::as_str).collect()
}

/// Returns a finite number.
///
/// # Errors
/// `InvalidParameterValue`.
pub fn number(request: &Value, name: &str) -> Result<Option<f64>, CommonError> {
    match &request[name] {
        Value::Null => Ok(None),
        value => number_of(value)
            .map(Some)
            .ok_or_else(|| invalid_value(value, name)),
    }
}

/// Returns a value as a finite number.
pub fn number_of(value: &Value) -> Option<f64> {
    let number = match value {
        Value::String(text) => text.parse().ok()?,
        other => other.as_f64()?,
    };
    number.is_finite().then_some(number)
}

/// Returns a whole number that is not negative.
///
/// # Errors
/// `InvalidParameterValue`.
pub fn whole(request: &Value, name: &str) -> Result<Option<u64>, CommonError> {
    let Some(number) = number(request, name)? else {
        return Ok(None);
    };
    if number.fract() != 0.0 || !(0.0..=1e15).contains(&number) {
        return Err(invalid_value(number, name));
    }
    Ok(Some(number as u64))
}

/// Returns a time: JSON has seconds since the Unix epoch, a form has ISO 8601.
///
/// # Errors
/// `InvalidParameterValue`.
pub fn instant(request: &Value, name: &str) -> Result<Option<Millis>, CommonError> {
    let value = &request[name];
    let millis = match value {
        Value::Null => return Ok(None),
        Value::String(text) => OffsetDateTime::parse(text, &Rfc3339)
            .ok()
            .map(|time| time.unix_timestamp_nanos() as f64 / 1e6),
        other => other.as_f64().map(|seconds| seconds * 1e3),
    };
    // Beyond the year 9999 a time cannot be written.
    let millis = millis.filter(|millis| (0.0..2.5e14).contains(millis));
    let millis = millis.ok_or_else(|| invalid_value(value, name))?;
    Ok(Some(millis as Millis))
}

/// Returns the time range of a query, with its start rounded down to the minute.
///
/// # Errors
/// `MissingParameter`, `InvalidParameterValue`.
pub fn range(request: &Value) -> Result<(Millis, Millis), CommonError> {
    let bound = |name| instant(request, name)?.ok_or_else(|| missing(name));
    let (start, end) = (bound("StartTime")?, bound("EndTime")?);
    if start >= end {
        return Err(invalid(
            "The parameter StartTime must be less than the parameter EndTime.",
        ));
    }
    Ok((start - start % 60_000, end))
}

/// Returns a period in milliseconds.
///
/// # Errors
/// `MissingParameter`, `InvalidParameterValue`.
pub fn period(request: &Value) -> Result<Millis, CommonError> {
    match whole(request, "Period")?.ok_or_else(|| missing("Period"))? {
        seconds @ (1 | 5 | 10 | 20 | 30) => Ok(seconds * 1000),
        // A day at most, as alarms have.
        seconds @ 60..=86_400_000 if seconds.is_multiple_of(60) => Ok(seconds * 1000),
        _ => Err(invalid(
            "The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60.",
        )),
    }
}

/// Returns a statistic by its name.
///
/// # Errors
/// `InvalidParameterValue`, also for statistics that localcloud does not have, such as trimmed means.
pub fn statistic(name: &str) -> Result<Statistic, CommonError> {
    Statistic::of(name).ok_or_else(|| {
        invalid(format!(
            "The value {name} for parameter Statistic is invalid: localcloud has Average, Maximum, Minimum, SampleCount, Sum and pNN."
        ))
    })
}

/// Returns dimensions as names and values.
///
/// # Errors
/// `InvalidParameterValue`.
pub fn dimensions(request: &Value) -> Result<Vec<(String, String)>, CommonError> {
    let dimensions = items(request, "Dimensions");
    if dimensions.len() > MAX_DIMENSIONS {
        return Err(invalid(format!(
            "The collection Dimensions must not have a size greater than {MAX_DIMENSIONS}."
        )));
    }
    let mut read = Vec::new();
    for dimension in &dimensions {
        let (name, value) = (required(dimension, "Name")?, required(dimension, "Value")?);
        read.push((short(name, "Name")?, short(value, "Value")?));
    }
    read.sort();
    Ok(read)
}

/// Returns the metric that a request names.
///
/// # Errors
/// `MissingParameter`, `InvalidParameterValue`.
pub fn metric(request: &Value) -> Result<MetricId, CommonError> {
    Ok(MetricId {
        namespace: short(required(request, "Namespace")?, "Namespace")?,
        name: short(required(request, "MetricName")?, "MetricName")?,
        dimensions: dimensions(request)?,
    })
}

/// Returns a name within AWS's bound of 255 characters; values of dimensions may have 1024.
pub fn short(text: &str, name: &str) -> Result<String, CommonError> {
    let most = if name == "Value" { 1024 } else { 255 };
    if text.chars().count() <= most {
        return Ok(text.to_owned());
    }
    Err(invalid(format!(
        "The parameter {name} has more than {most} characters."
    )))
}
