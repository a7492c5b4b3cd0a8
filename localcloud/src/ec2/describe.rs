//! The Describe calls, and instances as XML.

mod images;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::params::Params;
use super::state::{Filter, Instance, InstanceState, LaunchSpec, Tags};
use super::{Ec2, Ec2Error};
use crate::clock::Millis;
use crate::sqs::state::ACCOUNT_ID;
use crate::xml::Xml;

const TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const MOST_PER_PAGE: usize = 1000;

/// What every instance's XML needs to know of its region.
pub(super) struct Place {
    default_zone: String,
}

pub(super) fn place_of_region(region: &str) -> Place {
    Place {
        default_zone: format!("{region}a"),
    }
}

impl Place {
    pub(super) fn zone_of<'a>(&'a self, spec: &'a LaunchSpec) -> &'a str {
        spec.availability_zone
            .as_deref()
            .unwrap_or(&self.default_zone)
    }
}

impl Ec2 {
    pub(super) fn describe_instances(
        &self,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let ids = params.instance_ids()?;
        let filters = params.filters()?;
        let (start_at, page_size) = page(params, !ids.is_empty())?;
        let place = place_of_region(&self.region);
        let mut shared = self.lock();
        let page =
            shared
                .instances
                .describe(&ids, &filters, start_at, page_size, self.clock.now())?;
        Ok(Xml::response("DescribeInstances", request_id, |xml| {
            let same =
                |one: &&Instance, other: &&Instance| one.reservation_id == other.reservation_id;
            xml.list(
                "reservationSet",
                page.instances.chunk_by(same),
                |xml, instances| {
                    reservation(xml, instances, &place);
                },
            );
            xml.optional("nextToken", page.next.map(token));
        }))
    }

    pub(super) fn describe_instance_status(
        &self,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let ids = params.instance_ids()?;
        let mut filters = params.filters()?;
        if !params.flag("IncludeAllInstances") {
            filters.push(Filter {
                name: "instance-state-name".to_owned(),
                values: vec!["running".to_owned()],
            });
        }
        let (start_at, page_size) = page(params, !ids.is_empty())?;
        let place = place_of_region(&self.region);
        let mut shared = self.lock();
        let page =
            shared
                .instances
                .describe(&ids, &filters, start_at, page_size, self.clock.now())?;
        Ok(Xml::response("DescribeInstanceStatus", request_id, |xml| {
            xml.list("instanceStatusSet", &page.instances, |xml, instance| {
                xml.text("instanceId", &instance.instance_id);
                xml.text("availabilityZone", place.zone_of(&instance.spec));
                xml.element("instanceState", |xml| state(xml, instance.state));
                let status = if instance.state == InstanceState::Running {
                    "ok"
                } else {
                    "not-applicable"
                };
                for check in ["systemStatus", "instanceStatus"] {
                    xml.element(check, |xml| xml.text("status", status));
                }
            });
            xml.optional("nextToken", page.next.map(token));
        }))
    }

    pub(super) fn describe_tags(
        &self,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let filters = params.filters()?;
        let shared = self.lock();
        let mut found = Vec::new();
        for instance in shared.instances.known(self.clock.now()) {
            for (key, value) in &instance.tags {
                let mut accepted = true;
                for filter in &filters {
                    accepted &= match filter.name.as_str() {
                        "resource-id" => filter.matches(&instance.instance_id),
                        "resource-type" => filter.matches("instance"),
                        "key" => filter.matches(key),
                        "value" => filter.matches(value),
                        name => match name.strip_prefix("tag:") {
                            Some(wanted) => wanted == key && filter.matches(value),
                            None => return Err(Ec2Error::InvalidFilter(name.to_owned())),
                        },
                    };
                }
                if accepted {
                    found.push((&instance.instance_id, key, value));
                }
            }
        }
        Ok(Xml::response("DescribeTags", request_id, |xml| {
            xml.list("tagSet", found, |xml, (resource_id, key, value)| {
                xml.text("resourceId", resource_id);
                xml.text("resourceType", "instance");
                xml.text("key", key);
                xml.text("value", value);
            });
        }))
    }
}

/// The content of a reservation: the instances of one launch, or those of them that were asked for.
pub(super) fn reservation(xml: &mut Xml, instances: &[&Instance], place: &Place) {
    xml.optional(
        "reservationId",
        instances.first().map(|first| &first.reservation_id),
    );
    xml.text("ownerId", ACCOUNT_ID);
    xml.element("groupSet", |_| {});
    xml.list("instancesSet", instances, |xml, instance| {
        describe(xml, instance, place)
    });
}

fn describe(xml: &mut Xml, instance: &Instance, place: &Place) {
    let spec = &instance.spec;
    let has_address = matches!(
        instance.state,
        InstanceState::Pending | InstanceState::Running
    );
    xml.text("instanceId", &instance.instance_id);
    xml.text("imageId", &spec.image_id);
    xml.element("instanceState", |xml| state(xml, instance.state));
    xml.text("privateDnsName", if has_address { "localhost" } else { "" });
    xml.text("dnsName", if has_address { "localhost" } else { "" });
    xml.text(
        "reason",
        instance
            .state_transition
            .as_ref()
            .map_or(String::new(), |(reason, at)| {
                format!("{reason} ({})", timestamp(*at))
            }),
    );
    xml.optional("keyName", spec.key_name.as_ref());
    xml.text("amiLaunchIndex", instance.launch_index);
    xml.text("instanceType", &spec.instance_type);
    xml.text("launchTime", timestamp(instance.launched));
    xml.element("placement", |xml| {
        xml.text("availabilityZone", place.zone_of(spec));
        xml.text("tenancy", "default");
    });
    xml.element("monitoring", |xml| xml.text("state", "disabled"));
    xml.optional("subnetId", spec.subnet_id.as_ref());
    if has_address {
        xml.text("privateIpAddress", "127.0.0.1");
        xml.text("ipAddress", "127.0.0.1");
    }
    xml.list("groupSet", &spec.security_groups, |xml, group| {
        xml.text("groupId", group);
        xml.text("groupName", group);
    });
    if let Some(reason) = &instance.state_reason {
        xml.element("stateReason", |xml| {
            xml.text("code", reason.code);
            xml.text("message", &reason.message);
        });
    }
    xml.text("architecture", "x86_64");
    xml.text("rootDeviceType", "ebs");
    xml.text("virtualizationType", "hvm");
    xml.text("hypervisor", "xen");
    if let Some(lifecycle) = spec.market.lifecycle() {
        xml.text("instanceLifecycle", lifecycle);
        // Spot requests are no resources here; each instance has one of its own, so that it may lend it its number.
        let number = instance.instance_id.trim_start_matches("i-");
        xml.text(
            "spotInstanceRequestId",
            format!("sir-{}", number.get(..8).unwrap_or(number)),
        );
    }
    xml.text("clientToken", &instance.client_token);
    tags(xml, &instance.tags);
    if let Some(profile) = &spec.instance_profile {
        let arn = match profile.starts_with("arn:") {
            true => profile.clone(),
            false => format!("arn:aws:iam::{ACCOUNT_ID}:instance-profile/{profile}"),
        };
        xml.element("iamInstanceProfile", |xml| xml.text("arn", arn));
    }
}

fn tags(xml: &mut Xml, tags: &Tags) {
    xml.list("tagSet", tags, |xml, (key, value)| {
        xml.text("key", key);
        xml.text("value", value);
    });
}

fn state(xml: &mut Xml, state: InstanceState) {
    xml.text("code", state.code());
    xml.text("name", state.name());
}

fn timestamp(at: Millis) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000_000)
        .ok()
        .and_then(|time| time.format(TIMESTAMP).ok())
        .unwrap_or_default()
}

/// Where a page begins and how long it is.
fn page(params: &Params, ids_given: bool) -> Result<(u64, usize), Ec2Error> {
    let page_size = params.number("MaxResults")?;
    if page_size.is_some() && ids_given {
        return Err(Ec2Error::InvalidParameterCombination(
            "The parameter instancesSet cannot be used with the parameter maxResults".to_owned(),
        ));
    }
    if page_size.is_some_and(|size| !(5..=MOST_PER_PAGE).contains(&size)) {
        return Err(Ec2Error::InvalidParameterValue(format!(
            "Value for parameter MaxResults is invalid. Expecting a value between 5 and {MOST_PER_PAGE}."
        )));
    }
    let start_at = match params.get("NextToken") {
        None => 0,
        Some(token) => sequence(token).ok_or_else(|| {
            Ec2Error::InvalidParameterValue("Invalid value for parameter NextToken".to_owned())
        })?,
    };
    // Without a page size AWS answers everything.
    Ok((start_at, page_size.unwrap_or(usize::MAX)))
}

fn token(sequence: u64) -> String {
    URL_SAFE_NO_PAD.encode(sequence.to_be_bytes())
}

fn sequence(token: &str) -> Option<u64> {
    Some(u64::from_be_bytes(
        URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?,
    ))
}
