use std::time::{Duration, SystemTime};

use platform::metadata::{Metadata, MetadataError};
use platform::shutdown::CancellationToken;
use proto::v1::Interruption;
use tokio::sync::watch;

/// What EC2's user guide recommends for Spot notices, which come two minutes ahead.
const ASK_INTERVAL: Duration = Duration::from_secs(5);

/// EC2's notice that it is going to end this instance, for as long as it stands.
pub type Notices = watch::Receiver<Option<Interruption>>;

/// Of a worker whose instance nobody gives notice of.
pub fn none() -> Notices {
    watch::channel(None).1
}

/// Asks the metadata service in the background until `shutdown`. While it does not answer, the last notice stands.
pub fn watch(metadata: Metadata, shutdown: CancellationToken) -> Notices {
    let (notice, notices) = watch::channel(None);
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        let mut ticks = tokio::time::interval(ASK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut trouble = None;
        loop {
            ticks.tick().await;
            match metadata.interruption(SystemTime::now()).await {
                Ok(found) => {
                    trouble = None;
                    if notice.send_replace(found) != found {
                        note(found);
                    }
                }
                Err(error) => {
                    let text = error.to_string();
                    if trouble.as_ref() != Some(&text) {
                        complain(&error);
                    }
                    trouble = Some(text);
                }
            }
        }
    }));
    notices
}

fn note(notice: Option<Interruption>) {
    match notice {
        Some(notice) => tracing::warn!(
            action = notice.action().as_str_name(),
            at = notice.at.map(|at| at.to_string()),
            "ec2 is going to end this instance: no more work is taken"
        ),
        None => tracing::info!("ec2 has withdrawn its notice"),
    }
}

/// Without a metadata service there are no notices, which is as it should be outside EC2.
fn complain(error: &MetadataError) {
    match error {
        MetadataError::Unreachable(_) => tracing::debug!(%error, "cannot ask for notices"),
        MetadataError::Unreadable { .. } => tracing::warn!(%error, "a notice is not understood"),
    }
}
