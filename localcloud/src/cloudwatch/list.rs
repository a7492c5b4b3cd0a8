//! ListMetrics.

use serde_json::{Value, json};

use super::input::{invalid, items, page_start, required, text};
use super::store::{MetricId, Store};
use crate::clock::Millis;
use crate::common_error::CommonError;

const PAGE: usize = 500;
const RECENT: Millis = 3 * 60 * 60 * 1000;

/// Returns the metrics that match, 500 a page.
pub fn list(store: &Store, request: &Value, now: Millis) -> Result<Value, CommonError> {
    let from = page_start(request)?;
    let since = match text(request, "RecentlyActive") {
        None => 0,
        Some("PT3H") => now.saturating_sub(RECENT),
        Some(_) => return Err(invalid("The parameter RecentlyActive must be PT3H.")),
    };
    let mut filters = Vec::new();
    for filter in items(request, "Dimensions") {
        let value = text(&filter, "Value").map(str::to_owned);
        filters.push((required(&filter, "Name")?.to_owned(), value));
    }
    let namespace = text(request, "Namespace");
    let name = text(request, "MetricName");
    let matches = |id: &MetricId| {
        namespace.is_none_or(|namespace| namespace == id.namespace)
            && name.is_none_or(|name| name == id.name)
            && filters.iter().all(|(name, value)| {
                id.dimensions.iter().any(|(known, has)| {
                    known == name && value.as_ref().is_none_or(|value| value == has)
                })
            })
    };
    let mut matching = store
        .all()
        .filter(|(id, last)| *last >= since && matches(id))
        .skip(from);
    let page: Vec<Value> = matching
        .by_ref()
        .take(PAGE)
        .map(|(id, _)| described(id))
        .collect();
    let next = from.saturating_add(page.len());
    let mut reply = json!({ "Metrics": page });
    if matching.next().is_some() {
        reply["NextToken"] = json!(next.to_string());
    }
    Ok(reply)
}

fn described(id: &MetricId) -> Value {
    let dimensions: Vec<Value> = id
        .dimensions
        .iter()
        .map(|(name, value)| json!({ "Name": name, "Value": value }))
        .collect();
    json!({ "Namespace": id.namespace, "MetricName": id.name, "Dimensions": dimensions })
}
