//! Translates the JSON of a response to XML and keeps the order of its members.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::protocol::Protocol;
use crate::xml::Xml;

/// A JSON value whose members keep their order.
#[derive(Debug)]
enum Tree {
    Text(String),
    List(Vec<Tree>),
    Members(Vec<(String, Tree)>),
}

/// The actions whose response has no result element.
const WITHOUT_RESULT: [&str; 9] = [
    "AddPermission",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "DeleteQueue",
    "PurgeQueue",
    "RemovePermission",
    "SetQueueAttributes",
    "TagQueue",
    "UntagQueue",
];

/// Returns the document of an action's response.
pub fn document(action: &str, response: &[u8], request_id: &str) -> String {
    let response: Tree = serde_json::from_slice(response).expect("responses are JSON");
    let mut xml = Xml::document();
    let namespace = Protocol::SqsQuery.namespace();
    xml.element_in(namespace, &format!("{action}Response"), |xml| {
        if !WITHOUT_RESULT.contains(&action) {
            xml.element(&format!("{action}Result"), |xml| {
                value(xml, action, &response)
            });
        }
        xml.element("ResponseMetadata", |xml| xml.text("RequestId", request_id));
    });
    xml.into_text()
}

fn value(xml: &mut Xml, action: &str, tree: &Tree) {
    match tree {
        Tree::Text(text) => xml.escaped(text),
        Tree::List(items) => items.iter().for_each(|item| value(xml, action, item)),
        Tree::Members(members) => {
            for (name, tree) in members {
                member(xml, action, name, tree);
            }
        }
    }
}

/// Writes a member. Lists and maps are flat: one element per item, with a name of its own.
fn member(xml: &mut Xml, action: &str, name: &str, tree: &Tree) {
    match tree {
        Tree::Text(_) => xml.element(name, |xml| value(xml, action, tree)),
        Tree::List(items) => {
            let item_name = item_name(action, name);
            for item in items {
                xml.element(&item_name, |xml| value(xml, action, item));
            }
        }
        Tree::Members(entries) => {
            let (item_name, key_name) = match name {
                "Attributes" => ("Attribute", "Name"),
                "MessageAttributes" => ("MessageAttribute", "Name"),
                "Tags" => ("Tag", "Key"),
                structure => return xml.element(structure, |xml| value(xml, action, tree)),
            };
            for (key, entry) in entries {
                xml.element(item_name, |xml| {
                    xml.text(key_name, key);
                    xml.element("Value", |xml| value(xml, action, entry));
                });
            }
        }
    }
}

fn item_name(action: &str, member: &str) -> String {
    match member {
        "QueueUrls" | "queueUrls" => "QueueUrl".to_owned(),
        "Messages" => "Message".to_owned(),
        "Failed" => "BatchResultErrorEntry".to_owned(),
        // `Successful` of a batch, `Results` of a list of tasks.
        _ => format!("{action}ResultEntry"),
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a response")
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Tree, E> {
        Ok(Tree::Text(flag.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Text(number.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut members = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            members.push(entry);
        }
        Ok(Tree::Members(members))
    }
}
