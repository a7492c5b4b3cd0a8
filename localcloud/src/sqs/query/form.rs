//! Translates a form to the JSON of a request. Lists and maps are written as `Tag.1.Key`, one parameter per leaf.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Map, Value};

use crate::sqs::SqsError;

/// A form as the tree that the dots in its names form.
#[derive(Debug, Default)]
pub struct Form {
    root: Branch,
}

type Branch = BTreeMap<String, Node>;

#[derive(Debug)]
enum Node {
    Text(String),
    Branch(Branch),
}

/// The JSON that the parameters of one name form.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Texts,
    Structures,
    /// A map from texts to texts or structures, with the name of the key.
    Map(&'static str),
}

/// The names of lists and maps in forms, their names in JSON and their shapes. Source: the model of botocore 1.29, whose
/// `TagQueue` has `Tags` where the documentation has `Tag`.
const MEMBERS: [(&str, &str, Shape); 16] = [
    ("Attribute", "Attributes", Shape::Map("Name")),
    ("MessageAttribute", "MessageAttributes", Shape::Map("Name")),
    (
        "MessageSystemAttribute",
        "MessageSystemAttributes",
        Shape::Map("Name"),
    ),
    ("Tag", "Tags", Shape::Map("Key")),
    ("Tags", "Tags", Shape::Map("Key")),
    ("AttributeName", "AttributeNames", Shape::Texts),
    (
        "MessageAttributeName",
        "MessageAttributeNames",
        Shape::Texts,
    ),
    (
        "MessageSystemAttributeName",
        "MessageSystemAttributeNames",
        Shape::Texts,
    ),
    ("TagKey", "TagKeys", Shape::Texts),
    ("AWSAccountId", "AWSAccountIds", Shape::Texts),
    ("ActionName", "Actions", Shape::Texts),
    ("StringListValue", "StringListValues", Shape::Texts),
    ("BinaryListValue", "BinaryListValues", Shape::Texts),
    ("SendMessageBatchRequestEntry", "Entries", Shape::Structures),
    (
        "DeleteMessageBatchRequestEntry",
        "Entries",
        Shape::Structures,
    ),
    (
        "ChangeMessageVisibilityBatchRequestEntry",
        "Entries",
        Shape::Structures,
    ),
];

const NUMBERS: [&str; 6] = [
    "DelaySeconds",
    "MaxNumberOfMessages",
    "MaxNumberOfMessagesPerSecond",
    "MaxResults",
    "VisibilityTimeout",
    "WaitTimeSeconds",
];

/// The parts of `SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringListValue.1`, the deepest name.
const MAX_PARTS: usize = 7;

impl Form {
    /// Parses a form. The first of several parameters with one name counts.
    ///
    /// # Errors
    /// `MalformedInput` for malformed forms and contradictory names.
    pub fn parse(form: &[u8]) -> Result<Self, SqsError> {
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_bytes(form).map_err(|error| malformed(&error.to_string()))?;
        let mut root = Branch::new();
        for (name, value) in pairs {
            insert(&mut root, &name, value)?;
        }
        Ok(Self { root })
    }

    /// Returns a parameter; `None` if it is missing or empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.root.get(name) {
            Some(Node::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Returns the request's body in the JSON protocol.
    ///
    /// # Errors
    /// `MalformedInput` for malformed lists and maps.
    pub fn request(&self, action: &str, path: &str) -> Result<Vec<u8>, SqsError> {
        let mut request = structure(&self.root)?;
        if action == "CreateQueue"
            && let Some(tags) = request.remove("Tags")
        {
            request.insert("tags".to_owned(), tags);
        }
        if self.text("QueueUrl").is_none() && path.len() > 1 {
            request.insert("QueueUrl".to_owned(), path.into());
        }
        Ok(Value::Object(request).to_string().into_bytes())
    }
}

fn insert(root: &mut Branch, name: &str, value: String) -> Result<(), SqsError> {
    let contradiction = || malformed(&format!("{name} contradicts another parameter"));
    let mut parts: Vec<&str> = name.split('.').collect();
    if parts.len() > MAX_PARTS {
        return Err(malformed("a parameter's name has too many parts"));
    }
    let leaf = parts.pop().unwrap_or_default();
    let mut branch = root;
    for part in parts {
        let node = branch
            .entry(part.to_owned())
            .or_insert_with(|| Node::Branch(Branch::new()));
        match node {
            Node::Branch(next) => branch = next,
            Node::Text(_) => return Err(contradiction()),
        }
    }
    match branch.entry(leaf.to_owned()) {
        Entry::Vacant(entry) => {
            entry.insert(Node::Text(value));
        }
        Entry::Occupied(present) if matches!(present.get(), Node::Branch(_)) => {
            return Err(contradiction());
        }
        Entry::Occupied(_) => {}
    }
    Ok(())
}

/// Translates a structure. Unknown names are ignored, as in AWS.
fn structure(branch: &Branch) -> Result<Map<String, Value>, SqsError> {
    let mut members = Map::new();
    for (name, node) in branch {
        let list_or_map = MEMBERS.iter().find(|(in_form, _, _)| in_form == name);
        match (list_or_map, node) {
            (Some((_, member, Shape::Texts)), node) => {
                members.insert((*member).to_owned(), texts(name, node)?);
            }
            (Some((_, member, Shape::Structures)), node) => {
                members.insert((*member).to_owned(), structures(name, node)?);
            }
            (Some((_, member, Shape::Map(key))), node) => {
                members.insert((*member).to_owned(), map(name, key, node)?);
            }
            (None, Node::Text(text)) => {
                let number = NUMBERS
                    .contains(&name.as_str())
                    .then(|| text.parse::<i64>().ok())
                    .flatten();
                let value = number.map_or_else(|| text.as_str().into(), Value::from);
                members.insert(name.clone(), value);
            }
            (None, Node::Branch(_)) => {}
        }
    }
    Ok(members)
}

fn texts(name: &str, node: &Node) -> Result<Value, SqsError> {
    match node {
        // An empty parameter is an empty list.
        Node::Text(text) if text.is_empty() => Ok(Value::Array(Vec::new())),
        Node::Text(text) => Ok(Value::Array(vec![text.as_str().into()])),
        Node::Branch(branch) => numbered(name, branch)?
            .into_iter()
            .map(|item| match item {
                Node::Text(text) => Ok(Value::from(text.as_str())),
                Node::Branch(_) => Err(malformed(&format!("{name} is a list of texts"))),
            })
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
    }
}

fn structures(name: &str, node: &Node) -> Result<Value, SqsError> {
    items(name, node)?
        .into_iter()
        .map(|item| Ok(Value::Object(structure(item)?)))
        .collect::<Result<Vec<_>, _>>()
        .map(Value::Array)
}

fn map(name: &str, key_name: &str, node: &Node) -> Result<Value, SqsError> {
    let entries = match node {
        // A map with one entry may have no number.
        Node::Branch(branch) if branch.contains_key(key_name) => vec![branch],
        node => items(name, node)?,
    };
    let mut map = Map::new();
    for entry in entries {
        let Some(Node::Text(key)) = entry.get(key_name) else {
            return Err(malformed(&format!("{name} without {key_name}")));
        };
        let value = match entry.get("Value") {
            Some(Node::Text(text)) => text.as_str().into(),
            Some(Node::Branch(branch)) => Value::Object(structure(branch)?),
            None if name.starts_with("Message") => Value::Object(Map::new()),
            None => "".into(),
        };
        map.insert(key.clone(), value);
    }
    Ok(Value::Object(map))
}

fn items<'a>(name: &str, node: &'a Node) -> Result<Vec<&'a Branch>, SqsError> {
    let not_numbered = || malformed(&format!("{name} is a numbered list"));
    match node {
        Node::Text(text) if text.is_empty() => Ok(Vec::new()),
        Node::Text(_) => Err(not_numbered()),
        Node::Branch(branch) => numbered(name, branch)?
            .into_iter()
            .map(|item| match item {
                Node::Branch(item) => Ok(item),
                Node::Text(_) => Err(not_numbered()),
            })
            .collect(),
    }
}

/// Returns the items of a list, in the order of their numbers, which may have gaps.
fn numbered<'a>(name: &str, branch: &'a Branch) -> Result<Vec<&'a Node>, SqsError> {
    let mut items = branch
        .iter()
        .map(|(number, item)| match number.parse::<u32>() {
            Ok(number) => Ok((number, item)),
            Err(_) => Err(malformed(&format!("{name} is a numbered list"))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    items.sort_by_key(|(number, _)| *number);
    Ok(items.into_iter().map(|(_, item)| item).collect())
}

fn malformed(reason: &str) -> SqsError {
    SqsError::SerializationError(reason.to_owned())
}
