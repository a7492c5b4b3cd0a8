//! CreateTags and DeleteTags, on instances and images.

use super::identifier::is_instance_id;
use super::params::Params;
use super::state::{Tags, check_tag_count, delete_tags, set_tags};
use super::{Ec2, Ec2Error, Ec2Result};
use crate::xml::Xml;

impl Ec2 {
    pub(super) fn create_tags(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let (instances, images) = resources(params)?;
        let tags: Tags = params
            .tags("Tag")?
            .into_iter()
            .map(|(key, value)| (key, value.unwrap_or_default()))
            .collect();
        if tags.is_empty() {
            return Err(Ec2Error::MissingParameter("Tag".to_owned()));
        }
        let mut shared = self.lock();
        for image in &images {
            check_tag_count(&shared.images.registered(image)?.tags, &tags)?;
        }
        let now = self.clock.now();
        shared.instances.create_tags(&instances, &tags, now)?;
        for image in &images {
            set_tags(&mut shared.images.registered_mut(image)?.tags, &tags);
        }
        xml.text("return", true);
        Ok(())
    }

    pub(super) fn delete_tags(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let (instances, images) = resources(params)?;
        let tags = params.tags("Tag")?;
        let mut shared = self.lock();
        for image in &images {
            shared.images.registered(image)?;
        }
        let now = self.clock.now();
        shared.instances.delete_tags(&instances, &tags, now)?;
        for image in &images {
            delete_tags(&mut shared.images.registered_mut(image)?.tags, &tags);
        }
        xml.text("return", true);
        Ok(())
    }
}

/// Returns the instances and the images that a call names.
fn resources(params: &Params) -> Ec2Result<(Vec<String>, Vec<String>)> {
    let ids = params.list("ResourceId");
    if ids.is_empty() {
        return Err(Ec2Error::MissingParameter("ResourceId".to_owned()));
    }
    let (instances, others): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| is_instance_id(id));
    match others.iter().find(|id| !id.starts_with("ami-")) {
        // No other resources exist here.
        Some(other) => Err(Ec2Error::InvalidId(other.clone())),
        None => Ok((instances, others)),
    }
}
