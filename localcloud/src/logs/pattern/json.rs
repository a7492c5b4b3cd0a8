//! Patterns such as `{ $.level = "ERROR" && $.latency > 100 }`.

use serde_json::Value;

use super::quoted_text;
use crate::common_error::CommonError;
use crate::logs::input::invalid;
use crate::wildcard::Pattern;

/// Comparisons of which all or one must hold.
#[derive(Debug)]
pub struct JsonPattern {
    comparisons: Vec<Comparison>,
    is_any: bool,
}

#[derive(Debug)]
struct Comparison {
    path: Vec<Step>,
    test: Test,
}

#[derive(Debug)]
enum Step {
    Field(String),
    Index(usize),
}

#[derive(Debug)]
enum Test {
    Like { pattern: Pattern, negated: bool },
    Number { operator: &'static str, value: f64 },
    Is(Value),
    Exists { negated: bool },
}

impl JsonPattern {
    /// Parses a pattern with its braces.
    ///
    /// # Errors
    /// `InvalidParameterException`.
    pub fn of(pattern: &str) -> Result<Self, CommonError> {
        let inner = pattern
            .strip_prefix('{')
            .and_then(|it| it.strip_suffix('}'));
        let mut rest = inner
            .ok_or_else(|| refused("a brace is not closed"))?
            .trim();
        let mut comparisons = Vec::new();
        let mut joint = None;
        loop {
            let (comparison, after) = comparison(rest)?;
            comparisons.push(comparison);
            rest = after.trim_start();
            if rest.is_empty() {
                let is_any = joint == Some("||");
                return Ok(Self {
                    comparisons,
                    is_any,
                });
            }
            let found = ["&&", "||"].into_iter().find(|it| rest.starts_with(it));
            let found = found.ok_or_else(|| refused("&& or || is missing"))?;
            if joint.is_some_and(|joint| joint != found) {
                return Err(refused("localcloud does not mix && and ||"));
            }
            joint = Some(found);
            rest = rest[2..].trim_start();
        }
    }

    pub fn matches(&self, message: &Value) -> bool {
        let mut comparisons = self.comparisons.iter();
        match self.is_any {
            true => comparisons.any(|it| it.matches(message)),
            false => comparisons.all(|it| it.matches(message)),
        }
    }
}

impl Comparison {
    fn matches(&self, message: &Value) -> bool {
        let found = self
            .path
            .iter()
            .try_fold(message, |value, step| match step {
                Step::Field(name) => value.get(name),
                Step::Index(index) => value.get(index),
            });
        if let Test::Exists { negated } = self.test {
            return found.is_some() != negated;
        }
        let Some(found) = found else {
            return false;
        };
        match &self.test {
            Test::Like { pattern, negated } => {
                let text = match found {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                pattern.matches(&text) != *negated
            }
            Test::Number { operator, value } => {
                let number = match found {
                    Value::String(text) => text.parse().ok(),
                    other => other.as_f64(),
                };
                number.is_some_and(|number: f64| match *operator {
                    "=" => number == *value,
                    "!=" => number != *value,
                    "<" => number < *value,
                    "<=" => number <= *value,
                    ">" => number > *value,
                    _ => number >= *value,
                })
            }
            Test::Is(value) => found == value,
            Test::Exists { .. } => false,
        }
    }
}

fn comparison(text: &str) -> Result<(Comparison, &str), CommonError> {
    let selector = text.strip_prefix('$').ok_or_else(|| {
        refused("a comparison begins with a field such as $.level, without parentheses")
    })?;
    let is_end = |it: char| it.is_whitespace() || "=!<>".contains(it);
    let end = selector.find(is_end).unwrap_or(selector.len());
    let path = path(&selector[..end])?;
    let rest = selector[end..].trim_start();
    for (words, test) in [
        ("IS NULL", Test::Is(Value::Null)),
        ("IS TRUE", Test::Is(Value::Bool(true))),
        ("IS FALSE", Test::Is(Value::Bool(false))),
        ("NOT EXISTS", Test::Exists { negated: true }),
        ("EXISTS", Test::Exists { negated: false }),
    ] {
        if let Some(after) = rest.strip_prefix(words) {
            return Ok((Comparison { path, test }, after));
        }
    }
    let operators = ["!=", "<=", ">=", "=", "<", ">"];
    let operator = operators.into_iter().find(|it| rest.starts_with(it));
    let operator = operator.ok_or_else(|| refused("an operator is missing"))?;
    let value = rest[operator.len()..].trim_start();
    let (text, is_quoted, after) = match value.strip_prefix('"') {
        Some(quoted) => {
            let (text, after) = quoted_text(quoted)?;
            (text, true, after)
        }
        None => {
            let end = value.find(|it: char| it.is_whitespace() || "&|".contains(it));
            let (word, after) = value.split_at(end.unwrap_or(value.len()));
            (word.to_owned(), false, after)
        }
    };
    let number = text.parse::<f64>().ok().filter(|_| !is_quoted);
    let test = match (number, operator) {
        (Some(value), operator) => Test::Number { operator, value },
        (None, "=" | "!=") if !text.is_empty() || is_quoted => Test::Like {
            pattern: Pattern::new(&literal(&text)),
            negated: operator == "!=",
        },
        _ => return Err(refused("a value is missing, or is not a number")),
    };
    Ok((Comparison { path, test }, after))
}

/// Returns a text of which only the stars are wildcards.
fn literal(text: &str) -> String {
    text.replace('\\', "\\\\").replace('?', "\\?")
}

fn path(selector: &str) -> Result<Vec<Step>, CommonError> {
    let mut steps = Vec::new();
    let mut rest = selector;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return Err(refused("a field has no name"));
            }
            steps.push(Step::Field(after[..end].to_owned()));
            rest = &after[end..];
        } else {
            let index = rest.strip_prefix('[').and_then(|it| it.split_once(']'));
            let (index, after) = index.ok_or_else(|| refused("a field is not like $.a[0].b"))?;
            let index = index
                .parse()
                .map_err(|_| refused("an index is no number"))?;
            steps.push(Step::Index(index));
            rest = after;
        }
    }
    Ok(steps)
}

fn refused(reason: &str) -> CommonError {
    invalid(format!("Invalid filter pattern: {reason}."))
}
