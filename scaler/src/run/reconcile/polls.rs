//! Calls that the reconciler makes in the background, and their results.

use platform::aws::Aws;
use platform::fleet::{Fleet, FleetError, FleetInstance};
use platform::queue::{Queue, QueueError};
use proto::names::WORKER_INSTANCE;

use crate::plan::{Counters, InstanceId, Learned, Timestamp};

/// The result of a poll, and when it was sent; or what became of the learned times.
pub(super) enum PollResult {
    Fleet(Result<Description, FleetError>, Timestamp),
    Queue(Result<(Queue, Counters), QueueError>, Timestamp),
    Learned(Learned),
    /// The times that were written; `None` when that failed.
    Kept(Option<Learned>),
}

/// EC2's description of the fleet.
pub(super) struct Description {
    pub instances: Vec<FleetInstance>,
    /// Those of the overdue instances that were terminated.
    pub terminated: Vec<InstanceId>,
}

/// Lists the fleet, and finds those of the `overdue` instances that were terminated. The list counts where only the second
/// fails.
pub(super) async fn describe(
    fleet: &Fleet,
    overdue: &[InstanceId],
) -> Result<Description, FleetError> {
    let instances = fleet.find(&format!("{WORKER_INSTANCE}*")).await?;
    let terminated = if overdue.is_empty() {
        Vec::new()
    } else {
        let ids: Vec<_> = overdue.iter().map(ToString::to_string).collect();
        let terminated = fleet.terminated(&ids).await;
        terminated.unwrap_or_else(|error| {
            tracing::warn!(%error, "EC2 does not tell which launched instances were terminated");
            Vec::new()
        })
    };
    Ok(Description {
        instances,
        terminated: terminated.iter().map(|id| id.as_str().into()).collect(),
    })
}

/// Returns the queue, which is looked up unless it is known, and its counters.
pub(super) async fn count(
    aws: &Aws,
    name: &str,
    queue: Option<Queue>,
) -> Result<(Queue, Counters), QueueError> {
    let queue = match queue {
        Some(queue) => queue,
        None => aws.queue(name).await?,
    };
    let counters = queue.counters().await?;
    let (visible, in_flight) = (counters.visible, counters.in_flight);
    Ok((
        queue,
        Counters {
            visible,
            in_flight,
            delayed: counters.delayed,
        },
    ))
}
