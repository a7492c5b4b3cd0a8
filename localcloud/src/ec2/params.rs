//! The parameters of a call in EC2's query protocol: a flat form in which lists and structures are spelled as
//! `Filter.1.Value.2`.

use std::collections::{HashMap, HashSet};

use super::Ec2Error;
use super::state::{Filter, Tags};

/// A call's parameters.
#[derive(Debug)]
pub struct Params {
    values: HashMap<String, String>,
}

/// Among how many values AWS lets all filters of a call choose.
const MOST_FILTER_VALUES: usize = 200;
/// What a launch may put tags on besides instances; none of them exists here.
const TAGGABLE: [&str; 5] = [
    "instance",
    "volume",
    "network-interface",
    "spot-instances-request",
    "elastic-gpu",
];

impl Params {
    /// Reads a form body.
    ///
    /// # Errors
    /// `InvalidParameterValue` when it is not a form.
    pub fn parse(body: &[u8]) -> Result<Self, Ec2Error> {
        let values = serde_urlencoded::from_bytes(body).map_err(|error| {
            Ec2Error::InvalidParameterValue(format!("The request is not a form: {error}"))
        })?;
        Ok(Self { values })
    }

    /// A parameter, if given and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A parameter as an owned text.
    pub fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// A parameter that the call cannot do without.
    ///
    /// # Errors
    /// `MissingParameter`.
    pub fn required(&self, name: &str) -> Result<&str, Ec2Error> {
        self.get(name)
            .ok_or_else(|| Ec2Error::MissingParameter(name.to_owned()))
    }

    /// A whole number, if given.
    ///
    /// # Errors
    /// `InvalidParameterValue` when it is not one.
    pub fn number(&self, name: &str) -> Result<Option<usize>, Ec2Error> {
        self.get(name)
            .map(|value| {
                value.parse().map_err(|_| {
                    Ec2Error::InvalidParameterValue(format!(
                        "Value ({value}) for parameter {name} is invalid."
                    ))
                })
            })
            .transpose()
    }

    /// A flag, if given.
    ///
    /// # Errors
    /// `InvalidParameterValue` when it is neither true nor false.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, Ec2Error> {
        match self.get(name) {
            None => Ok(None),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(value) => Err(Ec2Error::InvalidParameterValue(format!(
                "Invalid value '{value}' for {name}. Expected: true or false"
            ))),
        }
    }

    /// Whether a parameter, or any part of a structure of that name, is given.
    pub fn has(&self, name: &str) -> bool {
        let is_part = |key: &String| {
            key.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.values.keys().any(is_part)
    }

    /// A flag; one that is not given is false.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The list `NAME.1`, `NAME.2`, … up to the first number that is missing.
    pub fn list(&self, name: &str) -> Vec<String> {
        (1..)
            .map_while(|index| self.values.get(&format!("{name}.{index}")).cloned())
            .collect()
    }

    /// The filters of a Describe call.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a filter without values.
    pub fn filters(&self) -> Result<Vec<Filter>, Ec2Error> {
        let mut filters = Vec::new();
        let mut values_in_all = 0;
        for index in 1.. {
            let Some(name) = self.get(&format!("Filter.{index}.Name")) else {
                break;
            };
            let values = self.list(&format!("Filter.{index}.Value"));
            if values.is_empty() {
                return Err(Ec2Error::InvalidParameterValue(format!(
                    "The filter '{name}' has no values"
                )));
            }
            values_in_all += values.len();
            filters.push(Filter::new(name, &values));
        }
        if values_in_all > MOST_FILTER_VALUES {
            return Err(Ec2Error::FilterLimitExceeded(MOST_FILTER_VALUES));
        }
        Ok(filters)
    }

    /// The tags `PREFIX.1.Key`, `PREFIX.1.Value`, …; a value that is not given is `None`.
    pub fn tags(&self, prefix: &str) -> Result<Vec<(String, Option<String>)>, Ec2Error> {
        let mut tags = Vec::new();
        for index in 1.. {
            let Some(key) = self.values.get(&format!("{prefix}.{index}.Key")) else {
                break;
            };
            let value = self.values.get(&format!("{prefix}.{index}.Value")).cloned();
            check_tag(key, value.as_deref().unwrap_or_default())?;
            tags.push((key.clone(), value));
        }
        Ok(tags)
    }

    /// The tags that a call puts on a new resource of one kind. Tags for the other kinds that come with a launch are
    /// checked, and there are none to put them on.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a resource that takes no tags, for no tags and for a key given twice.
    pub fn tag_specification(&self, kind: &str) -> Result<Tags, Ec2Error> {
        let mut found = Tags::new();
        for index in 1.. {
            let prefix = format!("TagSpecification.{index}");
            let Some(resource) = self.get(&format!("{prefix}.ResourceType")) else {
                if self.has(&prefix) {
                    return Err(Ec2Error::InvalidParameterValue(
                        "Tag specification resource type must have a value".to_owned(),
                    ));
                }
                break;
            };
            if resource != kind && !(kind == "instance" && TAGGABLE.contains(&resource)) {
                return Err(Ec2Error::InvalidParameterValue(format!(
                    "'{resource}' is not a valid taggable resource type for this operation."
                )));
            }
            let specified = self.tags(&format!("{prefix}.Tag"))?;
            if specified.is_empty() {
                return Err(Ec2Error::InvalidParameterValue(
                    "Tag specification must have at least one tag".to_owned(),
                ));
            }
            if resource != kind {
                continue;
            }
            for (key, value) in specified {
                if found
                    .insert(key.clone(), value.unwrap_or_default())
                    .is_some()
                {
                    return Err(Ec2Error::InvalidParameterValue(format!(
                        "Duplicate tag key '{key}' specified."
                    )));
                }
            }
        }
        Ok(found)
    }

    /// The instance identifiers of a call, each once and checked for their form.
    ///
    /// # Errors
    /// `InvalidInstanceID.Malformed`.
    pub fn instance_ids(&self) -> Result<Vec<String>, Ec2Error> {
        let mut seen = HashSet::new();
        let mut ids = self.list("InstanceId");
        ids.retain(|id| seen.insert(id.clone()));
        match ids.iter().find(|id| !is_instance_id(id)) {
            Some(malformed) => Err(Ec2Error::InstanceMalformed(malformed.clone())),
            None => Ok(ids),
        }
    }

    /// The one instance that a call is about, checked for its form.
    ///
    /// # Errors
    /// `MissingParameter`, `InvalidInstanceID.Malformed`.
    pub fn instance_id(&self) -> Result<&str, Ec2Error> {
        let id = self.required("InstanceId")?;
        if is_instance_id(id) {
            Ok(id)
        } else {
            Err(Ec2Error::InstanceMalformed(id.to_owned()))
        }
    }

    /// As `instance_ids`, for calls that need at least one.
    ///
    /// # Errors
    /// `MissingParameter`, `InvalidInstanceID.Malformed`.
    pub fn required_instance_ids(&self) -> Result<Vec<String>, Ec2Error> {
        let ids = self.instance_ids()?;
        if ids.is_empty() {
            Err(Ec2Error::MissingParameter("InstanceId".to_owned()))
        } else {
            Ok(ids)
        }
    }
}

/// Whether a text has the form of an instance identifier: `i-` and 8 or 17 hexadecimal digits.
pub fn is_instance_id(text: &str) -> bool {
    text.strip_prefix("i-").is_some_and(|digits| {
        matches!(digits.len(), 8 | 17)
            && digits
                .bytes()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn check_tag(key: &str, value: &str) -> Result<(), Ec2Error> {
    let invalid = |reason: &str| Ec2Error::InvalidParameterValue(reason.to_owned());
    if key.is_empty() || key.chars().count() > 127 {
        return Err(invalid("Tag keys must have 1 to 127 characters"));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(invalid(
            "Tag keys starting with 'aws:' are reserved for internal use",
        ));
    }
    if value.chars().count() > 255 {
        return Err(invalid("Tag values must have at most 255 characters"));
    }
    Ok(())
}
