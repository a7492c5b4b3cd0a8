//! Identifiers of resources.

use uuid::Uuid;

/// Returns a prefix and 17 random hexadecimal digits, the form of EC2's identifiers.
pub fn identifier(prefix: &str) -> String {
    let digits = Uuid::new_v4().simple().to_string();
    // Leaves out the digits that hold the version and the variant of the UUID.
    format!("{prefix}{}{}", &digits[..12], &digits[20..25])
}

/// Returns whether a text has the form of an instance identifier: `i-` and 8 or 17 hexadecimal digits.
pub fn is_instance_id(text: &str) -> bool {
    text.strip_prefix("i-").is_some_and(|digits| {
        matches!(digits.len(), 8 | 17)
            && digits
                .bytes()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}
