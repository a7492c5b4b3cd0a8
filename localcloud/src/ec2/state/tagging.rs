//! Tags on instances.

use super::{Instance, Instances, MOST_TAGS, Tags};
use crate::clock::Millis;
use crate::ec2::Ec2Error;
use crate::ec2::metadata::check_tag_keys;
use crate::ec2::tagging::is_deleted;

impl Instances {
    /// Sets tags on all these instances, or on none.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `TagLimitExceeded`; `InvalidParameterValue` for keys that the metadata service of
    /// one of the instances cannot have.
    pub fn create_tags(
        &mut self,
        ids: &[String],
        tags: &Tags,
        now: Millis,
    ) -> Result<(), Ec2Error> {
        self.check_exist(ids, now)?;
        let too_many = |instance: &Instance| {
            let added = tags
                .keys()
                .filter(|key| !instance.tags.contains_key(*key))
                .count();
            instance.tags.len() + added > MOST_TAGS
        };
        if ids.iter().filter_map(|id| self.get(id)).any(too_many) {
            return Err(Ec2Error::TagLimitExceeded);
        }
        // The metadata service has the keys as parts of paths.
        if ids
            .iter()
            .filter_map(|id| self.get(id))
            .any(|instance| instance.spec.metadata.tags_enabled)
        {
            check_tag_keys(tags)?;
        }
        for id in ids {
            if let Some(instance) = self.get_mut(id) {
                instance
                    .tags
                    .extend(tags.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
        }
        Ok(())
    }

    /// Deletes tags; one given with a value only if it has that value. No tags given means all of them.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`.
    pub fn delete_tags(
        &mut self,
        ids: &[String],
        tags: &[(String, Option<String>)],
        now: Millis,
    ) -> Result<(), Ec2Error> {
        self.check_exist(ids, now)?;
        for id in ids {
            let Some(instance) = self.get_mut(id) else {
                continue;
            };
            instance
                .tags
                .retain(|key, value| !is_deleted(tags, key, value));
        }
        Ok(())
    }
}
