//! Fails requests whose job is in the dead-letter queue.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use platform::queue::{BATCH_LIMIT, Queue};
use proto::JobId;
use proto::names::MAX_RECEIVE_COUNT;
use proto::v1::RecognitionJob;
use tokio_util::sync::CancellationToken;

use super::registry::RequestRegistry;
use super::videos::FrameQueue;
use crate::error::{ErrorCode, RequestError};
use crate::metric;

const SCAN_INTERVAL: Duration = Duration::from_secs(2);
/// Random addition to [`SCAN_INTERVAL`]: fronts that scan in step would always hide the messages from each other.
const MAX_JITTER: Duration = Duration::from_secs(1);
/// A job gets here only after several visibility timeouts, so that no scan is needed for younger requests.
pub const MIN_AGE: Duration = Duration::from_secs(5);
/// Shorter than [`SCAN_INTERVAL`], so that the next scan receives the messages again, and operators' tools can, too.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(1);
/// The visibility timeout grows by its first value for each so many rounds of a scan: a long scan must not receive its
/// first messages again before its last ones.
const ROUNDS_A_STEP: u32 = 10;
/// Receives at once. The first round of a scan has one and each further round one more, so that few letters cost few calls.
const MOST_RECEIVES: u32 = 8;

/// Fails requests whose job is in the dead-letter queue, until `stop`. The messages stay there for the operator.
pub async fn fail_until(
    queue: Queue,
    registry: Arc<RequestRegistry>,
    frames: Arc<FrameQueue>,
    stop: CancellationToken,
) {
    while stop.run_until_cancelled(next_scan()).await.is_some() {
        if registry.any_older_than(MIN_AGE) || frames.any_older_than(MIN_AGE) {
            // Not cancelled: the next scan would miss the messages that this one hides.
            scan(&queue, &registry, &frames, &stop).await;
        }
    }
}

async fn next_scan() {
    let chance = RandomState::new().hash_one(()) as f64 / u64::MAX as f64;
    tokio::time::sleep(SCAN_INTERVAL + MAX_JITTER.mul_f64(chance)).await;
}

/// Receives all messages: the queue may hold thousands of old ones.
async fn scan(
    queue: &Queue,
    registry: &RequestRegistry,
    frames: &FrameQueue,
    stop: &CancellationToken,
) {
    for round in 0.. {
        if stop.is_cancelled() {
            return;
        }
        let hide_for = VISIBILITY_TIMEOUT * (1 + round / ROUNDS_A_STEP);
        let receive = |_| queue.receive_hiding(BATCH_LIMIT, Duration::ZERO, Some(hide_for));
        let received = join_all((0..MOST_RECEIVES.min(1 + round)).map(receive)).await;
        let (mut found, mut failure) = (false, None);
        for letters in received {
            match letters {
                Ok(letters) => {
                    found |= !letters.is_empty();
                    letters
                        .iter()
                        .for_each(|letter| fail(registry, frames, &letter.body));
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = &failure {
            tracing::warn!(%error, "the dead-letter queue cannot be read");
        }
        if failure.is_some() || !found {
            return;
        }
    }
}

/// Returns the job of a dead letter, and the error for its client; `None` if the letter is no job.
#[must_use]
pub fn failed_job(body: &str) -> Option<(JobId, RequestError)> {
    let job = proto::decode::<RecognitionJob>(body).ok()?;
    let id = job.job_id.parse().ok()?;
    let message = format!("gave up after {MAX_RECEIVE_COUNT} attempts");
    Some((id, RequestError::new(ErrorCode::Internal, message)))
}

fn fail(registry: &RequestRegistry, frames: &FrameQueue, body: &str) {
    let Some((id, error)) = failed_job(body) else {
        return;
    };
    if frames.finish(id, Err(error.clone())) || registry.finish(id, Err(error)) {
        metric::DEAD_LETTERS.get().increment(1);
        tracing::error_span!("request", request_id = %id)
            .in_scope(|| tracing::error!("a job is in the dead-letter queue"));
    }
}
