//! DescribeTags.

use std::collections::BTreeMap;

use super::page::{PAGE_SIZES, PageRequest, token};
use crate::ec2::Ec2;
use crate::ec2::error::Ec2Result;
use crate::ec2::params::Params;
use crate::ec2::state::{Filter, Tags};
use crate::xml::Xml;

const FILTERS: &str = "key resource-id resource-type tag:* value";

impl Ec2 {
    /// Sorted by resource and key: a page starts where the previous one ended, also if tags changed in between.
    pub(in crate::ec2) fn describe_tags(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let filters = params.filters(FILTERS)?;
        let page = PageRequest::read(params, PAGE_SIZES, false)?;
        let start = page.start.as_deref().unwrap_or_default();
        let start = start.split_once(' ').unwrap_or((start, ""));
        let shared = self.lock();
        let mut resources: BTreeMap<&str, (&str, &Tags)> = BTreeMap::new();
        for instance in shared.instances.all_visible(self.clock.now()) {
            resources.insert(&instance.instance_id, ("instance", &instance.tags));
        }
        for image in shared.images.all_registered() {
            resources.insert(&image.image.id, ("image", &image.tags));
        }
        let mut found = Vec::new();
        let mut next = None;
        'resources: for (id, (kind, tags)) in resources.range(start.0..) {
            for (key, value) in *tags {
                let matches = |filter: &Filter| matches(filter, id, kind, key, value);
                if (*id, key.as_str()) < start || !filters.iter().all(matches) {
                    continue;
                }
                if found.len() == page.size {
                    next = Some(format!("{id} {key}"));
                    break 'resources;
                }
                found.push((*id, *kind, key, value));
            }
        }
        xml.list("tagSet", found, |xml, (id, kind, key, value)| {
            xml.text("resourceId", id);
            xml.text("resourceType", kind);
            xml.text("key", key);
            xml.text("value", value);
        });
        xml.optional("nextToken", next.map(token));
        Ok(())
    }
}

fn matches(filter: &Filter, id: &str, kind: &str, key: &str, value: &str) -> bool {
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
