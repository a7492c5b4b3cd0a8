//! The parameters of a call in EC2's query protocol: a flat form in which lists and structures are spelled as
//! `Filter.1.Value.2`.

use std::collections::HashMap;

use super::Ec2Error;
use super::state::{Filter, Tags};

/// A call's parameters.
#[derive(Debug)]
pub struct Params {
    values: HashMap<String, String>,
}

/// Longer lists than this no call takes.
const MOST_ITEMS: usize = 1000;

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

    /// A flag; one that is not given is false.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The list `NAME.1`, `NAME.2`, … up to the first number that is missing.
    pub fn list(&self, name: &str) -> Vec<String> {
        (1..=MOST_ITEMS)
            .map_while(|index| self.values.get(&format!("{name}.{index}")).cloned())
            .collect()
    }

    /// The filters of a Describe call.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a filter without values.
    pub fn filters(&self) -> Result<Vec<Filter>, Ec2Error> {
        let mut filters = Vec::new();
        for index in 1..=MOST_ITEMS {
            let Some(name) = self.get(&format!("Filter.{index}.Name")) else {
                break;
            };
            let values = self.list(&format!("Filter.{index}.Value"));
            if values.is_empty() {
                return Err(Ec2Error::InvalidParameterValue(format!(
                    "The filter '{name}' has no values"
                )));
            }
            filters.push(Filter {
                name: name.to_owned(),
                values,
            });
        }
        Ok(filters)
    }

    /// The tags `PREFIX.1.Key`, `PREFIX.1.Value`, …; a value that is not given is `None`.
    pub fn tags(&self, prefix: &str) -> Result<Vec<(String, Option<String>)>, Ec2Error> {
        let mut tags = Vec::new();
        for index in 1..=MOST_ITEMS {
            let Some(key) = self.values.get(&format!("{prefix}.{index}.Key")) else {
                break;
            };
            let value = self.values.get(&format!("{prefix}.{index}.Value")).cloned();
            check_tag(key, value.as_deref().unwrap_or_default())?;
            tags.push((key.clone(), value));
        }
        Ok(tags)
    }

    /// The tags that a launch puts on instances; tags for other resources are accepted, and there are none to put
    /// them on.
    pub fn instance_tag_specification(&self) -> Result<Tags, Ec2Error> {
        let mut tags = Tags::new();
        for index in 1..=MOST_ITEMS {
            let Some(resource) = self.get(&format!("TagSpecification.{index}.ResourceType")) else {
                break;
            };
            if resource == "instance" {
                let specified = self.tags(&format!("TagSpecification.{index}.Tag"))?;
                tags.extend(
                    specified
                        .into_iter()
                        .map(|(key, value)| (key, value.unwrap_or_default())),
                );
            }
        }
        Ok(tags)
    }

    /// The instance identifiers of a call, checked for their form.
    ///
    /// # Errors
    /// `InvalidInstanceID.Malformed`.
    pub fn instance_ids(&self) -> Result<Vec<String>, Ec2Error> {
        let ids = self.list("InstanceId");
        match ids.iter().find(|id| !is_instance_id(id)) {
            Some(malformed) => Err(Ec2Error::InstanceMalformed(malformed.clone())),
            None => Ok(ids),
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
