//! CreateTags and DeleteTags, on instances and images.

use super::params::{Params, is_instance_id};
use super::state::Tags;
use super::{Ec2, Ec2Error, done};
use crate::xml::Xml;

/// A tag to delete: its key and, if it is to be deleted only with that, its value.
type TagToDelete = (String, Option<String>);

impl Ec2 {
    pub(super) fn create_tags(
        &self,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
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
            shared.images.check_tags(image, &tags)?;
        }
        shared
            .instances
            .create_tags(&instances, &tags, self.clock.now())?;
        for image in &images {
            let added = tags.iter().map(|(key, value)| (key.clone(), value.clone()));
            shared.images.tags_mut(image)?.extend(added);
        }
        Ok(done("CreateTags", request_id))
    }

    pub(super) fn delete_tags(
        &self,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let (instances, images) = resources(params)?;
        let tags: Vec<TagToDelete> = params.tags("Tag")?;
        let mut shared = self.lock();
        for image in &images {
            shared.images.registered(image)?;
        }
        shared
            .instances
            .delete_tags(&instances, &tags, self.clock.now())?;
        for image in &images {
            shared
                .images
                .tags_mut(image)?
                .retain(|key, value| !is_deleted(&tags, key, value));
        }
        Ok(Xml::response("DeleteTags", request_id, |xml| {
            xml.text("return", true);
        }))
    }
}

/// Whether a tag is among those to delete. None named means all.
pub(super) fn is_deleted(tags: &[TagToDelete], key: &str, value: &str) -> bool {
    let named = |(tag, wanted): &TagToDelete| {
        tag == key && wanted.as_ref().is_none_or(|wanted| wanted == value)
    };
    tags.is_empty() || tags.iter().any(named)
}

/// The instances and the images that a call names.
fn resources(params: &Params) -> Result<(Vec<String>, Vec<String>), Ec2Error> {
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
