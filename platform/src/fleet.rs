//! EC2 instances.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::retry::RetryConfig;
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_ec2::types::{Filter, InstanceLifecycleType, InstanceStateName, Tag};
use futures::future::BoxFuture;

mod dates;
mod launch;
#[cfg(test)]
mod tests;

use dates::Dates;
pub use launch::{Disk, HopLimit, LaunchSpec, Market, UserData};

/// Longest time of one call to EC2, all attempts included. A caller that loses its lease cannot cancel a call under way.
pub const LONGEST_CALL: Duration = Duration::from_secs(5);
/// The most instances of one page. Without it EC2 returns all instances in one slow reply.
const PAGE: i32 = 1000;
/// The most values of all filters of a call.
const MOST_FILTER_VALUES: usize = 200;

/// The tag with the prefix that an instance belongs to, on all that Muster makes.
pub const PREFIX_TAG: &str = "muster-prefix";
/// The tag with the [fingerprint](LaunchSpec::fingerprint) of an instance's launch.
pub const LAUNCH_TAG: &str = "muster-launch";

/// EC2 instances, found by their tag `Name`. Every call fails when EC2 cannot be reached or refuses. Calls that start, launch,
/// stop or terminate are not retried.
///
/// The methods return boxed futures: see "Builds" in docs/development.md.
#[derive(Debug, Clone)]
pub struct Fleet {
    pub(crate) client: Client,
    /// The dates of `client`'s replies.
    dates: Dates,
    /// For calls that start, launch, stop or terminate. A retry costs a token of EC2's small buckets. It does not help
    /// against a lack of capacity, which EC2 reports with status 500. Its refusal would hide that the first attempt, whose
    /// reply was lost, took effect.
    without_retries: Client,
    /// `None`: instances of any prefix.
    prefix: Option<String>,
    /// The names of root devices, by image.
    root_devices: Arc<Mutex<HashMap<String, String>>>,
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
    /// The [fingerprint](LaunchSpec::fingerprint) of its launch. Absent when something else launched it.
    pub launch: Option<String>,
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
            prefix: None,
            root_devices: Arc::default(),
        }
    }

    /// Limits the fleet to the instances of a prefix: no others are found, and launched ones get its tag.
    #[must_use]
    pub fn of_prefix(self, prefix: &str) -> Self {
        Self {
            prefix: Some(prefix.to_owned()),
            ..self
        }
    }

    /// Lists the instances whose tag `Name` matches `pattern` (`*` and `?` are wildcards), sorted by name, without
    /// terminated ones. Each page of the reply may take [`LONGEST_CALL`].
    #[inline(never)]
    pub fn find<'a>(
        &'a self,
        pattern: &'a str,
    ) -> BoxFuture<'a, Result<Vec<FleetInstance>, FleetError>> {
        Box::pin(self.list(pattern))
    }

    async fn list(&self, pattern: &str) -> Result<Vec<FleetInstance>, FleetError> {
        let states = ["pending", "running", "stopping", "stopped", "shutting-down"];
        let owner = self.prefix.as_ref();
        let owner =
            owner.map(|prefix| filter(&format!("tag:{PREFIX_TAG}"), std::slice::from_ref(prefix)));
        let mut found = Vec::new();
        let mut pages = self
            .client
            .describe_instances()
            .max_results(PAGE)
            .filters(filter("tag:Name", &[pattern.to_owned()]))
            .filters(filter("instance-state-name", &states.map(str::to_owned)));
        if let Some(owner) = owner {
            pages = pages.filters(owner);
        }
        let mut pages = pages.into_paginator().send();
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
    #[inline(never)]
    pub fn terminated<'a>(
        &'a self,
        ids: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<String>, FleetError>> {
        Box::pin(async move {
            let states = ["shutting-down", "terminated"].map(str::to_owned);
            let mut found = Vec::new();
            for ids in ids.chunks(MOST_FILTER_VALUES - states.len()) {
                // With the parameter for ids the call would fail for an unknown id.
                let call = self.client.describe_instances();
                let call = call.filters(filter("instance-id", ids));
                let call = call.filters(filter("instance-state-name", &states));
                let answer = call.send().await.map_err(|error| failure(&error))?;
                let instances = answer.reservations().iter().flat_map(|it| it.instances());
                found.extend(instances.filter_map(|it| it.instance_id.clone()));
            }
            Ok(found)
        })
    }

    /// Starts stopped instances, all in one call. After a refusal none was started.
    #[inline(never)]
    pub fn start(&self, ids: &[String]) -> BoxFuture<'static, Result<(), FleetError>> {
        let call = self.without_retries.start_instances();
        let call = call.set_instance_ids(Some(ids.to_vec()));
        Box::pin(async move { done(call.send().await) })
    }

    /// Stops running instances, all in one call.
    #[inline(never)]
    pub fn stop(&self, ids: &[String]) -> BoxFuture<'static, Result<(), FleetError>> {
        let call = self.without_retries.stop_instances();
        let call = call.set_instance_ids(Some(ids.to_vec()));
        Box::pin(async move { done(call.send().await) })
    }

    /// Terminates instances, all in one call. Their disks are deleted.
    #[inline(never)]
    pub fn terminate(&self, ids: &[String]) -> BoxFuture<'static, Result<(), FleetError>> {
        let call = self.without_retries.terminate_instances();
        let call = call.set_instance_ids(Some(ids.to_vec()));
        Box::pin(async move { done(call.send().await) })
    }

    /// Launches up to `count` instances in one call, tagged `Name` = `name`, and returns their ids.
    /// Fails when EC2 has no capacity for a single instance.
    ///
    /// With a disk, it asks for [the root device](Self::root_device) first, unless that is known.
    #[inline(never)]
    pub fn launch<'a>(
        &'a self,
        spec: &'a LaunchSpec,
        count: u32,
        name: &'a str,
        client_token: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, FleetError>> {
        Box::pin(async move {
            let call = self.run_instances(spec, name).await?;
            let call = call
                .max_count(i32::try_from(count).unwrap_or(i32::MAX))
                .client_token(client_token);
            let launched = call.send().await.map_err(|error| failure(&error))?;
            let instances = launched.instances().iter();
            Ok(instances.filter_map(|it| it.instance_id.clone()).collect())
        })
    }

    /// Returns the name of an image's root device. EC2 is asked once.
    #[inline(never)]
    pub fn root_device<'a>(
        &'a self,
        image_id: &'a str,
    ) -> BoxFuture<'a, Result<String, FleetError>> {
        let known = self.root_devices.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = known.get(image_id).cloned() {
            return Box::pin(std::future::ready(Ok(device)));
        }
        Box::pin(async move {
            let call = self.client.describe_images().image_ids(image_id);
            let answer = call.send().await.map_err(|error| failure(&error))?;
            let device = answer.images().first().and_then(|it| it.root_device_name());
            let device = device.ok_or_else(|| FleetError::Refused {
                code: "InvalidAMIID.NotFound".to_owned(),
                message: format!("the image {image_id} has no root device"),
            })?;
            let mut known = self.root_devices.lock();
            let known = known.as_mut().unwrap_or_else(PoisonError::get_mut);
            known.insert(image_id.to_owned(), device.to_owned());
            Ok(device.to_owned())
        })
    }

    /// Sets the tag `Name` of one instance.
    #[inline(never)]
    pub fn set_name(&self, id: &str, name: &str) -> BoxFuture<'static, Result<(), FleetError>> {
        let call = self.client.create_tags().resources(id);
        let call = call.tags(tag("Name", name));
        Box::pin(async move { done(call.send().await) })
    }
}

impl FleetError {
    /// Returns whether the same call may succeed later.
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

    /// Returns whether the call may have taken effect or may still: EC2 did not reply, or replied with an internal error.
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

    /// Returns whether EC2 refused because there were too many calls.
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
    let tag = |key: &str| {
        let tag = described.tags().iter().find(|tag| tag.key() == Some(key))?;
        tag.value().map(str::to_owned)
    };
    Some(FleetInstance {
        id: described.instance_id()?.to_owned(),
        name: tag("Name").unwrap_or_default(),
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
        launch: tag(LAUNCH_TAG),
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

pub(crate) fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

pub(crate) fn filter(name: &str, values: &[String]) -> Filter {
    let values = Some(values.to_vec());
    Filter::builder().name(name).set_values(values).build()
}

pub(crate) fn done<T, E>(result: Result<T, E>) -> Result<(), FleetError>
where
    E: std::error::Error + ProvideErrorMetadata,
{
    result.map(drop).map_err(|error| failure(&error))
}

pub(crate) fn failure<E>(error: &E) -> FleetError
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
