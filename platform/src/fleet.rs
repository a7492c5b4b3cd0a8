//! EC2 instances.

use std::time::{Duration, SystemTime};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_ec2::types::{
    Filter, InstanceInterruptionBehavior, InstanceLifecycleType, InstanceMarketOptionsRequest,
    InstanceStateName, MarketType, ResourceType, SpotInstanceType, SpotMarketOptions, Tag,
    TagSpecification,
};

mod dates;
#[cfg(test)]
mod tests;

use dates::Dates;

/// Longest time of one call to EC2, all attempts included. A caller that loses its lease cannot cancel a call under way.
pub const LONGEST_CALL: Duration = Duration::from_secs(5);
/// The most instances of one page. Without it EC2 returns all instances in one slow reply.
const PAGE: i32 = 1000;

/// EC2 instances, found by their tag `Name`. Every call fails when EC2 cannot be reached or refuses. Calls that start, launch,
/// stop or terminate are not retried.
#[derive(Debug, Clone)]
pub struct Fleet {
    client: Client,
    /// The dates of `client`'s replies.
    dates: Dates,
    /// For calls that start, launch, stop or terminate. A retry costs a token of EC2's small buckets. It does not help
    /// against a lack of capacity, which EC2 reports with status 500. Its refusal would hide that the first attempt, whose
    /// reply was lost, took effect.
    without_retries: Client,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetInstance {
    pub id: String,
    /// The tag `Name`.
    pub name: String,
    pub state: PowerState,
    /// Time of the last start, by EC2's clock.
    pub launched_at: Option<SystemTime>,
    /// Time from `launched_at` to the reply, also by EC2's clock, to the second.
    pub age: Option<Duration>,
    pub instance_type: String,
    /// Availability zone. Empty when EC2 names none.
    pub zone: String,
    /// Whether it is a Spot instance, which can be terminated but not stopped.
    pub spot: bool,
}

/// EC2's instance states. Terminated instances are not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PowerState {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
}

/// What an instance is launched from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaunchSpec {
    pub image_id: String,
    pub instance_type: String,
    pub subnet_id: Option<String>,
    pub security_group_ids: Vec<String>,
    pub instance_profile: Option<String>,
    pub key_name: Option<String>,
    pub user_data: UserData,
    /// Tags besides `Name`.
    pub tags: Vec<(String, String)>,
    pub market: Market,
}

/// An instance's user data as plain text, before encoding. It may hold secrets, which `Debug` hides.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct UserData(pub String);

/// How instances are bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Market {
    #[default]
    OnDemand,
    /// At most at the on-demand price. EC2 may interrupt the instance with a notice of two minutes.
    Spot,
}

impl std::fmt::Debug for UserData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserData({} bytes)", self.0.len())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// AWS's error codes are listed at <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.
    #[error("EC2 refused with {code}: {message}")]
    Refused { code: String, message: String },
    #[error("EC2 could not be reached: {0}")]
    Unavailable(String),
}

impl Fleet {
    pub(crate) fn new(client: &Client) -> Self {
        let config = client.config().to_builder().timeout_config(timeouts());
        let without_retries = config.clone().retry_config(RetryConfig::disabled());
        let dates = Dates::default();
        Self {
            client: Client::from_conf(config.interceptor(dates.clone()).build()),
            dates,
            without_retries: Client::from_conf(without_retries.build()),
        }
    }

    /// Lists the instances whose tag `Name` matches `pattern` (`*` and `?` are wildcards), sorted by name, without
    /// terminated ones. Each page of the reply may take [`LONGEST_CALL`].
    pub async fn find(&self, pattern: &str) -> Result<Vec<FleetInstance>, FleetError> {
        let states = ["pending", "running", "stopping", "stopped", "shutting-down"];
        let mut found = Vec::new();
        let mut pages = self
            .client
            .describe_instances()
            .max_results(PAGE)
            .filters(Filter::builder().name("tag:Name").values(pattern).build())
            .filters(
                Filter::builder()
                    .name("instance-state-name")
                    .set_values(Some(states.map(str::to_owned).to_vec()))
                    .build(),
            )
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failure(&error))?;
            let instances = page.reservations().iter().flat_map(|r| r.instances());
            let answered_at = self.dates.newest();
            found.extend(instances.filter_map(|it| instance(it, answered_at)));
        }
        found.sort_by(|a, b| {
            natural(&a.name)
                .cmp(&natural(&b.name))
                .then_with(|| a.id.cmp(&b.id))
        });
        Ok(found)
    }

    /// Returns those of `ids` that are terminated or shutting down. The others exist, or EC2 does not list them yet.
    pub async fn terminated(&self, ids: &[String]) -> Result<Vec<String>, FleetError> {
        // With the parameter for ids the call would fail for an unknown id.
        let filter = |name, values: &[String]| {
            let values = Some(values.to_vec());
            Filter::builder().name(name).set_values(values).build()
        };
        let states = ["shutting-down", "terminated"].map(str::to_owned);
        let answer = self
            .client
            .describe_instances()
            .filters(filter("instance-id", ids))
            .filters(filter("instance-state-name", &states))
            .send()
            .await
            .map_err(|error| failure(&error))?;
        let instances = answer.reservations().iter().flat_map(|it| it.instances());
        Ok(instances.filter_map(|it| it.instance_id.clone()).collect())
    }

    /// Starts stopped instances, all in one call. After a refusal none was started.
    pub async fn start(&self, ids: &[String]) -> Result<(), FleetError> {
        let call = self.without_retries.start_instances();
        done(call.set_instance_ids(Some(ids.to_vec())).send().await)
    }

    /// Stops running instances, all in one call.
    pub async fn stop(&self, ids: &[String]) -> Result<(), FleetError> {
        let call = self.without_retries.stop_instances();
        done(call.set_instance_ids(Some(ids.to_vec())).send().await)
    }

    /// Terminates instances, all in one call. Their disks are deleted.
    pub async fn terminate(&self, ids: &[String]) -> Result<(), FleetError> {
        let call = self.without_retries.terminate_instances();
        done(call.set_instance_ids(Some(ids.to_vec())).send().await)
    }

    /// Launches up to `count` instances in one call, tagged `Name` = `name`, and returns their ids.
    /// Fails when EC2 has no capacity for a single instance.
    pub async fn launch(
        &self,
        spec: &LaunchSpec,
        count: u32,
        name: &str,
        client_token: &str,
    ) -> Result<Vec<String>, FleetError> {
        let tags = spec.tags.iter().map(|(key, value)| tag(key, value));
        let specification = TagSpecification::builder()
            .resource_type(ResourceType::Instance)
            .set_tags(Some(tags.chain([tag("Name", name)]).collect()))
            .build();
        let launched = self
            .without_retries
            .run_instances()
            .image_id(&spec.image_id)
            .instance_type(spec.instance_type.as_str().into())
            .min_count(1)
            .max_count(i32::try_from(count).unwrap_or(i32::MAX))
            .client_token(client_token)
            .user_data(aws_smithy_types::base64::encode(&spec.user_data.0))
            .tag_specifications(specification)
            .set_subnet_id(spec.subnet_id.clone())
            .set_key_name(spec.key_name.clone())
            .set_security_group_ids(some_unless_empty(&spec.security_group_ids))
            .set_instance_market_options(market_options(spec.market))
            .set_iam_instance_profile(spec.instance_profile.as_ref().map(|name| {
                aws_sdk_ec2::types::IamInstanceProfileSpecification::builder()
                    .name(name)
                    .build()
            }))
            .send()
            .await
            .map_err(|error| failure(&error))?;
        Ok(launched
            .instances()
            .iter()
            .filter_map(|i| i.instance_id.clone())
            .collect())
    }

    /// Sets the tag `Name` of one instance.
    pub async fn set_name(&self, id: &str, name: &str) -> Result<(), FleetError> {
        let call = self.client.create_tags().resources(id);
        done(call.tags(tag("Name", name)).send().await)
    }
}

impl FleetError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Refused { code, .. } => {
                matches!(
                    code.as_str(),
                    "InsufficientInstanceCapacity"
                        | "InsufficientFreeAddressesInSubnet"
                        | "InsufficientHostCapacity"
                        | "InvalidInstanceID.NotFound"
                        | "IncorrectInstanceState"
                ) || self.is_throttled()
                    || self.may_have_happened()
            }
        }
    }

    /// Whether the call may have taken effect or may still: EC2 did not reply, or replied with an internal error.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Refused { code, .. } => matches!(
                code.as_str(),
                "InternalError" | "InternalFailure" | "ServiceUnavailable" | "Unavailable"
            ),
        }
    }

    /// Whether EC2 refused because there were too many calls.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        matches!(
            self.code(),
            Some(
                "RequestLimitExceeded"
                    | "Throttling"
                    | "ThrottlingException"
                    | "EC2ThrottledException"
                    | "RequestThrottled"
            )
        )
    }

    /// Returns EC2's error code.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Unavailable(_) => None,
        }
    }
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .read_timeout(LONGEST_CALL)
        .operation_attempt_timeout(LONGEST_CALL)
        .operation_timeout(LONGEST_CALL)
        .build()
}

/// A one-time request: the caller decides whether to replace an interrupted instance.
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

/// `answered_at` is the reply's time by EC2's clock.
fn instance(
    described: &aws_sdk_ec2::types::Instance,
    answered_at: SystemTime,
) -> Option<FleetInstance> {
    let launched_at = described.launch_time().and_then(system_time);
    let state = match described.state()?.name()? {
        InstanceStateName::Pending => PowerState::Pending,
        InstanceStateName::Running => PowerState::Running,
        InstanceStateName::Stopping => PowerState::Stopping,
        InstanceStateName::Stopped => PowerState::Stopped,
        InstanceStateName::ShuttingDown => PowerState::ShuttingDown,
        _ => return None,
    };
    let name = described
        .tags()
        .iter()
        .find(|tag| tag.key() == Some("Name"));
    Some(FleetInstance {
        id: described.instance_id()?.to_owned(),
        name: name
            .and_then(|tag| tag.value())
            .unwrap_or_default()
            .to_owned(),
        state,
        launched_at,
        age: launched_at.map(|at| answered_at.duration_since(at).unwrap_or_default()),
        instance_type: described
            .instance_type()
            .map(|it| it.as_str().to_owned())
            .unwrap_or_default(),
        zone: described
            .placement()
            .and_then(|placement| placement.availability_zone())
            .unwrap_or_default()
            .to_owned(),
        spot: described.instance_lifecycle() == Some(&InstanceLifecycleType::Spot),
    })
}

fn system_time(time: &aws_smithy_types::DateTime) -> Option<SystemTime> {
    let milliseconds = u64::try_from(time.to_millis().ok()?).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds))
}

/// Sorts `app-tier-instance-2` before `app-tier-instance-10`.
fn natural(name: &str) -> (&str, u64) {
    let digits = name.len() - name.bytes().rev().take_while(u8::is_ascii_digit).count();
    (&name[..digits], name[digits..].parse().unwrap_or(0))
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

fn some_unless_empty(values: &[String]) -> Option<Vec<String>> {
    (!values.is_empty()).then(|| values.to_vec())
}

fn done<T, E>(result: Result<T, E>) -> Result<(), FleetError>
where
    E: std::error::Error + ProvideErrorMetadata,
{
    result.map(drop).map_err(|error| failure(&error))
}

fn failure<E>(error: &E) -> FleetError
where
    E: std::error::Error + ProvideErrorMetadata,
{
    match error.code() {
        Some(code) => FleetError::Refused {
            code: code.to_owned(),
            message: error.message().unwrap_or_default().to_owned(),
        },
        None => FleetError::Unavailable(DisplayErrorContext(error).to_string()),
    }
}
