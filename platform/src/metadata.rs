//! The EC2 instance metadata service (IMDSv2): this instance's id, and notices of its interruption.

use std::time::{Duration, SystemTime};

use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;
use proto::v1::{Interruption, InterruptionAction};
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const INSTANCE_ID: &str = "/latest/meta-data/instance-id";
/// Present from two minutes before a Spot instance is stopped or terminated, and when it is hibernated; 404 before. See
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>.
const SPOT_INSTANCE_ACTION: &str = "/latest/meta-data/spot/instance-action";
/// A list of events, days ahead. See
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instances-status-check_sched.html>.
const SCHEDULED_EVENTS: &str = "/latest/meta-data/events/maintenance/scheduled";

/// A scheduled event is reported as an interruption this long before it: longer than any job takes, and short enough to
/// lose little work if the event is moved or canceled.
pub const SCHEDULED_EVENT_IS_NEAR: Duration = Duration::from_secs(5 * 60);

/// Settings of the metadata service. The variables have the AWS SDKs' names.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "EC2 instance metadata")]
pub struct MetadataArgs {
    /// Endpoint of the EC2 instance metadata service [default: EC2's own]
    #[arg(
        long,
        env = "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        value_name = "URL",
        value_parser = endpoint
    )]
    pub metadata_endpoint: Option<String>,
    /// Do not use the EC2 instance metadata service
    #[arg(
        long,
        env = "AWS_EC2_METADATA_DISABLED",
        value_parser = is_true
    )]
    pub metadata_disabled: bool,
}

/// A client of the metadata service. Cloning shares its connection and its session token.
#[derive(Debug, Clone)]
pub struct Metadata {
    client: aws_config::imds::Client,
}

#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// This is not an EC2 instance, or its metadata service does not respond.
    #[error("the EC2 instance metadata service does not respond")]
    Unreachable(#[source] Box<ImdsError>),
    #[error("{path} has an unknown form: {body:?}")]
    Unreadable { path: &'static str, body: String },
}

impl MetadataArgs {
    /// Makes a client. Nothing is sent until its first call.
    ///
    /// # Errors
    /// When the endpoint is not a URL.
    pub fn connect(&self) -> anyhow::Result<Metadata> {
        let provider = ProviderConfig::without_region().with_http_client(crate::aws::http_client());
        let mut client = aws_config::imds::Client::builder().configure(&provider);
        if let Some(url) = &self.metadata_endpoint {
            client = client.endpoint(url).map_err(anyhow::Error::from_boxed)?;
        }
        Ok(Metadata {
            client: client.build(),
        })
    }
}

impl Metadata {
    /// Reads the id of the EC2 instance that this process runs on.
    ///
    /// # Errors
    /// When the metadata service does not respond.
    pub async fn instance_id(&self) -> Result<String, MetadataError> {
        let id = self.client.get(INSTANCE_ID).await;
        Ok(id.map_err(unreachable)?.into())
    }

    /// Reads EC2's notice that it will interrupt this instance, if there is one: of a Spot interruption, else of the first
    /// scheduled event within [`SCHEDULED_EVENT_IS_NEAR`] from `now`.
    ///
    /// # Errors
    /// When the metadata service does not respond, or its reply has an unknown form.
    pub async fn interruption(
        &self,
        now: SystemTime,
    ) -> Result<Option<Interruption>, MetadataError> {
        if let Some(body) = self.find(SPOT_INSTANCE_ACTION).await? {
            return match spot_interruption(&body) {
                Some(interruption) => Ok(Some(interruption)),
                None => Err(unreadable(SPOT_INSTANCE_ACTION, body)),
            };
        }
        let Some(body) = self.find(SCHEDULED_EVENTS).await? else {
            return Ok(None);
        };
        next_event(&body, now).ok_or_else(|| unreadable(SCHEDULED_EVENTS, body))
    }

    /// Reads `path`. Returns `None` for 404.
    async fn find(&self, path: &'static str) -> Result<Option<String>, MetadataError> {
        match self.client.get(path).await {
            Ok(found) => Ok(Some(found.into())),
            Err(ImdsError::ErrorResponse(error)) if error.response().status().as_u16() == 404 => {
                Ok(None)
            }
            Err(error) => Err(unreachable(error)),
        }
    }
}

fn endpoint(url: &str) -> Result<String, String> {
    match url.parse::<http::Uri>() {
        Ok(uri) if uri.scheme().is_some() && uri.host().is_some() => Ok(url.to_owned()),
        _ => Err("not a URL such as http://169.254.169.254".to_owned()),
    }
}

/// Reads the value as the AWS SDKs do: every text but `true` is false.
fn is_true(value: &str) -> Result<bool, std::convert::Infallible> {
    Ok(value.eq_ignore_ascii_case("true"))
}

fn unreachable(error: ImdsError) -> MetadataError {
    MetadataError::Unreachable(Box::new(error))
}

fn unreadable(path: &'static str, body: String) -> MetadataError {
    MetadataError::Unreadable { path, body }
}

/// Returns `None` when `body` does not have EC2's documented form. An unknown action counts as an interruption.
fn spot_interruption(body: &str) -> Option<Interruption> {
    #[derive(Deserialize)]
    struct InstanceAction {
        action: String,
        time: Option<String>,
    }
    let notice: InstanceAction = serde_json::from_str(body).ok()?;
    let action = match notice.action.as_str() {
        "stop" => InterruptionAction::Stop,
        "terminate" => InterruptionAction::Terminate,
        "hibernate" => InterruptionAction::Hibernate,
        _ => InterruptionAction::Unspecified,
    };
    let at = notice
        .time
        .and_then(|time| OffsetDateTime::parse(&time, &Rfc3339).ok());
    Some(interruption(action, at))
}

/// Returns the first near event that ends the worker. The outer `None`: `body` does not have EC2's documented form.
fn next_event(body: &str, now: SystemTime) -> Option<Option<Interruption>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Event {
        code: String,
        state: Option<String>,
        not_before: Option<String>,
    }
    let events: Vec<Event> = serde_json::from_str(body).ok()?;
    let horizon = OffsetDateTime::from(now + SCHEDULED_EVENT_IS_NEAR);
    let near = events.iter().filter_map(|event| {
        let action = match event.code.as_str() {
            "instance-stop" => InterruptionAction::Stop,
            "instance-retirement" => InterruptionAction::Retire,
            "instance-reboot" | "system-reboot" => InterruptionAction::Reboot,
            // Maintenance of network or power leaves the instance running.
            _ => return None,
        };
        let is_over = matches!(event.state.as_deref(), Some("completed" | "canceled"));
        let at = not_before(event.not_before.as_deref()?)?;
        (!is_over && at <= horizon).then_some((at, action))
    });
    let first = near.min_by_key(|(at, _)| *at);
    Some(first.map(|(at, action)| interruption(action, Some(at))))
}

/// Reads, for example, `21 Jan 2019 09:00:43 GMT`.
fn not_before(time: &str) -> Option<OffsetDateTime> {
    let format = format_description!(
        "[day padding:none] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    Some(PrimitiveDateTime::parse(time, format).ok()?.assume_utc())
}

fn interruption(action: InterruptionAction, at: Option<OffsetDateTime>) -> Interruption {
    Interruption {
        action: action.into(),
        at: at.map(|at| SystemTime::from(at).into()),
    }
}

#[cfg(test)]
mod tests;
