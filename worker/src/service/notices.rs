//! EC2's notices that it is about to end this instance.

use std::time::{Duration, SystemTime};

use platform::metadata::{Metadata, MetadataError};
use platform::shutdown::CancellationToken;
use proto::v1::Interruption;
use tokio::sync::watch;

/// EC2's user guide recommends this for Spot notices, which come two minutes ahead.
const ASK_INTERVAL: Duration = Duration::from_secs(5);

/// The notice that stands at present.
pub type Notices = watch::Receiver<Option<Interruption>>;

/// Returns the notices of a worker without a metadata service: no notice ever comes.
pub fn none() -> Notices {
    watch::channel(None).1
}

/// Polls the metadata service in the background until `shutdown`. While it cannot be reached, the last notice stands.
pub fn watch(metadata: Metadata, shutdown: CancellationToken) -> Notices {
    let (notice, notices) = watch::channel(None);
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        let mut ticks = tokio::time::interval(ASK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last_error = None;
        loop {
            ticks.tick().await;
            match metadata.interruption(SystemTime::now()).await {
                Ok(found) => {
                    last_error = None;
                    if notice.send_replace(found) != found {
                        log_notice(found);
                    }
                }
                Err(error) => {
                    let text = error.to_string();
                    if last_error.as_ref() != Some(&text) {
                        log_error(&error);
                    }
                    last_error = Some(text);
                }
            }
        }
    }));
    notices
}

fn log_notice(notice: Option<Interruption>) {
    match notice {
        Some(notice) => tracing::warn!(
            action = notice.action().as_str_name(),
            at = notice.at.map(|at| at.to_string()),
            "ec2 is about to end this instance: it takes no more work"
        ),
        None => tracing::info!("ec2 has withdrawn its notice"),
    }
}

/// Outside EC2 there is no metadata service, which is no fault.
fn log_error(error: &MetadataError) {
    match error {
        MetadataError::Unreachable(_) => {
            tracing::debug!(%error, "cannot reach the metadata service")
        }
        MetadataError::Unreadable { .. } => tracing::warn!(%error, "cannot read a notice"),
    }
}
