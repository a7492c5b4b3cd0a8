//! Policy documents: identity-based policies in the language of version 2012-10-17. What is not supported is an error.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use thiserror::Error;

use super::arn::ArnPattern;
use super::condition::Condition;
use super::variables::{PrincipalKeys, resolve};
use crate::wildcard::Pattern;

/// Why a policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct PolicyError(pub String);

/// The statements of a document, with the variables of one principal replaced.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The name of its file.
    pub name: String,
    pub statements: Vec<Statement>,
}

#[derive(Debug, Clone)]
pub struct Statement {
    /// Empty if it has none.
    pub sid: String,
    pub effect: Effect,
    actions: Element,
    resources: Element,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Effect {
    Allow,
    Deny,
}

/// `Action` and `Resource`, or `NotAction` and `NotResource`.
#[derive(Debug, Clone)]
struct Element {
    negated: bool,
    /// With the texts that the policy has.
    patterns: Vec<(String, Matcher)>,
}

#[derive(Debug, Clone)]
enum Matcher {
    Anything,
    /// A variable has no value.
    Nothing,
    /// In lower case.
    Action(Pattern),
    Arn(ArnPattern),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct DocumentText {
    version: String,
    #[serde(rename = "Id")]
    _id: Option<String>,
    /// A `StatementText` or a list of them. An error in one then names its part.
    statement: serde_json::Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct StatementText {
    sid: Option<String>,
    effect: Effect,
    action: Option<OneOrMany<String>>,
    not_action: Option<OneOrMany<String>>,
    resource: Option<OneOrMany<String>>,
    not_resource: Option<OneOrMany<String>>,
    #[serde(default)]
    condition: BTreeMap<String, BTreeMap<String, OneOrMany<Scalar>>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

/// A value of a condition, which may be written without quotation marks.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    Text(String),
    Flag(bool),
}

impl Policy {
    /// Parses a document for a principal.
    ///
    /// # Errors
    /// When it is malformed, or has a part that is not supported.
    pub fn parse(name: &str, text: &str, principal: &PrincipalKeys) -> Result<Self, PolicyError> {
        let document: DocumentText =
            serde_json::from_str(text).map_err(|error| PolicyError(error.to_string()))?;
        if document.version != "2012-10-17" {
            return Err(PolicyError(format!(
                "its Version is {:?}, not \"2012-10-17\"",
                document.version
            )));
        }
        let statements = match document.statement {
            serde_json::Value::Array(statements) => statements,
            one => vec![one],
        };
        let mut sids = HashSet::new();
        let statements = statements.into_iter().enumerate().map(|(index, text)| {
            let label = match text["Sid"].as_str() {
                Some(sid) => format!("statement {sid:?}"),
                None => format!("statement {}", index + 1),
            };
            let at_fault = |error: PolicyError| PolicyError(format!("{label}: {error}"));
            let statement: StatementText = serde_json::from_value(text)
                .map_err(|error| at_fault(PolicyError(error.to_string())))?;
            if let Some(sid) = &statement.sid {
                let is_valid = sid.chars().all(|letter| letter.is_ascii_alphanumeric());
                if !is_valid || !sids.insert(sid.clone()) {
                    let reason = "a Sid has letters and digits only, and no other statement has it";
                    return Err(at_fault(PolicyError(reason.to_owned())));
                }
            }
            Statement::of(statement, principal).map_err(at_fault)
        });
        Ok(Self {
            name: name.to_owned(),
            statements: statements.collect::<Result<_, _>>()?,
        })
    }
}

impl Statement {
    fn of(text: StatementText, principal: &PrincipalKeys) -> Result<Self, PolicyError> {
        let actions = Element::of("Action", text.action, text.not_action, |text| {
            match text.split_once(':') {
                Some((service, _)) if is_name(service) => {
                    Ok(Matcher::Action(Pattern::new(&text.to_ascii_lowercase())))
                }
                _ => Err(PolicyError(format!(
                    "{text:?} is no action such as \"s3:GetObject\""
                ))),
            }
        })?;
        let mut conditions = Vec::new();
        for (operator, keys) in text.condition {
            for (key, values) in keys {
                let values = values.into_vec().into_iter().map(|value| match value {
                    Scalar::Text(text) => text,
                    Scalar::Flag(flag) => flag.to_string(),
                });
                conditions.push(Condition::of(&operator, &key, values.collect(), principal)?);
            }
        }
        let resources = Element::of("Resource", text.resource, text.not_resource, |text| {
            let before_variable = text.split_once("${").map(|(before, _)| before);
            if before_variable.is_some_and(|before| before.matches(':').count() < 5) {
                return Err(PolicyError(format!(
                    "{text:?} has a variable before the fifth colon, where IAM allows none"
                )));
            }
            let Some(resolved) = resolve(text, principal)? else {
                return Ok(Matcher::Nothing);
            };
            let arn = ArnPattern::new(&resolved.pattern).filter(|_| text.starts_with("arn:"));
            let arn = arn.ok_or_else(|| PolicyError(format!("{text:?} is no ARN")))?;
            Ok(Matcher::Arn(arn))
        })?;
        let unresolved = |(_, it): &(_, Matcher)| matches!(it, Matcher::Nothing);
        if resources.negated && resources.patterns.iter().any(unresolved) {
            let reason = "NotResource has a variable without a value";
            return Err(PolicyError(reason.to_owned()));
        }
        Ok(Self {
            sid: text.sid.unwrap_or_default(),
            effect: text.effect,
            actions,
            resources,
            conditions,
        })
    }

    /// Returns the text of the resource that matches, if the statement applies. `action` is in lower case.
    pub fn applies<'a>(
        &self,
        action: &str,
        resource: &str,
        values: impl Fn(&str) -> Option<&'a [String]>,
    ) -> Option<(&str, &str)> {
        let action = self.actions.find(action)?;
        let resource = self.resources.find(resource)?;
        let applies = self
            .conditions
            .iter()
            .all(|condition| condition.holds(values(&condition.key)));
        applies.then_some((action, resource))
    }
}

impl Element {
    fn of(
        name: &str,
        positive: Option<OneOrMany<String>>,
        negative: Option<OneOrMany<String>>,
        matcher: impl Fn(&str) -> Result<Matcher, PolicyError>,
    ) -> Result<Self, PolicyError> {
        let (negated, texts) = match (positive, negative) {
            (Some(texts), None) => (false, texts.into_vec()),
            (None, Some(texts)) => (true, texts.into_vec()),
            _ => {
                return Err(PolicyError(format!("it needs either {name} or Not{name}")));
            }
        };
        if texts.is_empty() {
            return Err(PolicyError(format!("its {name} is empty")));
        }
        let patterns = texts.into_iter().map(|text| {
            let matcher = match text.as_str() {
                "*" => Matcher::Anything,
                text => matcher(text)?,
            };
            Ok((text, matcher))
        });
        Ok(Self {
            negated,
            patterns: patterns.collect::<Result<_, PolicyError>>()?,
        })
    }

    /// Returns the pattern that makes the element match.
    fn find(&self, text: &str) -> Option<&str> {
        let mut patterns = self.patterns.iter();
        let found = patterns.find(|(_, matcher)| match matcher {
            Matcher::Anything => true,
            Matcher::Nothing => false,
            Matcher::Action(pattern) => pattern.matches(text),
            Matcher::Arn(pattern) => pattern.matches(text),
        });
        match (self.negated, found) {
            (false, Some((pattern, _))) => Some(pattern),
            (true, None) => Some("*"),
            _ => None,
        }
    }
}

impl<T> OneOrMany<T> {
    pub fn into_vec(self) -> Vec<T> {
        match self {
            Self::Many(values) => values,
            Self::One(value) => vec![value],
        }
    }
}

fn is_name(service: &str) -> bool {
    !service.is_empty()
        && service
            .chars()
            .all(|it| it.is_ascii_alphanumeric() || it == '-')
}
