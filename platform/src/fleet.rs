use std::time::{Duration, SystemTime};

use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_ec2::types::{Filter, InstanceStateName, ResourceType, Tag, TagSpecification};

/// EC2 instances, found by their tag `Name`.
#[derive(Debug, Clone)]
pub struct Fleet {
    client: Client,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetInstance {
    pub id: String,
    /// The tag `Name`.
    pub name: String,
    pub state: PowerState,
    /// When it was last started.
    pub launched_at: Option<SystemTime>,
}

/// EC2's instance states; terminated ones are never listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PowerState {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
}

/// What to launch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LaunchSpec {
    pub image_id: String,
    pub instance_type: String,
    pub subnet_id: Option<String>,
    pub security_group_ids: Vec<String>,
    pub instance_profile: Option<String>,
    pub key_name: Option<String>,
    /// Plain text; it is encoded on the way.
    pub user_data: String,
    /// Tags besides `Name`.
    pub tags: Vec<(String, String)>,
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
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// All instances whose tag `Name` matches `pattern` (`*` and `?` are wildcards), terminated ones left out, by name.
    ///
    /// # Errors
    /// When EC2 cannot be reached or refuses.
    pub async fn find(&self, pattern: &str) -> Result<Vec<FleetInstance>, FleetError> {
        let states = ["pending", "running", "stopping", "stopped", "shutting-down"];
        let mut found = Vec::new();
        let mut pages = self
            .client
            .describe_instances()
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
            found.extend(instances.filter_map(instance));
        }
        found.sort_by(|a, b| {
            natural(&a.name)
                .cmp(&natural(&b.name))
                .then_with(|| a.id.cmp(&b.id))
        });
        Ok(found)
    }

    /// Starts stopped instances, all in one call.
    ///
    /// # Errors
    /// When EC2 cannot be reached or refuses; then none was started.
    pub async fn start(&self, ids: &[String]) -> Result<(), FleetError> {
        let started = self
            .client
            .start_instances()
            .set_instance_ids(Some(ids.to_vec()))
            .send()
            .await;
        started.map(|_| ()).map_err(|error| failure(&error))
    }

    /// Stops running instances, all in one call.
    ///
    /// # Errors
    /// When EC2 cannot be reached or refuses.
    pub async fn stop(&self, ids: &[String]) -> Result<(), FleetError> {
        let stopped = self
            .client
            .stop_instances()
            .set_instance_ids(Some(ids.to_vec()))
            .send()
            .await;
        stopped.map(|_| ()).map_err(|error| failure(&error))
    }

    /// Launches up to `count` instances in one call, tagged `Name` = `name`, and returns their ids.
    ///
    /// # Errors
    /// When EC2 cannot be reached or refuses, also when there is no capacity for a single one.
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
            .client
            .run_instances()
            .image_id(&spec.image_id)
            .instance_type(spec.instance_type.as_str().into())
            .min_count(1)
            .max_count(i32::try_from(count).unwrap_or(i32::MAX))
            .client_token(client_token)
            .user_data(aws_smithy_types::base64::encode(&spec.user_data))
            .tag_specifications(specification)
            .set_subnet_id(spec.subnet_id.clone())
            .set_key_name(spec.key_name.clone())
            .set_security_group_ids(some_unless_empty(&spec.security_group_ids))
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
    ///
    /// # Errors
    /// When EC2 cannot be reached or refuses.
    pub async fn set_name(&self, id: &str, name: &str) -> Result<(), FleetError> {
        let tagged = self
            .client
            .create_tags()
            .resources(id)
            .tags(tag("Name", name))
            .send()
            .await;
        tagged.map(|_| ()).map_err(|error| failure(&error))
    }
}

impl FleetError {
    /// Whether the same call may succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Refused { code, .. } => matches!(
                code.as_str(),
                "RequestLimitExceeded"
                    | "Throttling"
                    | "InsufficientInstanceCapacity"
                    | "InvalidInstanceID.NotFound"
                    | "IncorrectInstanceState"
                    | "InternalError"
                    | "Unavailable"
            ),
        }
    }
}

fn instance(described: &aws_sdk_ec2::types::Instance) -> Option<FleetInstance> {
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
        launched_at: described.launch_time().and_then(system_time),
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
