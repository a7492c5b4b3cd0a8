//! RunInstances.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::describe::{place_of_region, reservation};
use super::params::Params;
use super::state::{LaunchOrder, LaunchSpec, Market};
use super::{Ec2, Ec2Error};
use crate::xml::Xml;

const MOST_USER_DATA_BYTES: usize = 16_384;

impl Ec2 {
    pub(super) fn run_instances(
        self: &Arc<Self>,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let (min, max) = counts(params)?;
        let spec = launch_spec(params)?;
        let ids = self.launch(
            spec,
            params.owned("ClientToken").unwrap_or_default(),
            min,
            max,
        )?;
        let shared = self.lock();
        let instances: Vec<_> = ids
            .iter()
            .filter_map(|id| shared.instances.get(id))
            .collect();
        Ok(Xml::response("RunInstances", request_id, |xml| {
            reservation(xml, &instances, &place_of_region(&self.region));
        }))
    }

    /// Launches between `min` and `max` instances, as many as there is room for, and answers their identifiers.
    pub(super) fn launch(
        self: &Arc<Self>,
        spec: LaunchSpec,
        client_token: String,
        min: usize,
        max: usize,
    ) -> Result<Vec<String>, Ec2Error> {
        if self.image(&spec.image_id).is_none() {
            return Err(Ec2Error::ImageNotFound(spec.image_id));
        }
        let mut shared = self.lock();
        shared.check_open()?;
        let limit = self
            .max_instances
            .saturating_sub(shared.instances.live_count());
        let room = shared.instances.room_for(&spec);
        if !shared.instances.has_launched(&client_token) {
            if min > limit {
                return Err(Ec2Error::InstanceLimitExceeded(min, self.max_instances));
            }
            if min > room {
                return Err(Ec2Error::InsufficientCapacity {
                    zone: place_of_region(&self.region).zone_of(&spec).to_owned(),
                    instance_type: spec.instance_type,
                });
            }
        }
        let order = LaunchOrder {
            spec,
            reservation_id: identifier("r-"),
            client_token,
            requested: max,
            instance_ids: (0..max.min(limit).min(room))
                .map(|_| identifier("i-"))
                .collect(),
        };
        let (ids, new) = shared.instances.launch(order, self.clock.now())?;
        if new {
            for id in &ids {
                self.boot(&mut shared, id, 1);
            }
        }
        Ok(ids)
    }
}

fn counts(params: &Params) -> Result<(usize, usize), Ec2Error> {
    let missing = |name: &str| Ec2Error::MissingParameter(name.to_owned());
    let min = params
        .number("MinCount")?
        .ok_or_else(|| missing("MinCount"))?;
    let max = params
        .number("MaxCount")?
        .ok_or_else(|| missing("MaxCount"))?;
    if min == 0 || max < min {
        return Err(Ec2Error::InvalidParameterValue(format!(
            "Invalid counts: MinCount {min} must be at least 1 and MaxCount {max} not below it"
        )));
    }
    Ok((min, max))
}

fn launch_spec(params: &Params) -> Result<LaunchSpec, Ec2Error> {
    let user_data = match params.get("UserData") {
        None => Vec::new(),
        Some(encoded) => {
            // Clients may wrap the lines.
            let encoded: String = encoded.split_ascii_whitespace().collect();
            STANDARD
                .decode(encoded)
                .map_err(|_| Ec2Error::UserDataMalformed)?
        }
    };
    if user_data.len() > MOST_USER_DATA_BYTES {
        return Err(Ec2Error::UserDataTooLarge);
    }
    let mut security_groups = params.list("SecurityGroupId");
    security_groups.extend(params.list("SecurityGroup"));
    Ok(LaunchSpec {
        image_id: params.required("ImageId")?.to_owned(),
        instance_type: params.get("InstanceType").unwrap_or("m1.small").to_owned(),
        user_data,
        key_name: params.owned("KeyName"),
        subnet_id: params.owned("SubnetId"),
        security_groups,
        instance_profile: params
            .owned("IamInstanceProfile.Arn")
            .or_else(|| params.owned("IamInstanceProfile.Name")),
        availability_zone: params.owned("Placement.AvailabilityZone"),
        market: market(params)?,
        tags: params.instance_tag_specification()?,
        terminate_on_shutdown: match params.get("InstanceInitiatedShutdownBehavior") {
            None | Some("stop") => false,
            Some("terminate") => true,
            Some(other) => {
                return Err(Ec2Error::InvalidParameterValue(format!(
                    "Value ({other}) for parameter InstanceInitiatedShutdownBehavior is invalid."
                )));
            }
        },
    })
}

fn market(params: &Params) -> Result<Market, Ec2Error> {
    let invalid = |value: &str, name: &str| {
        Err(Ec2Error::InvalidParameterValue(format!(
            "Value ({value}) for parameter {name} is invalid."
        )))
    };
    match params.get("InstanceMarketOptions.MarketType") {
        None => return Ok(Market::OnDemand),
        Some("spot") => {}
        Some(other) => return invalid(other, "MarketType"),
    }
    let option = |name: &str| params.get(&format!("InstanceMarketOptions.SpotOptions.{name}"));
    let stays = match option("InstanceInterruptionBehavior") {
        None | Some("terminate") => false,
        Some("stop" | "hibernate") => true,
        Some(other) => return invalid(other, "InstanceInterruptionBehavior"),
    };
    match (option("SpotInstanceType").unwrap_or("one-time"), stays) {
        ("one-time", false) => Ok(Market::OneTimeSpot),
        ("persistent", true) => Ok(Market::PersistentSpot),
        (kind @ ("one-time" | "persistent"), _) => {
            Err(Ec2Error::InvalidParameterCombination(format!(
                "The request with type '{kind}' is not supported when instanceInterruptionBehavior is set to '{}'.",
                option("InstanceInterruptionBehavior").unwrap_or("terminate")
            )))
        }
        (other, _) => invalid(other, "SpotInstanceType"),
    }
}

/// A prefix and 17 random hexadecimal digits, the form of EC2's identifiers.
fn identifier(prefix: &str) -> String {
    let digits = Uuid::new_v4().simple().to_string();
    // The first digits of a random UUID are random; its version stands behind them.
    format!("{prefix}{}{}", &digits[..12], &digits[20..25])
}
