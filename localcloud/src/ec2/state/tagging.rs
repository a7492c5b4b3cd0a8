//! Tags on instances, and the rules that tags on all resources share.

use super::{Instance, Instances, MAX_TAGS, Tags};
use crate::clock::Millis;
use crate::ec2::Ec2Error;
use crate::ec2::error::Ec2Result;

/// A tag to delete: its key and, if only that value is to be deleted, its value.
pub type TagToDelete = (String, Option<String>);

/// Checks that a resource with some tags can have others as well.
///
/// # Errors
/// `TagLimitExceeded`.
pub fn check_tag_count(present: &Tags, added: &Tags) -> Ec2Result {
    let added = added.keys().filter(|key| !present.contains_key(*key));
    if present.len() + added.count() > MAX_TAGS {
        return Err(Ec2Error::TagLimitExceeded);
    }
    Ok(())
}

/// Checks that the metadata service can show tags: their keys are parts of paths.
///
/// # Errors
/// `InvalidParameterValue`.
pub fn check_tag_keys(tags: &Tags) -> Ec2Result {
    let is_valid = |key: &&String| {
        let is_allowed =
            |letter: char| letter.is_ascii_alphanumeric() || "-_+=,.@:".contains(letter);
        key.chars().all(is_allowed) && !matches!(key.as_str(), "." | ".." | "_index")
    };
    match tags.keys().find(|key| !is_valid(key)) {
        None => Ok(()),
        Some(invalid) => Err(Ec2Error::InvalidParameterValue(format!(
            "'{invalid}' is not a valid tag key. Tag keys must match pattern ([0-9a-zA-Z\\-_+=,.@:]{{1,255}}), and must not be a reserved name ('.', '..', '_index')"
        ))),
    }
}

/// Adds tags, or replaces their values.
pub fn set_tags(present: &mut Tags, added: &Tags) {
    let added = added.iter();
    present.extend(added.map(|(key, value)| (key.clone(), value.clone())));
}

/// Deletes the tags that are named, or all if none is.
pub fn delete_tags(present: &mut Tags, named: &[TagToDelete]) {
    present.retain(|key, value| {
        let is_named = |(name, wanted): &TagToDelete| {
            name == key && wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        !named.is_empty() && !named.iter().any(is_named)
    });
}

impl Instances {
    /// Sets tags on all these instances, or on none.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `TagLimitExceeded`; `InvalidParameterValue` for a key that the metadata service of one
    /// of the instances cannot show.
    pub fn create_tags(&mut self, ids: &[String], tags: &Tags, now: Millis) -> Ec2Result {
        self.check_exist(ids, now)?;
        self.check_each(ids, |instance: &Instance| {
            check_tag_count(&instance.tags, tags)
        })?;
        self.check_each(ids, |instance: &Instance| {
            if instance.spec.metadata.tags_enabled {
                check_tag_keys(tags)?;
            }
            Ok(())
        })?;
        for id in ids {
            if let Some(instance) = self.get_mut(id) {
                set_tags(&mut instance.tags, tags);
            }
        }
        Ok(())
    }

    /// Deletes tags from all these instances.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`.
    pub fn delete_tags(&mut self, ids: &[String], tags: &[TagToDelete], now: Millis) -> Ec2Result {
        self.check_exist(ids, now)?;
        for id in ids {
            if let Some(instance) = self.get_mut(id) {
                delete_tags(&mut instance.tags, tags);
            }
        }
        Ok(())
    }
}
