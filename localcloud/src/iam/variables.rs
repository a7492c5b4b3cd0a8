//! Texts of policies with variables, such as `${aws:PrincipalTag/team}`. A principal has fixed tags here, so they are
//! replaced when a policy is read.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::policy::PolicyError;

/// The condition keys of a principal, in lower case.
pub type PrincipalKeys = BTreeMap<String, String>;

/// A text whose variables have their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// In the form of `Pattern`: what is no wildcard of the policy has a backslash.
    pub pattern: String,
    pub literal: String,
}

/// Replaces the variables of a text. Returns `None` when one has no value: the element then matches nothing.
///
/// # Errors
/// For a variable that is unknown, or that is not closed.
pub fn resolve(text: &str, principal: &PrincipalKeys) -> Result<Option<Resolved>, PolicyError> {
    let (mut pattern, mut literal) = (String::new(), String::new());
    let mut is_resolved = true;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((variable, after)) = after.split_once('}') else {
            return Err(PolicyError(format!("{text:?} has a variable without }}")));
        };
        add(before, &mut pattern, &mut literal);
        match value_of(variable, principal)? {
            Some(value) => {
                value
                    .chars()
                    .for_each(|letter| escape(letter, "*?\\", &mut pattern));
                literal.push_str(&value);
            }
            None => is_resolved = false,
        }
        rest = after;
    }
    add(rest, &mut pattern, &mut literal);
    Ok(is_resolved.then_some(Resolved { pattern, literal }))
}

fn value_of(variable: &str, principal: &PrincipalKeys) -> Result<Option<String>, PolicyError> {
    if matches!(variable, "*" | "?" | "$") {
        return Ok(Some(variable.to_owned()));
    }
    let (key, default) = match variable.split_once(',') {
        Some((key, default)) => {
            let default = default.trim();
            let unquoted = default
                .strip_prefix('\'')
                .and_then(|it| it.strip_suffix('\''));
            let unquoted = unquoted.ok_or_else(|| {
                PolicyError(format!(
                    "the default of ${{{variable}}} needs quotation marks: '...'"
                ))
            })?;
            (key.trim(), Some(unquoted.to_owned()))
        }
        None => (variable, None),
    };
    let key = key.to_ascii_lowercase();
    if !key.starts_with("aws:principaltag/") && !principal.contains_key(&key) {
        return Err(PolicyError(format!(
            "localcloud has no variable ${{{variable}}}, only aws:PrincipalTag/..., aws:PrincipalAccount and aws:PrincipalArn"
        )));
    }
    Ok(principal.get(&key).cloned().or(default))
}

/// Appends a text of the policy, whose wildcards count.
fn add(text: &str, pattern: &mut String, literal: &mut String) {
    text.chars()
        .for_each(|letter| escape(letter, "\\", pattern));
    literal.push_str(text);
}

fn escape(letter: char, special: &str, to: &mut String) {
    let _ = match special.contains(letter) {
        true => write!(to, "\\{letter}"),
        false => write!(to, "{letter}"),
    };
}
