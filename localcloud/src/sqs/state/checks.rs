//! AWS's limits for names and tags.

use super::{AttributeMap, SqsError};

const MAX_TAGS: usize = 50;

/// AWS's words for the rule of `is_name`.
pub const NAME_RULE: &str =
    "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length";

/// Returns whether a text can name a queue, a batch entry or a permission.
pub fn is_name(text: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    (1..=80).contains(&text.len()) && text.chars().all(allowed)
}

pub fn check_queue_name(name: &str, attributes: &AttributeMap) -> Result<(), SqsError> {
    let wants_fifo = attributes
        .get("FifoQueue")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if name.ends_with(".fifo") || wants_fifo {
        return invalid("FIFO queues are not supported by localcloud.");
    }
    if !is_name(name) {
        return invalid(NAME_RULE);
    }
    Ok(())
}

pub fn check_tags(tags: &AttributeMap) -> Result<(), SqsError> {
    if tags.len() > MAX_TAGS {
        return invalid("Too many tags added for queue. A queue has at most 50.");
    }
    for (key, value) in tags {
        if key.is_empty() || key.chars().count() > 128 {
            return invalid("Tag keys must be between 1 and 128 characters in length.");
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return invalid("Tag keys starting with 'aws:' are reserved for internal use.");
        }
        if value.chars().count() > 256 {
            return invalid("Tag values must be between 0 and 256 characters in length.");
        }
    }
    Ok(())
}

fn invalid(reason: &str) -> Result<(), SqsError> {
    Err(SqsError::InvalidParameterValue(reason.to_owned()))
}
