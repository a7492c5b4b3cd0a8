//! The query protocol: a form in, XML out. Lists are written as `Names.member.1`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::protocol::Protocol;
use crate::timestamp::timestamp;
use crate::xml::Xml;

/// The most levels of a parameter's name; more are ignored.
const MAX_LEVELS: usize = 9;

/// Returns the parameters of a form as the JSON of a request. All values are texts.
pub fn request_of_form(form: &[u8]) -> Value {
    let pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> =
        serde_urlencoded::from_bytes(form).unwrap_or_default();
    let mut root = Map::new();
    for (name, value) in &pairs {
        let path: Vec<&str> = name.split('.').collect();
        if path.len() <= MAX_LEVELS {
            insert(&mut root, &path, value);
        }
    }
    lists(Value::Object(root))
}

fn insert(branch: &mut Map<String, Value>, path: &[&str], value: &str) {
    match path {
        [] => {}
        [name] => drop(branch.insert((*name).to_owned(), Value::String(value.to_owned()))),
        [name, rest @ ..] => {
            let child = branch
                .entry(*name)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(child) = child {
                insert(child, rest, value);
            }
        }
    }
}

/// Replaces each `{"member": {"1": a, "2": b}}` by a list.
fn lists(value: Value) -> Value {
    let Value::Object(mut members) = value else {
        return value;
    };
    if members.len() == 1
        && let Some(Value::Object(items)) = members.get_mut("member")
    {
        let mut items: Vec<(usize, Value)> = std::mem::take(items)
            .into_iter()
            .filter_map(|(index, item)| Some((index.parse().ok()?, lists(item))))
            .collect();
        items.sort_by_key(|(index, _)| *index);
        return Value::Array(items.into_iter().map(|(_, item)| item).collect());
    }
    Value::Object(
        members
            .into_iter()
            .map(|(name, value)| (name, lists(value)))
            .collect(),
    )
}

/// Returns the document of a reply. `Null` is the reply of an action without a result.
pub fn document(protocol: Protocol, action: &str, reply: &Value, request_id: &str) -> String {
    let mut xml = Xml::document();
    xml.element_in(protocol.namespace(), &format!("{action}Response"), |xml| {
        if !reply.is_null() {
            xml.element(&format!("{action}Result"), |xml| content(xml, "", reply));
        }
        xml.element("ResponseMetadata", |xml| xml.text("RequestId", request_id));
    });
    xml.into_text()
}

fn is_time(name: &str) -> bool {
    let is_other = matches!(
        name,
        "CreateDate" | "Expiration" | "Timestamps" | "UpdateDate"
    );
    is_other || name.ends_with("Timestamp")
}

fn content(xml: &mut Xml, name: &str, value: &Value) {
    match value {
        // A map, of which CloudWatch's replies have this one.
        Value::Object(entries) if name == "ExtendedStatistics" => {
            for (name, value) in entries {
                xml.element("entry", |xml| {
                    xml.text("key", name);
                    xml.text("value", value);
                });
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                xml.element(name, |xml| content(xml, name, value));
            }
        }
        Value::Array(items) => {
            for item in items {
                xml.element("member", |xml| content(xml, name, item));
            }
        }
        Value::Number(seconds) if is_time(name) => {
            let millis = seconds.as_f64().unwrap_or_default() * 1e3;
            xml.escaped(&timestamp(millis as u64));
        }
        Value::String(text) => xml.escaped(text),
        other => xml.escaped(&other.to_string()),
    }
}
