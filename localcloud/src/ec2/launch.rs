//! RunInstances.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::describe::instance::reservation;
use super::metadata::check_tag_keys;
use super::params::Params;
use super::state::{InterruptionAction, LaunchOrder, LaunchSpec, Market, MetadataOptions};
use super::{Ec2, Ec2Error};
use crate::xml::Xml;

const MOST_USER_DATA_BYTES: usize = 16_384;
const MOST_TOKEN_LETTERS: usize = 64;

impl Ec2 {
    pub(super) fn run_instances(
        self: &Arc<Self>,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        let (min, max) = counts(params)?;
        let client_token = params.owned("ClientToken").unwrap_or_default();
        if client_token.len() > MOST_TOKEN_LETTERS || !client_token.is_ascii() {
            return Err(Ec2Error::InvalidParameterValue(format!(
                "Value for parameter ClientToken is invalid: it has at most {MOST_TOKEN_LETTERS} ASCII characters"
            )));
        }
        let spec = launch_spec(params)?;
        let ids = self.launch(spec, client_token, min, max)?;
        let shared = self.lock();
        let instances: Vec<_> = ids
            .iter()
            .filter_map(|id| shared.instances.get(id))
            .collect();
        Ok(Xml::response("RunInstances", request_id, |xml| {
            reservation(xml, &instances, &self.place);
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
        let mut shared = self.lock();
        shared.check_open()?;
        if !shared.instances.has_launched(&client_token) {
            shared.images.registered(&spec.image_id)?;
        }
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
                    zone: self.place.zone_of(&spec).to_owned(),
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
    let user_data = params.get("UserData").map(read_user_data).transpose()?;
    let mut security_groups = params.list("SecurityGroupId");
    security_groups.extend(params.list("SecurityGroup"));
    let tags = params.tag_specification("instance")?;
    let metadata = read_metadata_options(params, "MetadataOptions.", MetadataOptions::default())?;
    if metadata.tags_enabled {
        check_tag_keys(&tags)?;
    }
    Ok(LaunchSpec {
        image_id: params.required("ImageId")?.to_owned(),
        instance_type: params.get("InstanceType").unwrap_or("m1.small").to_owned(),
        user_data: user_data.unwrap_or_default(),
        key_name: params.owned("KeyName"),
        subnet_id: params.owned("SubnetId"),
        security_groups,
        instance_profile: params
            .owned("IamInstanceProfile.Arn")
            .or_else(|| params.owned("IamInstanceProfile.Name")),
        availability_zone: params.owned("Placement.AvailabilityZone"),
        market: market(params)?,
        interruption: interruption(params)?,
        tags,
        terminate_on_shutdown: shutdown_behavior(params.get("InstanceInitiatedShutdownBehavior"))?,
        disable_api_termination: params.boolean("DisableApiTermination")?.unwrap_or(false),
        disable_api_stop: params.boolean("DisableApiStop")?.unwrap_or(false),
        monitoring: params.boolean("Monitoring.Enabled")?.unwrap_or(false),
        metadata,
    })
}

/// Decodes user data.
///
/// # Errors
/// `InvalidUserData.Malformed`; `InvalidParameterValue` when it is too long.
pub(super) fn read_user_data(encoded: &str) -> Result<Vec<u8>, Ec2Error> {
    // Clients may wrap the lines.
    let encoded: String = encoded.split_ascii_whitespace().collect();
    let user_data = STANDARD
        .decode(encoded)
        .map_err(|_| Ec2Error::UserDataMalformed)?;
    if user_data.len() > MOST_USER_DATA_BYTES {
        return Err(Ec2Error::UserDataTooLarge);
    }
    Ok(user_data)
}

/// Whether an instance that shuts itself down is terminated.
///
/// # Errors
/// `InvalidParameterValue`.
pub(super) fn shutdown_behavior(behavior: Option<&str>) -> Result<bool, Ec2Error> {
    match behavior {
        None | Some("stop") => Ok(false),
        Some("terminate") => Ok(true),
        Some(other) => invalid(other, "InstanceInitiatedShutdownBehavior"),
    }
}

/// The options of the metadata service: those that are given, and the present ones for the rest.
///
/// # Errors
/// `InvalidParameterValue`.
pub(super) fn read_metadata_options(
    params: &Params,
    prefix: &str,
    mut options: MetadataOptions,
) -> Result<MetadataOptions, Ec2Error> {
    let switch = |name: &str, present: bool| match params.get(&format!("{prefix}{name}")) {
        None => Ok(present),
        Some("enabled") => Ok(true),
        Some("disabled") => Ok(false),
        Some(other) => invalid(other, name),
    };
    options.tokens_required = match params.get(&format!("{prefix}HttpTokens")) {
        None => options.tokens_required,
        Some("required") => true,
        Some("optional") => false,
        Some(other) => return invalid(other, "HttpTokens"),
    };
    options.were_set |= prefix.is_empty() || params.has(prefix.trim_end_matches('.'));
    options.endpoint_enabled = switch("HttpEndpoint", options.endpoint_enabled)?;
    options.ipv6_enabled = switch("HttpProtocolIpv6", options.ipv6_enabled)?;
    options.tags_enabled = switch("InstanceMetadataTags", options.tags_enabled)?;
    if let Some(limit) = params.number(&format!("{prefix}HttpPutResponseHopLimit"))? {
        options.hop_limit = match limit {
            1..=64 => limit as u8,
            other => return invalid(&other.to_string(), "HttpPutResponseHopLimit"),
        };
    }
    Ok(options)
}

fn invalid<T>(value: &str, name: &str) -> Result<T, Ec2Error> {
    Err(Ec2Error::InvalidParameterValue(format!(
        "Value ({value}) for parameter {name} is invalid."
    )))
}

fn interruption(params: &Params) -> Result<InterruptionAction, Ec2Error> {
    match params.get("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior") {
        None | Some("terminate") => Ok(InterruptionAction::Terminate),
        Some("stop") => Ok(InterruptionAction::Stop),
        Some("hibernate") => Ok(InterruptionAction::Hibernate),
        Some(other) => invalid(other, "InstanceInterruptionBehavior"),
    }
}

fn market(params: &Params) -> Result<Market, Ec2Error> {
    match params.get("InstanceMarketOptions.MarketType") {
        None => return Ok(Market::OnDemand),
        Some("spot") => {}
        Some(other) => return invalid(other, "MarketType"),
    }
    let option = |name: &str| params.get(&format!("InstanceMarketOptions.SpotOptions.{name}"));
    let stays = interruption(params)? != InterruptionAction::Terminate;
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
pub(super) fn identifier(prefix: &str) -> String {
    let digits = Uuid::new_v4().simple().to_string();
    // The first digits of a random UUID are random; its version stands behind them.
    format!("{prefix}{}{}", &digits[..12], &digits[20..25])
}
