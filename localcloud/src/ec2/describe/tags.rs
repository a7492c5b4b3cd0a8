//! DescribeTags.

use std::collections::BTreeMap;

use super::page::{PageRequest, USUAL_SIZES, token};
use crate::ec2::params::Params;
use crate::ec2::state::{Filter, Tags, check_filters};
use crate::ec2::{Ec2, Ec2Error};
use crate::xml::Xml;

const FILTERS: &[&str] = &["key", "resource-id", "resource-type", "tag:*", "value"];

impl Ec2 {
    /// In the order of the resources' identifiers, and of the keys: a page begins where the one before ended, whatever
    /// was tagged meanwhile.
    pub(in crate::ec2) fn describe_tags(
        &self,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let filters = params.filters()?;
        check_filters(&filters, FILTERS)?;
        let page = PageRequest::read(params, USUAL_SIZES, false)?;
        let start = page.start.as_deref().unwrap_or_default();
        let start = start.split_once(' ').unwrap_or((start, ""));
        let shared = self.lock();
        let mut resources: BTreeMap<&str, (&str, &Tags)> = BTreeMap::new();
        for instance in shared.instances.known(self.clock.now()) {
            resources.insert(&instance.instance_id, ("instance", &instance.tags));
        }
        for image in shared.images.listed() {
            resources.insert(&image.image.id, ("image", &image.tags));
        }
        let mut found = Vec::new();
        let mut next = None;
        'resources: for (id, (kind, tags)) in resources.range(start.0..) {
            for (key, value) in *tags {
                if (*id, key.as_str()) < start {
                    continue;
                }
                if !filters
                    .iter()
                    .all(|filter| accepts(filter, id, kind, key, value))
                {
                    continue;
                }
                if found.len() == page.size {
                    next = Some(format!("{id} {key}"));
                    break 'resources;
                }
                found.push((*id, *kind, key, value));
            }
        }
        Ok(Xml::response("DescribeTags", request_id, |xml| {
            xml.list("tagSet", found, |xml, (id, kind, key, value)| {
                xml.text("resourceId", id);
                xml.text("resourceType", kind);
                xml.text("key", key);
                xml.text("value", value);
            });
            xml.optional("nextToken", next.map(token));
        }))
    }
}

fn accepts(filter: &Filter, id: &str, kind: &str, key: &str, value: &str) -> bool {
    match filter.name.as_str() {
        "resource-id" => filter.matches(id),
        "resource-type" => filter.matches(kind),
        "key" => filter.matches(key),
        "value" => filter.matches(value),
        name => name
            .strip_prefix("tag:")
            .is_some_and(|wanted| wanted == key && filter.matches(value)),
    }
}
