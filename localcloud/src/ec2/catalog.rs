//! DescribeRegions and DescribeAvailabilityZones. localcloud launches instances in any of them.

mod types;

use super::params::Params;
use super::state::Filter;
use super::{Ec2, Ec2Error, Ec2Result};
use crate::xml::Xml;

/// The regions that every account has.
const REGIONS: &str = "\
    ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-southeast-1 ap-southeast-2 \
    ca-central-1 eu-central-1 eu-north-1 eu-west-1 eu-west-2 eu-west-3 sa-east-1 us-east-1 \
    us-east-2 us-west-1 us-west-2";
const REGION_FILTERS: &str = "endpoint opt-in-status region-name";
const ZONE_FILTERS: &str = "\
    group-long-name group-name message opt-in-status parent-zone-id parent-zone-name region-name \
    state zone-id zone-name zone-type";
const OPT_IN: &str = "opt-in-not-required";

impl Ec2 {
    pub(super) fn describe_regions(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let filters = params.filters(REGION_FILTERS)?;
        let names = params.list("RegionName");
        let mut regions: Vec<&str> = REGIONS.split(' ').collect();
        let own = self.region.name.as_str();
        if !regions.contains(&own) {
            regions.push(own);
        }
        if let Some(unknown) = names.iter().find(|name| !regions.contains(&name.as_str())) {
            return Err(Ec2Error::InvalidParameterValue(format!(
                "Invalid region names provided: {unknown}"
            )));
        }
        regions.retain(|region| {
            (names.is_empty() || names.iter().any(|name| name == region))
                && filters.iter().all(|filter| match filter.name.as_str() {
                    "endpoint" => filter.matches(&endpoint(region)),
                    "opt-in-status" => filter.matches(OPT_IN),
                    _ => filter.matches(region),
                })
        });
        xml.list("regionInfo", regions, |xml, region| {
            xml.text("regionName", region);
            xml.text("regionEndpoint", endpoint(region));
            xml.text("optInStatus", OPT_IN);
        });
        Ok(())
    }

    pub(super) fn describe_availability_zones(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let filters = params.filters(ZONE_FILTERS)?;
        let region = &self.region.name;
        let zones = self.region.zones();
        let (names, ids) = (params.list("ZoneName"), params.list("ZoneId"));
        let unknown_name = names
            .iter()
            .find(|name| !zones.iter().any(|(_, zone)| zone == *name));
        let unknown_id = ids
            .iter()
            .find(|name| !zones.iter().any(|(id, _)| id == *name));
        if let Some(unknown) = unknown_name.or(unknown_id) {
            return Err(Ec2Error::InvalidParameterValue(format!(
                "Invalid availability zone: [{unknown}]"
            )));
        }
        let found = zones.iter().filter(|(id, zone)| {
            (names.is_empty() || names.contains(zone))
                && (ids.is_empty() || ids.contains(id))
                && filters
                    .iter()
                    .all(|filter| zone_matches(filter, region, id, zone))
        });
        xml.list("availabilityZoneInfo", found, |xml, (id, zone)| {
            xml.text("optInStatus", OPT_IN);
            xml.element("messageSet", |_| {});
            xml.text("regionName", region);
            xml.text("zoneName", zone);
            xml.text("zoneId", id);
            xml.text("groupName", format!("{region}-zg-1"));
            xml.text("networkBorderGroup", region);
            xml.text("zoneType", "availability-zone");
            xml.text("zoneState", "available");
        });
        Ok(())
    }
}

fn endpoint(region: &str) -> String {
    format!("ec2.{region}.amazonaws.com")
}

fn zone_matches(filter: &Filter, region: &str, id: &str, zone: &str) -> bool {
    match filter.name.as_str() {
        "group-name" => filter.matches(&format!("{region}-zg-1")),
        "opt-in-status" => filter.matches(OPT_IN),
        "region-name" => filter.matches(region),
        "state" => filter.matches("available"),
        "zone-id" => filter.matches(id),
        "zone-name" => filter.matches(zone),
        "zone-type" => filter.matches("availability-zone"),
        _ => false,
    }
}
