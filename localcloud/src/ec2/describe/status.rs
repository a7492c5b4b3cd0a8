//! DescribeInstanceStatus.

use super::page::{PageRequest, USUAL_SIZES, token};
use crate::clock::Millis;
use crate::ec2::params::Params;
use crate::ec2::state::{Filter, Instance, InstanceState, STATUS_FILTERS, check_filters};
use crate::ec2::{Ec2, Ec2Error};
use crate::xml::Xml;

use super::instance::state;

/// How the status checks of an instance stand: summary and, if there is one, the result of the check for reachability.
type Status = (&'static str, Option<&'static str>);

impl Ec2 {
    pub(in crate::ec2) fn describe_instance_status(
        &self,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let ids = params.instance_ids()?;
        let filters = params.filters()?;
        check_filters(&filters, STATUS_FILTERS)?;
        let (start_at, page_size) =
            PageRequest::read_numbered(params, USUAL_SIZES, !ids.is_empty())?;
        let all = params.flag("IncludeAllInstances");
        let now = self.clock.now();
        let checks_take = self.status_check_time();
        let status = |instance: &Instance| status(instance, checks_take, now);
        let accepts = |instance: &Instance| {
            (all || instance.state == InstanceState::Running)
                && filters
                    .iter()
                    .all(|filter| accepts(filter, instance, status(instance), &self.place))
        };
        let mut shared = self.lock();
        let page = shared
            .instances
            .select(&ids, accepts, start_at, page_size, now)?;
        Ok(Xml::response("DescribeInstanceStatus", request_id, |xml| {
            xml.list("instanceStatusSet", &page.instances, |xml, instance| {
                let zone = self.place.zone_of(&instance.spec);
                xml.text("instanceId", &instance.instance_id);
                xml.text("availabilityZone", zone);
                xml.text("availabilityZoneId", self.place.zone_id(zone));
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
        }))
    }
}

fn status(instance: &Instance, checks_take: Millis, now: Millis) -> Status {
    match (instance.state, instance.running_since) {
        (InstanceState::Running, Some(since)) if now < since.saturating_add(checks_take) => {
            ("initializing", Some("initializing"))
        }
        (InstanceState::Running, _) => ("ok", Some("passed")),
        _ => ("not-applicable", None),
    }
}

fn accepts(
    filter: &Filter,
    instance: &Instance,
    (summary, reachability): Status,
    place: &crate::ec2::state::Place,
) -> bool {
    match filter.name.as_str() {
        "instance-status.status" | "system-status.status" => filter.matches(summary),
        "instance-status.reachability" | "system-status.reachability" => {
            reachability.is_some_and(|result| filter.matches(result))
        }
        // No events are scheduled here, and nobody but the account operates its instances.
        name if name.starts_with("event.") || name.starts_with("operator.") => false,
        _ => filter.accepts(instance, place),
    }
}
