//! Message attributes between the wire and the state.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::SqsError;
use super::messages::is_allowed;
use super::state::{AttributeValue, MessageAttribute, attributes_md5_hex};
use super::wire::WireAttribute;

/// Parses and checks the attributes of a message.
pub fn parse_attributes(
    attributes: BTreeMap<String, WireAttribute>,
) -> Result<BTreeMap<String, MessageAttribute>, SqsError> {
    attributes
        .into_iter()
        .map(|(name, attribute)| {
            let parsed = parse_attribute(&name, attribute)?;
            Ok((name, parsed))
        })
        .collect()
}

fn parse_attribute(name: &str, attribute: WireAttribute) -> Result<MessageAttribute, SqsError> {
    let invalid = |reason: &str| {
        SqsError::InvalidParameterValue(format!(
            "The message attribute '{name}' is invalid. Reason: {reason}"
        ))
    };
    check_attribute_name(name).map_err(invalid)?;
    if !attribute.string_list_values.is_empty() || !attribute.binary_list_values.is_empty() {
        return Err(SqsError::UnsupportedOperation(
            "Message attribute list values in SendMessage operation are not supported.".to_owned(),
        ));
    }
    let data_type = attribute
        .data_type
        .filter(|data_type| !data_type.is_empty());
    let data_type =
        data_type.ok_or_else(|| invalid("it must contain a non-empty message attribute type."))?;
    let value = match (
        data_type.split('.').next(),
        attribute.string_value,
        attribute.binary_value,
    ) {
        (Some("String" | "Number"), Some(text), None) if !text.is_empty() => {
            AttributeValue::Text(text)
        }
        (Some("Binary"), None, Some(encoded)) => AttributeValue::Binary(
            STANDARD
                .decode(encoded)
                .map_err(|_| invalid("the value is not base64."))?,
        ),
        (Some("String" | "Number" | "Binary"), _, _) => {
            return Err(invalid(
                "it must contain a non-empty value of its type, and no other.",
            ));
        }
        _ => {
            return Err(invalid(
                "the type prefix must be 'Binary', 'Number', or 'String'.",
            ));
        }
    };
    if let AttributeValue::Text(text) = &value
        && !text.chars().all(is_allowed)
    {
        return Err(SqsError::InvalidMessageContents);
    }
    if let (true, AttributeValue::Text(text)) = (data_type.starts_with("Number"), &value)
        && !is_number(text)
    {
        return Err(invalid("the value is not a number of at most 38 digits."));
    }
    Ok(MessageAttribute { data_type, value })
}

fn check_attribute_name(name: &str) -> Result<(), &'static str> {
    let letters = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    if name.is_empty() || name.len() > 256 || !name.chars().all(letters) {
        return Err("a name has 1 to 256 letters, digits, underscores, hyphens and dots.");
    }
    if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return Err("a name has dots neither at its ends nor beside each other.");
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("aws.") || lower.starts_with("amazon.") {
        return Err("names that begin with AWS. or Amazon. are reserved.");
    }
    Ok(())
}

/// Returns whether a text is a number that SQS accepts: at most 38 digits, and an absolute value from 1e-128 to 1e126.
fn is_number(text: &str) -> bool {
    let text = text.trim();
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.trim_start_matches(['+', '-']).replace('.', "");
    let significant = digits.trim_start_matches('0').len();
    let only_digits = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let size = text.parse::<f64>().map(f64::abs);
    only_digits
        && significant <= 38
        && size.is_ok_and(|size| size == 0.0 || (1e-128..=1e126).contains(&size))
}

pub fn to_wire(attribute: &MessageAttribute) -> WireAttribute {
    let (string_value, binary_value) = match &attribute.value {
        AttributeValue::Text(text) => (Some(text.clone()), None),
        AttributeValue::Binary(bytes) => (None, Some(STANDARD.encode(bytes))),
    };
    WireAttribute {
        data_type: Some(attribute.data_type.clone()),
        string_value,
        binary_value,
        ..Default::default()
    }
}

/// Returns the MD5 of attributes; `None` without any.
pub fn digest<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a MessageAttribute)>,
) -> Option<String> {
    let mut attributes = attributes.into_iter().peekable();
    attributes.peek()?;
    Some(attributes_md5_hex(attributes))
}
