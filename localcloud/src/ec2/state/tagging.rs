//! Tags on instances.

use super::{Instance, Instances, MOST_TAGS, Tags};
use crate::clock::Millis;
use crate::ec2::Ec2Error;

impl Instances {
    /// Sets tags on all these instances, or on none.
    ///
    /// # Errors
    /// `InvalidInstanceID.NotFound`, `TagLimitExceeded`.
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
            instance.tags.retain(|key, value| {
                let named = |(tag, wanted): &(String, Option<String>)| {
                    tag == key && wanted.as_ref().is_none_or(|wanted| wanted == value)
                };
                !tags.is_empty() && !tags.iter().any(named)
            });
        }
        Ok(())
    }
}
