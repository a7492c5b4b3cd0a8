//! DescribeSubnets and DescribeSecurityGroups. Networks are no resources here: every subnet and group that a call names
//! exists, in the default zone, and without names there are those of a new account.

use super::params::Params;
use super::state::Filter;
use super::{Ec2, Ec2Error, Ec2Result};
use crate::account::ACCOUNT_ID;
use crate::xml::Xml;

const VPC: &str = "vpc-00000000000000001";
pub const DEFAULT_GROUP: &str = "sg-00000000000000001";
pub const DEFAULT_SUBNET: &str = "subnet-00000000000000001";
/// The free addresses of an empty /20 network: AWS keeps five.
const FREE_ADDRESSES: usize = 4091;
const SUBNET_FILTERS: &str = "availability-zone availability-zone-id default-for-az owner-id state subnet-id tag-key tag:* vpc-id";
const GROUP_FILTERS: &str = "description group-id group-name owner-id tag-key tag:* vpc-id";

impl Ec2 {
    pub(super) fn describe_subnets(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let filters = params.filters(SUBNET_FILTERS)?;
        let mut ids = named(params, "SubnetId", "subnet-", DEFAULT_SUBNET)?;
        let zone = self.region.default_zone();
        let zone_id = self.region.zone_id(zone);
        let shared = self.lock();
        let used = |id: &str| {
            let uses = shared.instances.in_subnet(id);
            FREE_ADDRESSES.saturating_sub(uses)
        };
        ids.retain(|id| {
            filters.iter().all(|filter| match filter.name.as_str() {
                "availability-zone" => filter.matches(zone),
                "availability-zone-id" => filter.matches(&zone_id),
                "default-for-az" => filter.matches(&(id == DEFAULT_SUBNET).to_string()),
                "state" => filter.matches("available"),
                "subnet-id" => filter.matches(id),
                _ => common(filter),
            })
        });
        xml.list("subnetSet", &ids, |xml, id| {
            xml.text("subnetId", id);
            xml.text("state", "available");
            xml.text("vpcId", VPC);
            xml.text("cidrBlock", "127.16.0.0/20");
            xml.text("availableIpAddressCount", used(id));
            xml.text("availabilityZone", zone);
            xml.text("availabilityZoneId", &zone_id);
            xml.text("defaultForAz", id == DEFAULT_SUBNET);
            xml.text("mapPublicIpOnLaunch", true);
            xml.text("ownerId", ACCOUNT_ID);
        });
        Ok(())
    }

    pub(super) fn describe_security_groups(&self, params: &Params, xml: &mut Xml) -> Ec2Result {
        let filters = params.filters(GROUP_FILTERS)?;
        let mut ids = named(params, "GroupId", "sg-", DEFAULT_GROUP)?;
        let name = |id: &str| match id {
            DEFAULT_GROUP => "default".to_owned(),
            other => other.to_owned(),
        };
        ids.retain(|id| {
            filters.iter().all(|filter| match filter.name.as_str() {
                "description" | "group-name" => filter.matches(&name(id)),
                "group-id" => filter.matches(id),
                _ => common(filter),
            })
        });
        xml.list("securityGroupInfo", &ids, |xml, id| {
            xml.text("ownerId", ACCOUNT_ID);
            xml.text("groupId", id);
            xml.text("groupName", name(id));
            xml.text("groupDescription", name(id));
            xml.text("vpcId", VPC);
        });
        Ok(())
    }
}

/// Returns the resources that a call names, or the default one.
///
/// # Errors
/// `InvalidID` for the identifier of another kind of resource.
fn named(params: &Params, list: &str, prefix: &str, default: &str) -> Ec2Result<Vec<String>> {
    let ids = params.list(list);
    if let Some(other) = ids.iter().find(|id| !id.starts_with(prefix)) {
        return Err(Ec2Error::InvalidId(other.clone()));
    }
    Ok(match ids.is_empty() {
        true => vec![default.to_owned()],
        false => ids,
    })
}

fn common(filter: &Filter) -> bool {
    match filter.name.as_str() {
        "owner-id" => filter.matches(ACCOUNT_ID),
        "vpc-id" => filter.matches(VPC),
        // They have no tags.
        _ => false,
    }
}
