//! What instances are launched from.

use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, IamInstanceProfileSpecification,
    InstanceInterruptionBehavior, InstanceMarketOptionsRequest, InstanceMetadataOptionsRequest,
    InstanceNetworkInterfaceSpecification, MarketType, ResourceType, RunInstancesMonitoringEnabled,
    SpotInstanceType, SpotMarketOptions, Tag, TagSpecification,
};
use sha2::{Digest, Sha256};

use super::{Fleet, FleetError, LAUNCH_TAG, PREFIX_TAG, tag};

/// What an instance is launched from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaunchSpec {
    pub image_id: String,
    pub instance_type: String,
    /// `None`: the account's default.
    pub subnet_id: Option<String>,
    pub security_group_ids: Vec<String>,
    pub instance_profile: Option<String>,
    pub key_name: Option<String>,
    pub user_data: UserData,
    /// Tags besides `Name`, for the instance and its disk.
    pub tags: Vec<(String, String)>,
    pub market: Market,
    /// `None`: what the subnet says.
    pub public_ip: Option<bool>,
    /// `None`: the image's.
    pub disk: Option<Disk>,
    pub hop_limit: HopLimit,
    /// Metrics every minute instead of every five. AWS bills them.
    pub detailed_monitoring: bool,
}

/// An instance's user data as plain text, before encoding. It may hold secrets, which `Debug` hides.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct UserData(pub String);

/// How instances are bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Market {
    /// At the on-demand price, without interruptions.
    #[default]
    OnDemand,
    /// At most at the on-demand price. EC2 may interrupt the instance with a notice of two minutes.
    Spot,
}

/// An instance's disk. What is absent is the image's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disk {
    /// GiB, at least the image's.
    pub size: Option<i32>,
    /// A volume type, such as `gp3`.
    pub kind: Option<String>,
    pub encrypted: Option<bool>,
}

/// How many hops the metadata service's replies travel: 1 reaches the programs on the instance, 2 also those in containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HopLimit(pub u8);

impl Default for HopLimit {
    fn default() -> Self {
        Self(1)
    }
}

impl std::fmt::Debug for UserData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserData({} bytes)", self.0.len())
    }
}

impl LaunchSpec {
    /// Returns a short hash of what an instance keeps from its launch on. Instance type, subnet, tags and market leave it as
    /// it is: instances that differ in them serve alike.
    ///
    /// It is published as a tag. It covers the user data with its secrets, which therefore have to be random.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut groups = self.security_group_ids.clone();
        groups.sort();
        let kept = format!(
            "{:?}",
            (
                (&self.image_id, &self.user_data.0, &groups),
                (&self.instance_profile, &self.key_name, self.public_ip),
                (&self.disk, self.hop_limit, self.detailed_monitoring),
            )
        );
        hex::encode(&Sha256::digest(kept)[..4])
    }
}

impl Fleet {
    /// Returns a request to launch one instance.
    pub(crate) async fn run_instances(
        &self,
        spec: &LaunchSpec,
        name: &str,
    ) -> Result<RunInstancesFluentBuilder, FleetError> {
        let disk = match &spec.disk {
            Some(disk) => Some(disk.mapping(self.root_device(&spec.image_id).await?)),
            None => None,
        };
        let call = self
            .without_retries
            .run_instances()
            .image_id(&spec.image_id)
            .instance_type(spec.instance_type.as_str().into())
            .min_count(1)
            .max_count(1)
            .user_data(aws_smithy_types::base64::encode(&spec.user_data.0))
            .set_key_name(spec.key_name.clone())
            .set_block_device_mappings(disk.map(|disk| vec![disk]))
            .set_instance_market_options(market_options(spec.market))
            .set_iam_instance_profile(spec.instance_profile.as_ref().map(|name| {
                IamInstanceProfileSpecification::builder()
                    .name(name)
                    .build()
            }))
            .metadata_options(
                InstanceMetadataOptionsRequest::builder()
                    .http_tokens(HttpTokensState::Required)
                    .http_put_response_hop_limit(spec.hop_limit.0.into())
                    .build(),
            )
            .monitoring(
                RunInstancesMonitoringEnabled::builder()
                    .enabled(spec.detailed_monitoring)
                    .build(),
            )
            .set_tag_specifications(Some(self.tag_specifications(spec, name)));
        let groups = &spec.security_group_ids;
        let groups = (!groups.is_empty()).then(|| groups.clone());
        Ok(match spec.public_ip {
            None => call
                .set_subnet_id(spec.subnet_id.clone())
                .set_security_group_ids(groups),
            // EC2 takes the address only with the network interface, and then the subnet and the groups only there.
            Some(public_ip) => call.network_interfaces(
                InstanceNetworkInterfaceSpecification::builder()
                    .device_index(0)
                    .associate_public_ip_address(public_ip)
                    .delete_on_termination(true)
                    .set_subnet_id(spec.subnet_id.clone())
                    .set_groups(groups)
                    .build(),
            ),
        })
    }

    /// Returns the tags of an instance, its disk, and the network interface that is made with it.
    fn tag_specifications(&self, spec: &LaunchSpec, name: &str) -> Vec<TagSpecification> {
        let mut tags: Vec<Tag> = spec.tags.iter().map(|(key, it)| tag(key, it)).collect();
        tags.extend(self.prefix.iter().map(|it| tag(PREFIX_TAG, it)));
        let mut of_instance = tags.clone();
        of_instance.push(tag("Name", name));
        of_instance.push(tag(LAUNCH_TAG, &spec.fingerprint()));
        let mut all = vec![(ResourceType::Instance, of_instance)];
        if !tags.is_empty() {
            all.push((ResourceType::Volume, tags.clone()));
            if spec.public_ip.is_some() {
                all.push((ResourceType::NetworkInterface, tags));
            }
        }
        let specification = |(resource, tags)| {
            TagSpecification::builder()
                .resource_type(resource)
                .set_tags(Some(tags))
                .build()
        };
        all.into_iter().map(specification).collect()
    }
}

impl Disk {
    fn mapping(&self, device: String) -> BlockDeviceMapping {
        let disk = EbsBlockDevice::builder()
            .delete_on_termination(true)
            .set_volume_size(self.size)
            .set_volume_type(self.kind.as_deref().map(Into::into))
            .set_encrypted(self.encrypted);
        BlockDeviceMapping::builder()
            .device_name(device)
            .ebs(disk.build())
            .build()
    }
}

/// Returns a one-time request: the caller decides whether to replace an interrupted instance.
fn market_options(market: Market) -> Option<InstanceMarketOptionsRequest> {
    (market == Market::Spot).then(|| {
        InstanceMarketOptionsRequest::builder()
            .market_type(MarketType::Spot)
            .spot_options(
                SpotMarketOptions::builder()
                    .spot_instance_type(SpotInstanceType::OneTime)
                    .instance_interruption_behavior(InstanceInterruptionBehavior::Terminate)
                    .build(),
            )
            .build()
    })
}
