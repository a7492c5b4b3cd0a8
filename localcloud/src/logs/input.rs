//! The parameters of calls.

use http::StatusCode;
use serde_json::Value;

use super::store::{LogGroup, Store};
use super::stream::LogStream;
use crate::common_error::CommonError;

pub fn invalid(message: impl Into<String>) -> CommonError {
    error("InvalidParameterException", message)
}

pub fn already_exists(kind: &str) -> CommonError {
    let message = format!("The specified log {kind} already exists");
    error("ResourceAlreadyExistsException", message)
}

pub fn not_found(kind: &str) -> CommonError {
    let message = format!("The specified log {kind} does not exist.");
    error("ResourceNotFoundException", message)
}

pub fn limit_exceeded() -> CommonError {
    error("LimitExceededException", "Resource limit exceeded.")
}

fn error(code: &str, message: impl Into<String>) -> CommonError {
    CommonError::new(code, StatusCode::BAD_REQUEST, message)
}

/// Returns a text; `None` if it is missing.
pub fn text<'a>(request: &'a Value, name: &str) -> Option<&'a str> {
    request[name].as_str()
}

/// Returns the name of the group, which newer clients may give as an ARN.
pub fn group_name(request: &Value) -> Option<&str> {
    let named = text(request, "logGroupName").or_else(|| text(request, "logGroupIdentifier"))?;
    match named.split_once(":log-group:") {
        Some((_, name)) => Some(name.strip_suffix(":*").unwrap_or(name)),
        None => Some(named),
    }
}

/// Returns the valid name of a group.
///
/// # Errors
/// `InvalidParameterException`.
pub fn valid_group(request: &Value) -> Result<&str, CommonError> {
    let name = group_name(request).ok_or_else(|| null("logGroupName"))?;
    let is_allowed = |it: char| it.is_ascii_alphanumeric() || "._/#-".contains(it);
    check(name, "logGroupName", r"[\.\-_/#A-Za-z0-9]+", is_allowed)
}

/// Returns the valid name of a stream.
///
/// # Errors
/// `InvalidParameterException`.
pub fn valid_stream(request: &Value) -> Result<&str, CommonError> {
    let name = text(request, "logStreamName").ok_or_else(|| null("logStreamName"))?;
    check(name, "logStreamName", "[^:*]*", |it| it != ':' && it != '*')
}

fn check<'a>(
    name: &'a str,
    field: &str,
    pattern: &str,
    is_allowed: impl Fn(char) -> bool,
) -> Result<&'a str, CommonError> {
    if (1..=512).contains(&name.len()) && name.chars().all(is_allowed) {
        return Ok(name);
    }
    Err(invalid(format!(
        "1 validation error detected: Value '{name}' at '{field}' failed to satisfy constraint: Member must have from 1 to 512 characters and satisfy regular expression pattern: {pattern}"
    )))
}

fn null(field: &str) -> CommonError {
    invalid(format!(
        "1 validation error detected: Value null at '{field}' failed to satisfy constraint: Member must not be null"
    ))
}

/// Returns the group of a request.
///
/// # Errors
/// `InvalidParameterException`, `ResourceNotFoundException`.
pub fn group<'a>(store: &'a Store, request: &Value) -> Result<&'a LogGroup, CommonError> {
    let name = valid_group(request)?;
    store.groups.get(name).ok_or_else(|| not_found("group"))
}

/// Returns the group of a request, to change it.
///
/// # Errors
/// As `group`.
pub fn group_mut<'a>(
    store: &'a mut Store,
    request: &Value,
) -> Result<&'a mut LogGroup, CommonError> {
    let name = valid_group(request)?;
    store.groups.get_mut(name).ok_or_else(|| not_found("group"))
}

/// Returns the stream of a request.
///
/// # Errors
/// As `group`.
pub fn stream<'a>(store: &'a Store, request: &Value) -> Result<&'a LogStream, CommonError> {
    let name = valid_stream(request)?;
    let group = group(store, request)?;
    group.streams.get(name).ok_or_else(|| not_found("stream"))
}

/// Returns the bound of a page.
///
/// # Errors
/// `InvalidParameterException` if it is not from 1 to `most`.
pub fn limit(request: &Value, most: usize) -> Result<usize, CommonError> {
    let value = &request["limit"];
    if value.is_null() {
        return Ok(most);
    }
    let limit = value.as_u64().and_then(|limit| usize::try_from(limit).ok());
    let limit = limit.filter(|limit| (1..=most).contains(limit));
    limit.ok_or_else(|| {
        invalid(format!(
            "1 validation error detected: Value '{value}' at 'limit' failed to satisfy constraint: Member must have value from 1 to {most}"
        ))
    })
}

/// Returns the number of items before a page of a listing.
///
/// # Errors
/// `InvalidParameterException`.
pub fn page_start(request: &Value) -> Result<usize, CommonError> {
    match text(request, "nextToken") {
        None => Ok(0),
        Some(token) => token.parse().map_err(|_| wrong_token()),
    }
}

pub fn wrong_token() -> CommonError {
    invalid("The specified nextToken is invalid.")
}
