//! Conditions of statements.
//!
//! Source: "IAM JSON policy elements: Condition operators",
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>.

use super::arn::ArnPattern;
use super::policy::PolicyError;
use super::variables::{PrincipalKeys, Resolved, resolve};
use crate::wildcard::Pattern;

/// The condition keys that calls have here. Those that end in a slash are followed by a tag.
const KEYS: [&str; 17] = [
    "aws:PrincipalAccount",
    "aws:PrincipalArn",
    "aws:PrincipalTag/",
    "aws:RequestTag/",
    "aws:RequestedRegion",
    "aws:ResourceAccount",
    "aws:ResourceTag/",
    "aws:SecureTransport",
    "aws:TagKeys",
    "ec2:CreateAction",
    "ec2:InstanceMarketType",
    "ec2:InstanceType",
    "ec2:MetadataHttpTokens",
    "ec2:ResourceTag/",
    // Of a call that localcloud does not have.
    "iam:AWSServiceName",
    "iam:PassedToService",
    "s3:prefix",
];

/// An operator with one key and its values, of which one must match.
#[derive(Debug, Clone)]
pub struct Condition {
    /// In lower case.
    pub key: String,
    set: Option<SetOperator>,
    comparison: Comparison,
    negated: bool,
    if_exists: bool,
    /// Without those with a variable that has no value.
    values: Vec<Value>,
}

/// For keys with several values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SetOperator {
    ForAllValues,
    ForAnyValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equals,
    EqualsIgnoringCase,
    Like,
    Arn,
    Bool,
    Null,
}

#[derive(Debug, Clone)]
struct Value {
    literal: String,
    pattern: Pattern,
    /// `None` if the value is no ARN.
    arn: Option<ArnPattern>,
}

impl Condition {
    /// Parses a condition: an operator, a key and its values, in which the principal's variables are replaced.
    ///
    /// # Errors
    /// For operators, keys and variables that are not supported.
    pub fn of(
        operator: &str,
        key: &str,
        values: Vec<String>,
        principal: &PrincipalKeys,
    ) -> Result<Self, PolicyError> {
        let unsupported =
            || PolicyError(format!("localcloud has no condition operator {operator:?}"));
        let (set, name) = match operator.split_once(':') {
            None => (None, operator),
            Some(("ForAllValues", name)) => (Some(SetOperator::ForAllValues), name),
            Some(("ForAnyValue", name)) => (Some(SetOperator::ForAnyValue), name),
            Some(_) => return Err(unsupported()),
        };
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (comparison, negated) = match name {
            "StringEquals" => (Comparison::Equals, false),
            "StringNotEquals" => (Comparison::Equals, true),
            "StringEqualsIgnoreCase" => (Comparison::EqualsIgnoringCase, false),
            "StringNotEqualsIgnoreCase" => (Comparison::EqualsIgnoringCase, true),
            "StringLike" => (Comparison::Like, false),
            "StringNotLike" => (Comparison::Like, true),
            "ArnEquals" | "ArnLike" => (Comparison::Arn, false),
            "ArnNotEquals" | "ArnNotLike" => (Comparison::Arn, true),
            "Bool" => (Comparison::Bool, false),
            "Null" if !if_exists && set.is_none() => (Comparison::Null, false),
            _ => return Err(unsupported()),
        };
        check_key(key)?;
        let is_flag = matches!(comparison, Comparison::Bool | Comparison::Null);
        if is_flag
            && !values
                .iter()
                .all(|it| matches!(it.as_str(), "true" | "false"))
        {
            return Err(PolicyError(format!(
                "{operator} takes \"true\" or \"false\""
            )));
        }
        if values.is_empty() {
            return Err(PolicyError(format!("{operator} of {key} has no values")));
        }
        let mut resolved = Vec::new();
        for value in values {
            resolved.extend(resolve(&value, principal)?.map(Value::of));
        }
        Ok(Self {
            key: key.to_ascii_lowercase(),
            set,
            comparison,
            negated,
            if_exists,
            values: resolved,
        })
    }

    /// Returns whether the condition holds for a call that has these values of the key, or `None`.
    pub fn holds(&self, values: Option<&[String]>) -> bool {
        if self.comparison == Comparison::Null {
            let is_absent = values.is_none().to_string();
            return self.values.iter().any(|it| it.literal == is_absent);
        }
        let Some(values) = values.filter(|values| !values.is_empty()) else {
            return self.if_exists
                || match self.set {
                    Some(set) => set == SetOperator::ForAllValues,
                    None => self.negated,
                };
        };
        let mut values = values.iter();
        match self.set {
            Some(SetOperator::ForAllValues) => values.all(|value| self.matches(value)),
            _ => values.any(|value| self.matches(value)),
        }
    }

    fn matches(&self, value: &str) -> bool {
        let is_equal = |wanted: &Value| match self.comparison {
            Comparison::Equals => wanted.literal == value,
            Comparison::EqualsIgnoringCase | Comparison::Bool => {
                wanted.literal.to_lowercase() == value.to_lowercase()
            }
            Comparison::Like => wanted.pattern.matches(value),
            Comparison::Arn => wanted.arn.as_ref().is_some_and(|it| it.matches(value)),
            Comparison::Null => false,
        };
        self.values.iter().any(is_equal) != self.negated
    }
}

impl Value {
    fn of(resolved: Resolved) -> Self {
        let Resolved { pattern, literal } = resolved;
        Self {
            literal,
            arn: ArnPattern::new(&pattern),
            pattern: Pattern::new(&pattern),
        }
    }
}

fn check_key(key: &str) -> Result<(), PolicyError> {
    let is_known = |known: &&str| match known.ends_with('/') {
        true => key.len() > known.len() && key[..known.len()].eq_ignore_ascii_case(known),
        false => key.eq_ignore_ascii_case(known),
    };
    match key.is_ascii() && KEYS.iter().any(is_known) {
        true => Ok(()),
        false => Err(PolicyError(format!(
            "localcloud has no condition key {key:?}, only {}",
            KEYS.join(", ")
        ))),
    }
}
