use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use platform::queue::{BATCH_LIMIT, Queue};
use proto::names::MAX_RECEIVE_COUNT;
use proto::v1::RecognitionJob;
use tokio_util::sync::CancellationToken;

use super::waiting::Waiting;
use crate::error::{ErrorCode, RequestError};
use crate::metric;

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Added to [`LOOK_EVERY`] by chance: fronts that looked in step would hide the letters from each other every time.
const UP_TO_LATER: Duration = Duration::from_secs(1);
/// A job gets here only after several visibility timeouts, so younger requests need no look.
const YOUNGEST: Duration = Duration::from_secs(5);
/// Shorter than [`LOOK_EVERY`], so that the next look sees the messages again and operators are hardly disturbed.
const HIDE_FOR: Duration = Duration::from_secs(1);
/// How many receives later in a look letters are hidden for as long again. A look at many letters takes longer, and must
/// not meet its first ones again before its last ones.
const LONGER_AFTER: u32 = 10;

/// Answers requests whose job ended in the dead-letter queue, until `stop`. The letters stay there for the operator.
pub async fn answer_until(queue: Queue, waiting: Arc<Waiting>, stop: CancellationToken) {
    while stop.run_until_cancelled(next_look()).await.is_some() {
        if waiting.any_older_than(YOUNGEST) {
            // Not given up half way: the next look would miss what this one hides.
            look(&queue, &waiting, &stop).await;
        }
    }
}

async fn next_look() {
    let chance = RandomState::new().hash_one(()) as f64 / u64::MAX as f64;
    tokio::time::sleep(LOOK_EVERY + UP_TO_LATER.mul_f64(chance)).await;
}

/// Goes through all letters: the queue may hold many old ones besides the one looked for.
async fn look(queue: &Queue, waiting: &Waiting, stop: &CancellationToken) {
    for receive in 0.. {
        if stop.is_cancelled() {
            return;
        }
        let hide_for = HIDE_FOR * (1 + receive / LONGER_AFTER);
        let letters = queue
            .receive_hiding(BATCH_LIMIT, Duration::ZERO, Some(hide_for))
            .await;
        match letters {
            Ok(letters) if letters.is_empty() => return,
            Ok(letters) => letters
                .iter()
                .for_each(|letter| answer(waiting, &letter.body)),
            Err(error) => {
                tracing::warn!(%error, "the dead-letter queue cannot be looked at");
                return;
            }
        }
    }
}

fn answer(waiting: &Waiting, body: &str) {
    let job = proto::decode::<RecognitionJob>(body).ok();
    let Some(id) = job.and_then(|job| job.job_id.parse().ok()) else {
        return;
    };
    let message = format!("gave up after {MAX_RECEIVE_COUNT} attempts");
    if waiting.answer(id, Err(RequestError::new(ErrorCode::Internal, message))) {
        metric::DEAD_LETTERS.counter().increment(1);
        tracing::error!(job_id = %id, "a job ended in the dead-letter queue");
    }
}
