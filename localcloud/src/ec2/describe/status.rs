//! DescribeInstanceStatus.

use super::instance::state;
use super::page::{PAGE_SIZES, PageRequest, token};
use crate::clock::Millis;
use crate::ec2::Ec2;
use crate::ec2::error::Ec2Result;
use crate::ec2::params::Params;
use crate::ec2::state::{Filter, Instance, InstanceState, Region, STATUS_FILTERS};
use crate::xml::Xml;

/// The summary of the status checks and, if there is one, the result of the reachability check.
type Status = (&'static str, Option<&'static str>);

impl Ec2 {
    pub(in crate::ec2) fn describe_instance_status(
        &self,
        params: &Params,
        xml: &mut Xml,
    ) -> Ec2Result {
        let ids = params.instance_ids()?;
        let filters = params.filters(STATUS_FILTERS)?;
        let (start_at, page_size) =
            PageRequest::read_numbered(params, PAGE_SIZES, !ids.is_empty())?;
        let all = params.flag("IncludeAllInstances");
        let now = self.clock.now();
        let check_time = self.status_check_time();
        let status = |instance: &Instance| status(instance, check_time, now);
        let selected = |instance: &Instance| {
            (all || instance.state == InstanceState::Running)
                && filters
                    .iter()
                    .all(|filter| matches(filter, instance, status(instance), &self.region))
        };
        let mut shared = self.lock();
        let page = shared
            .instances
            .select(&ids, selected, start_at, page_size, now)?;
        xml.list("instanceStatusSet", &page.instances, |xml, instance| {
            let zone = self.region.zone_of(&instance.spec);
            xml.text("instanceId", &instance.instance_id);
            xml.text("availabilityZone", zone);
            xml.text("availabilityZoneId", self.region.zone_id(zone));
            xml.element("instanceState", |xml| state(xml, instance.state));
            let (summary, reachability) = status(instance);
            for check in ["systemStatus", "instanceStatus"] {
                xml.element(check, |xml| {
                    xml.text("status", summary);
                    xml.list("details", reachability, |xml, reachability| {
                        xml.text("name", "reachability");
                        xml.text("status", reachability);
                    });
                });
            }
        });
        xml.optional("nextToken", page.next.map(token));
        Ok(())
    }
}

fn status(instance: &Instance, check_time: Millis, now: Millis) -> Status {
    match (instance.state, instance.running_since) {
        (InstanceState::Running, Some(since)) if now < since.saturating_add(check_time) => {
            ("initializing", Some("initializing"))
        }
        (InstanceState::Running, _) => ("ok", Some("passed")),
        _ => ("not-applicable", None),
    }
}

fn matches(
    filter: &Filter,
    instance: &Instance,
    (summary, reachability): Status,
    region: &Region,
) -> bool {
    match filter.name.as_str() {
        "instance-status.status" | "system-status.status" => filter.matches(summary),
        "instance-status.reachability" | "system-status.reachability" => {
            reachability.is_some_and(|result| filter.matches(result))
        }
        // There are no scheduled events, and no operators but the account.
        name if name.starts_with("event.") || name.starts_with("operator.") => false,
        _ => filter.matches_instance(instance, region),
    }
}
