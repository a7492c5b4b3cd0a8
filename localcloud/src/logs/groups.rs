//! The calls about log groups.

use serde_json::{Value, json};

use super::group_arn;
use super::input::{
    already_exists, group_mut, invalid, limit, limit_exceeded, not_found, page_start, text,
    valid_group,
};
use super::store::{LogGroup, MAX_GROUPS, Store};
use crate::clock::Millis;
use crate::common_error::CommonError;

const MAX_PAGE: usize = 50;
/// The days that PutRetentionPolicy takes.
const RETENTION: [u64; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

pub fn create(store: &mut Store, request: &Value, now: Millis) -> Result<Value, CommonError> {
    let name = valid_group(request)?;
    if store.groups.contains_key(name) {
        return Err(already_exists("group"));
    }
    if store.groups.len() >= MAX_GROUPS {
        return Err(limit_exceeded());
    }
    store.groups.insert(name.to_owned(), LogGroup::new(now));
    Ok(Value::Null)
}

pub fn delete(store: &mut Store, request: &Value) -> Result<Value, CommonError> {
    match store.remove_group(valid_group(request)?) {
        true => Ok(Value::Null),
        false => Err(not_found("group")),
    }
}

pub fn describe(store: &Store, request: &Value, region: &str) -> Result<Value, CommonError> {
    let prefix = text(request, "logGroupNamePrefix").unwrap_or_default();
    let part = text(request, "logGroupNamePattern").unwrap_or_default();
    let (from, most) = (page_start(request)?, limit(request, MAX_PAGE)?);
    let mut matching = store
        .groups
        .iter()
        .filter(|(name, _)| name.starts_with(prefix) && name.contains(part))
        .skip(from);
    let page: Vec<Value> = matching
        .by_ref()
        .take(most)
        .map(|(name, group)| described(name, group, region))
        .collect();
    let next = from.saturating_add(page.len());
    let mut reply = json!({ "logGroups": page });
    if matching.next().is_some() {
        reply["nextToken"] = json!(next.to_string());
    }
    Ok(reply)
}

pub fn put_retention(store: &mut Store, request: &Value) -> Result<Value, CommonError> {
    let days = request["retentionInDays"].as_u64();
    let group = group_mut(store, request)?;
    let days = days.filter(|days| RETENTION.contains(days));
    let refused = || {
        invalid(format!(
            "1 validation error detected: Value at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: {RETENTION:?}"
        ))
    };
    group.retention_days = Some(days.ok_or_else(refused)?);
    Ok(Value::Null)
}

pub fn delete_retention(store: &mut Store, request: &Value) -> Result<Value, CommonError> {
    group_mut(store, request)?.retention_days = None;
    Ok(Value::Null)
}

fn described(name: &str, group: &LogGroup, region: &str) -> Value {
    let arn = group_arn(region, name);
    let mut described = json!({
        "logGroupName": name, "creationTime": group.created, "metricFilterCount": 0, "arn": format!("{arn}:*"),
        "storedBytes": group.bytes(), "logGroupClass": "STANDARD", "logGroupArn": arn,
    });
    if let Some(days) = group.retention_days {
        described["retentionInDays"] = json!(days);
    }
    described
}
