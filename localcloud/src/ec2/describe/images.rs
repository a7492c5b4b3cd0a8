//! DescribeImages.

use super::instance::{ROOT_DEVICE, tags};
use super::page::{PageRequest, token};
use crate::account::ACCOUNT_ID;
use crate::ec2::error::Ec2Result;
use crate::ec2::images::ImageRecord;
use crate::ec2::state::Filter;
use crate::ec2::{Ec2, Params};
use crate::timestamp::timestamp;
use crate::xml::Xml;

/// Those for properties that images do not have here match no image.
const FILTERS: &str = "\
    architecture block-device-mapping.* boot-mode creation-date description ena-support \
    free-tier-eligible hypervisor image-allowed image-id image-type image-watermark.* \
    instance-type-specification.* is-public kernel-id manifest-location name owner-alias owner-id \
    platform product-code product-code.type public-ssm-parameter-name ramdisk-id \
    root-device-name root-device-type scan-result.* source-image-id source-image-region \
    source-instance-id sriov-net-support state state-reason-code state-reason-message tag-key \
    tag:* virtualization-type";

impl Ec2 {
    pub(in crate::ec2) fn describe_images(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let ids = params.list("ImageId");
        let filters = params.filters(FILTERS)?;
        let (start_at, page_size) = PageRequest::read_numbered(params, 1..=1000, !ids.is_empty())?;
        let owners = params.list("Owner");
        // There are no images of other accounts, and none is shared.
        let owned = owners.is_empty()
            || owners
                .iter()
                .any(|owner| owner == "self" || owner == ACCOUNT_ID);
        let visible = owned && !params.has("ExecutableBy");
        let shared = self.lock();
        for id in &ids {
            shared.images.registered(id)?;
        }
        let mut found: Vec<&ImageRecord> = shared
            .images
            .all_registered()
            .filter(|record| visible && record.sequence >= start_at)
            .filter(|record| ids.is_empty() || ids.contains(&record.image.id))
            .filter(|record| filters.iter().all(|filter| matches(filter, record)))
            .take(page_size.saturating_add(1))
            .collect();
        let next = (found.len() > page_size).then(|| found.pop()).flatten();
        xml.list("imagesSet", &found, |xml, record| describe(xml, record));
        xml.optional("nextToken", next.map(|record| token(record.sequence)));
        Ok(())
    }
}

fn describe(xml: &mut Xml, record: &ImageRecord) {
    xml.text("imageId", &record.image.id);
    xml.text("imageLocation", &record.location);
    xml.text("imageState", "available");
    xml.text("imageOwnerId", ACCOUNT_ID);
    xml.text("creationDate", timestamp(record.created));
    xml.text("isPublic", false);
    xml.text("architecture", "x86_64");
    xml.text("imageType", "machine");
    xml.text("name", record.name());
    xml.optional("description", record.description.as_ref());
    xml.text("rootDeviceType", "ebs");
    xml.text("rootDeviceName", ROOT_DEVICE);
    xml.text("virtualizationType", "hvm");
    xml.text("hypervisor", "xen");
    xml.text("enaSupport", true);
    xml.text("platformDetails", "Linux/UNIX");
    xml.text("usageOperation", "RunInstances");
    tags(xml, &record.tags);
}

fn matches(filter: &Filter, record: &ImageRecord) -> bool {
    if let Some(matched) = filter.matches_tags(&record.tags) {
        return matched;
    }
    match filter.name.as_str() {
        "architecture" => filter.matches("x86_64"),
        "creation-date" => filter.matches(&timestamp(record.created)),
        "description" => record
            .description
            .as_ref()
            .is_some_and(|description| filter.matches(description)),
        "ena-support" => filter.matches("true"),
        "hypervisor" => filter.matches("xen"),
        "image-id" => filter.matches(&record.image.id),
        "image-type" => filter.matches("machine"),
        "is-public" => filter.matches("false"),
        "manifest-location" => filter.matches(&record.location),
        "name" => filter.matches(record.name()),
        "owner-id" => filter.matches(ACCOUNT_ID),
        "root-device-type" => filter.matches("ebs"),
        "state" => filter.matches("available"),
        "virtualization-type" => filter.matches("hvm"),
        _ => false,
    }
}
