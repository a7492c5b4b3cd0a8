//! The parameters of EC2's query protocol: a flat form that spells lists and structures as `Filter.1.Value.2`.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::identifier::is_instance_id;
use super::state::{Filter, TagToDelete, Tags, check_filters};
use super::{Ec2Error, Ec2Result};

/// A call's parameters.
#[derive(Debug)]
pub struct Params {
    values: HashMap<String, String>,
}

/// The most values of all filters of a call.
const MAX_FILTER_VALUES: usize = 200;
/// The resources that a launch can tag. Only instances exist here.
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
    /// `InvalidParameterValue` when it is not a form, or has two parameters with one name: policies would be checked for one
    /// of them, and the other carried out.
    pub fn parse(body: &[u8]) -> Ec2Result<Self> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(body).map_err(|error| {
            Ec2Error::InvalidParameterValue(format!("The request is not a form: {error}"))
        })?;
        let mut values = HashMap::with_capacity(pairs.len());
        for (name, value) in pairs {
            match values.entry(name) {
                Entry::Vacant(vacant) => {
                    vacant.insert(value);
                }
                Entry::Occupied(present) => {
                    return Err(Ec2Error::InvalidParameterValue(format!(
                        "The parameter {} is given more than once",
                        present.key()
                    )));
                }
            }
        }
        Ok(Self { values })
    }

    /// Returns a parameter that is present and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// As `get`, owned.
    pub fn owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// As `get`, for a parameter that the call requires.
    ///
    /// # Errors
    /// `MissingParameter`.
    pub fn required(&self, name: &str) -> Ec2Result<&str> {
        self.get(name)
            .ok_or_else(|| Ec2Error::MissingParameter(name.to_owned()))
    }

    /// Returns a whole number, if present.
    ///
    /// # Errors
    /// `InvalidParameterValue`.
    pub fn number(&self, name: &str) -> Ec2Result<Option<usize>> {
        self.get(name)
            .map(|value| value.parse().map_err(|_| Ec2Error::invalid(value, name)))
            .transpose()
    }

    /// Returns a flag that must be valid, or false if it is absent.
    ///
    /// # Errors
    /// `InvalidParameterValue`.
    pub fn boolean(&self, name: &str) -> Ec2Result<bool> {
        self.get(name)
            .map_or(Ok(false), |value| parse_flag(name, value))
    }

    /// Returns whether a parameter, or any part of a structure with that name, is present.
    pub fn has(&self, name: &str) -> bool {
        let is_part = |key: &String| {
            key.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.values.keys().any(is_part)
    }

    /// Returns whether a flag is true. An absent or invalid one is not.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Returns the list `NAME.1`, `NAME.2`, … up to the first missing number.
    pub fn list(&self, name: &str) -> Vec<String> {
        (1..)
            .map_while(|index| self.values.get(&format!("{name}.{index}")).cloned())
            .collect()
    }

    /// Returns the filters of a call that has the filters `known`.
    ///
    /// # Errors
    /// `InvalidParameterValue` for an unknown filter, and one without values; `FilterLimitExceeded`.
    pub fn filters(&self, known: &str) -> Ec2Result<Vec<Filter>> {
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
        if values_in_all > MAX_FILTER_VALUES {
            return Err(Ec2Error::FilterLimitExceeded(MAX_FILTER_VALUES));
        }
        check_filters(&filters, known)?;
        Ok(filters)
    }

    /// Returns the tags `PREFIX.1.Key`, `PREFIX.1.Value`, …; an absent value is `None`.
    ///
    /// # Errors
    /// `InvalidParameterValue`.
    pub fn tags(&self, prefix: &str) -> Ec2Result<Vec<TagToDelete>> {
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

    /// Returns the tags of a new resource of one kind.
    ///
    /// # Errors
    /// As `tag_specifications`.
    pub fn tag_specification(&self, kind: &str) -> Ec2Result<Tags> {
        let mut tags = self.tag_specifications(&[kind])?;
        Ok(tags.remove(kind).unwrap_or_default())
    }

    /// Returns the tags of what a launch creates, by the kind of resource.
    ///
    /// # Errors
    /// As `tag_specifications`.
    pub fn launch_tags(&self) -> Ec2Result<BTreeMap<String, Tags>> {
        self.tag_specifications(&TAGGABLE)
    }

    /// Returns the tags of new resources of some kinds.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a kind that cannot be tagged, for no tags and for a repeated key.
    fn tag_specifications(&self, kinds: &[&str]) -> Ec2Result<BTreeMap<String, Tags>> {
        let mut found: BTreeMap<String, Tags> = BTreeMap::new();
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
            if !kinds.contains(&resource) {
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
            let tags = found.entry(resource.to_owned()).or_default();
            for (key, value) in specified {
                if tags
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

    /// Returns the instance identifiers of a call, each once.
    ///
    /// # Errors
    /// `InvalidInstanceID.Malformed`.
    pub fn instance_ids(&self) -> Ec2Result<Vec<String>> {
        let mut seen = HashSet::new();
        let mut ids = self.list("InstanceId");
        ids.retain(|id| seen.insert(id.clone()));
        match ids.iter().find(|id| !is_instance_id(id)) {
            Some(malformed) => Err(Ec2Error::InstanceMalformed(malformed.clone())),
            None => Ok(ids),
        }
    }

    /// Returns the instance identifier of a call for one instance.
    ///
    /// # Errors
    /// `MissingParameter`, `InvalidInstanceID.Malformed`.
    pub fn instance_id(&self) -> Ec2Result<&str> {
        let id = self.required("InstanceId")?;
        if is_instance_id(id) {
            Ok(id)
        } else {
            Err(Ec2Error::InstanceMalformed(id.to_owned()))
        }
    }

    /// As `instance_ids`, for a call that requires at least one.
    ///
    /// # Errors
    /// `MissingParameter`, `InvalidInstanceID.Malformed`.
    pub fn required_instance_ids(&self) -> Ec2Result<Vec<String>> {
        let ids = self.instance_ids()?;
        if ids.is_empty() {
            Err(Ec2Error::MissingParameter("InstanceId".to_owned()))
        } else {
            Ok(ids)
        }
    }
}

/// Parses a flag.
///
/// # Errors
/// `InvalidParameterValue`.
pub fn parse_flag(name: &str, value: &str) -> Ec2Result<bool> {
    value.to_ascii_lowercase().parse().map_err(|_| {
        Ec2Error::InvalidParameterValue(format!(
            "Invalid value '{value}' for {name}. Expected: true or false"
        ))
    })
}

fn check_tag(key: &str, value: &str) -> Ec2Result {
    let invalid = |reason: &str| Ec2Error::InvalidParameterValue(reason.to_owned());
    if key.is_empty() || key.chars().count() > 127 {
        return Err(invalid("Tag keys must have 1 to 127 characters"));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(invalid(
            "Tag keys starting with 'aws:' are reserved for internal use",
        ));
    }
    if value.chars().count() > 256 {
        return Err(invalid("Tag values must have at most 256 characters"));
    }
    Ok(())
}
