//! RunInstances.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::describe::instance::reservation;
use super::identifier::identifier;
use super::params::Params;
use super::state::{
    Disk, InterruptionAction, LaunchRequest, LaunchSpec, Market, MetadataOptions, check_tag_keys,
};
use super::{Ec2, Ec2Error, Ec2Result};
use crate::xml::Xml;

const MAX_USER_DATA_BYTES: usize = 16_384;
const MAX_TOKEN_LENGTH: usize = 64;
const VOLUME_TYPES: [&str; 7] = ["gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"];

impl Ec2 {
    pub(super) fn run_instances(self: &Arc<Self>, params: &Params, xml: &mut Xml) -> Ec2Result {
        let (min, max) = counts(params)?;
        let client_token = params.owned("ClientToken").unwrap_or_default();
        if client_token.len() > MAX_TOKEN_LENGTH || !client_token.is_ascii() {
            return Err(Ec2Error::InvalidParameterValue(format!(
                "Value for parameter ClientToken is invalid: it has at most {MAX_TOKEN_LENGTH} ASCII characters"
            )));
        }
        let spec = launch_spec(params)?;
        self.check_profile(&spec)?;
        let ids = self.launch(spec, client_token, min, max)?;
        let shared = self.lock();
        let instances: Vec<_> = ids
            .iter()
            .filter_map(|id| shared.instances.get(id))
            .collect();
        reservation(xml, &instances, &self.region);
        Ok(())
    }

    /// Checks that the instance profile exists. Without roles, every name is accepted.
    ///
    /// # Errors
    /// `InvalidParameterValue`.
    pub(super) fn check_profile(&self, spec: &LaunchSpec) -> Ec2Result {
        let Some(profile) = &spec.instance_profile else {
            return Ok(());
        };
        if !self.iam.has_roles() || self.iam.role_of_profile(profile).is_some() {
            return Ok(());
        }
        let (parameter, what) = match profile.starts_with("arn:") {
            true => ("iamInstanceProfile.arn", "ARN"),
            false => ("iamInstanceProfile.name", "name"),
        };
        Err(Ec2Error::InvalidParameterValue(format!(
            "Value ({profile}) for parameter {parameter} is invalid. Invalid IAM Instance Profile {what}"
        )))
    }

    /// Launches `min` to `max` instances, as many as the capacity allows, and returns their identifiers.
    pub(super) fn launch(
        self: &Arc<Self>,
        spec: LaunchSpec,
        client_token: String,
        min: usize,
        max: usize,
    ) -> Ec2Result<Vec<String>> {
        let mut shared = self.lock();
        shared.check_open()?;
        let is_repeated = shared.instances.has_launched(&client_token);
        if !is_repeated {
            shared.images.registered(&spec.image_id)?;
        }
        let limit = self
            .max_instances
            .saturating_sub(shared.instances.active_count());
        let capacity = shared.instances.capacity_for(&spec);
        if !is_repeated {
            if min > limit {
                return Err(Ec2Error::InstanceLimitExceeded(min, self.max_instances));
            }
            if min > capacity {
                return Err(Ec2Error::InsufficientCapacity {
                    zone: self.region.zone_of(&spec).to_owned(),
                    instance_type: spec.instance_type,
                });
            }
        }
        let request = LaunchRequest {
            spec,
            reservation_id: identifier("r-"),
            client_token,
            requested: max,
            instance_ids: (0..max.min(limit).min(capacity))
                .map(|_| identifier("i-"))
                .collect(),
        };
        let (ids, new) = shared.instances.launch(request, self.clock.now())?;
        if new {
            for id in &ids {
                self.boot(&mut shared, id, 1);
            }
        }
        Ok(ids)
    }
}

fn counts(params: &Params) -> Ec2Result<(usize, usize)> {
    let count = |name: &str| {
        let count = params.number(name)?;
        count.ok_or_else(|| Ec2Error::MissingParameter(name.to_owned()))
    };
    let (min, max) = (count("MinCount")?, count("MaxCount")?);
    if min == 0 || max < min {
        return Err(Ec2Error::InvalidParameterValue(format!(
            "Invalid counts: MinCount {min} must be at least 1 and MaxCount {max} not below it"
        )));
    }
    Ok((min, max))
}

fn launch_spec(params: &Params) -> Ec2Result<LaunchSpec> {
    let user_data = params.get("UserData").map(read_user_data).transpose()?;
    let network = network(params)?;
    let tags = params.launch_tags()?.remove("instance").unwrap_or_default();
    let metadata = read_metadata_options(params, "MetadataOptions.", MetadataOptions::default())?;
    if metadata.tags_enabled {
        check_tag_keys(&tags)?;
    }
    Ok(LaunchSpec {
        image_id: params.required("ImageId")?.to_owned(),
        instance_type: params.get("InstanceType").unwrap_or("m1.small").to_owned(),
        user_data: user_data.unwrap_or_default(),
        key_name: params.owned("KeyName"),
        subnet_id: params.owned(&format!("{network}SubnetId")),
        security_groups: security_groups(params, network),
        disks: disks(params)?,
        instance_profile: params
            .owned("IamInstanceProfile.Arn")
            .or_else(|| params.owned("IamInstanceProfile.Name")),
        availability_zone: params.owned("Placement.AvailabilityZone"),
        market: market(params)?,
        interruption: interruption(params)?,
        tags,
        terminate_on_shutdown: shutdown_behavior(params.get("InstanceInitiatedShutdownBehavior"))?,
        disable_api_termination: params.boolean("DisableApiTermination")?,
        disable_api_stop: params.boolean("DisableApiStop")?,
        monitoring: params.boolean("Monitoring.Enabled")?,
        metadata,
    })
}

/// Returns where a launch names its subnet and security groups: at the first network interface, or by itself.
///
/// # Errors
/// `InvalidParameterCombination` when it does both; `InvalidParameterValue`.
fn network(params: &Params) -> Ec2Result<&'static str> {
    let interface = "NetworkInterface.1.";
    if !params.has("NetworkInterface") {
        return Ok("");
    }
    let device = params.number("NetworkInterface.1.DeviceIndex")?;
    if device != Some(0) || params.has("NetworkInterface.2") {
        return Err(Ec2Error::InvalidParameterValue(
            "localcloud gives an instance one network interface, with DeviceIndex 0".to_owned(),
        ));
    }
    let at_instance = [
        ("SubnetId", "subnet ID"),
        ("SecurityGroupId", "security groups"),
        ("SecurityGroup", "security groups"),
    ];
    if let Some((_, what)) = at_instance.iter().find(|(name, _)| params.has(name)) {
        return Err(Ec2Error::InvalidParameterCombination(format!(
            "Network interfaces and an instance-level {what} may not be specified on the same request"
        )));
    }
    // Every instance has the address 127.0.0.1.
    params.boolean("NetworkInterface.1.AssociatePublicIpAddress")?;
    params.boolean("NetworkInterface.1.DeleteOnTermination")?;
    Ok(interface)
}

pub(super) fn security_groups(params: &Params, network: &str) -> Vec<String> {
    let mut groups = params.list(&format!("{network}SecurityGroupId"));
    groups.extend(params.list(&format!("{network}SecurityGroup")));
    groups
}

/// Reads the disks that a launch sets. They are only described.
///
/// # Errors
/// `MissingParameter`, `InvalidParameterValue`.
fn disks(params: &Params) -> Ec2Result<Vec<Disk>> {
    let mut disks = Vec::new();
    for index in 1.. {
        let prefix = format!("BlockDeviceMapping.{index}");
        if !params.has(&prefix) {
            break;
        }
        let ebs = format!("{prefix}.Ebs");
        if params.number(&format!("{ebs}.VolumeSize"))? == Some(0) {
            return Err(Ec2Error::invalid("0", "volumeSize"));
        }
        match params.get(&format!("{ebs}.VolumeType")) {
            Some(other) if !VOLUME_TYPES.contains(&other) => {
                return Err(Ec2Error::invalid(other, "VolumeType"));
            }
            _ => {}
        }
        params.boolean(&format!("{ebs}.Encrypted"))?;
        let keep = format!("{ebs}.DeleteOnTermination");
        disks.push(Disk {
            device: params.required(&format!("{prefix}.DeviceName"))?.to_owned(),
            delete_on_termination: !params.has(&keep) || params.boolean(&keep)?,
        });
    }
    Ok(disks)
}

/// Decodes user data.
///
/// # Errors
/// `InvalidUserData.Malformed`; `InvalidParameterValue` when it is too long.
pub(super) fn read_user_data(encoded: &str) -> Ec2Result<Vec<u8>> {
    // Clients may break the lines.
    let encoded: String = encoded.split_ascii_whitespace().collect();
    let user_data = STANDARD
        .decode(encoded)
        .map_err(|_| Ec2Error::UserDataMalformed)?;
    if user_data.len() > MAX_USER_DATA_BYTES {
        return Err(Ec2Error::UserDataTooLarge);
    }
    Ok(user_data)
}

/// Reads whether an instance that shuts itself down is terminated.
///
/// # Errors
/// `InvalidParameterValue`.
pub(super) fn shutdown_behavior(behavior: Option<&str>) -> Ec2Result<bool> {
    match behavior {
        None | Some("stop") => Ok(false),
        Some("terminate") => Ok(true),
        Some(other) => Err(Ec2Error::invalid(
            other,
            "InstanceInitiatedShutdownBehavior",
        )),
    }
}

/// Reads options of the metadata service. The call changes those that it names.
///
/// # Errors
/// `InvalidParameterValue`.
pub(super) fn read_metadata_options(
    params: &Params,
    prefix: &str,
    mut options: MetadataOptions,
) -> Ec2Result<MetadataOptions> {
    let switch = |name: &str, current: bool| match params.get(&format!("{prefix}{name}")) {
        None => Ok(current),
        Some("enabled") => Ok(true),
        Some("disabled") => Ok(false),
        Some(other) => Err(Ec2Error::invalid(other, name)),
    };
    options.tokens_required = match params.get(&format!("{prefix}HttpTokens")) {
        None => options.tokens_required,
        Some("required") => true,
        Some("optional") => false,
        Some(other) => return Err(Ec2Error::invalid(other, "HttpTokens")),
    };
    options.were_set |= prefix.is_empty() || params.has(prefix.trim_end_matches('.'));
    options.endpoint_enabled = switch("HttpEndpoint", options.endpoint_enabled)?;
    options.ipv6_enabled = switch("HttpProtocolIpv6", options.ipv6_enabled)?;
    options.tags_enabled = switch("InstanceMetadataTags", options.tags_enabled)?;
    if let Some(limit) = params.number(&format!("{prefix}HttpPutResponseHopLimit"))? {
        options.hop_limit = match limit {
            1..=64 => limit as u8,
            other => {
                return Err(Ec2Error::invalid(
                    &other.to_string(),
                    "HttpPutResponseHopLimit",
                ));
            }
        };
    }
    Ok(options)
}

fn interruption(params: &Params) -> Ec2Result<InterruptionAction> {
    match params.get("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior") {
        None | Some("terminate") => Ok(InterruptionAction::Terminate),
        Some("stop") => Ok(InterruptionAction::Stop),
        Some("hibernate") => Ok(InterruptionAction::Hibernate),
        Some(other) => Err(Ec2Error::invalid(other, "InstanceInterruptionBehavior")),
    }
}

fn market(params: &Params) -> Ec2Result<Market> {
    match params.get("InstanceMarketOptions.MarketType") {
        None => return Ok(Market::OnDemand),
        Some("spot") => {}
        Some(other) => return Err(Ec2Error::invalid(other, "MarketType")),
    }
    let option = |name: &str| params.get(&format!("InstanceMarketOptions.SpotOptions.{name}"));
    let persists = interruption(params)? != InterruptionAction::Terminate;
    match (option("SpotInstanceType").unwrap_or("one-time"), persists) {
        ("one-time", false) => Ok(Market::OneTimeSpot),
        ("persistent", true) => Ok(Market::PersistentSpot),
        (kind @ ("one-time" | "persistent"), _) => {
            Err(Ec2Error::InvalidParameterCombination(format!(
                "The request with type '{kind}' is not supported when instanceInterruptionBehavior is set to '{}'.",
                option("InstanceInterruptionBehavior").unwrap_or("terminate")
            )))
        }
        (other, _) => Err(Ec2Error::invalid(other, "SpotInstanceType")),
    }
}
