//! Message-move tasks: begun, listed and cancelled by calls, carried out in the background.

use std::sync::{Arc, Weak};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::sleep;
use uuid::Uuid;

use super::state::{MoveStatus, MoveTask};
use super::wire::{
    CancelMessageMoveTask, Cancelled, ListMessageMoveTasks, MoveTaskOnWire, MoveTasks,
    StartMessageMoveTask, Started,
};
use super::{Sqs, SqsError};

const MOST_PER_SECOND: i64 = 500;
const MOST_LISTED: i64 = 10;

impl Sqs {
    pub(super) fn start_message_move_task(
        self: &Arc<Self>,
        request: StartMessageMoveTask,
    ) -> Result<Started, SqsError> {
        let source_arn = request
            .source_arn
            .ok_or(SqsError::MissingParameter("SourceArn"))?;
        let rate = request
            .max_number_of_messages_per_second
            .map(|rate| bounded("MaxNumberOfMessagesPerSecond", rate, MOST_PER_SECOND))
            .transpose()?;
        let task_id = Uuid::new_v4().to_string();
        let handle = STANDARD
            .encode(serde_json::json!({ "taskId": task_id, "sourceArn": source_arn }).to_string());
        self.lock().queues.start_move(
            &source_arn,
            request.destination_arn.as_deref(),
            rate,
            &handle,
            self.clock.now(),
        )?;
        tokio::spawn(carry_on(Arc::downgrade(self), handle.clone()));
        Ok(Started {
            task_handle: handle,
        })
    }

    pub(super) fn cancel_message_move_task(
        &self,
        request: CancelMessageMoveTask,
    ) -> Result<Cancelled, SqsError> {
        let handle = request
            .task_handle
            .ok_or(SqsError::MissingParameter("TaskHandle"))?;
        let moved = self.lock().queues.cancel_move(&handle)?;
        Ok(Cancelled {
            approximate_number_of_messages_moved: moved,
        })
    }

    pub(super) fn list_message_move_tasks(
        &self,
        request: ListMessageMoveTasks,
    ) -> Result<MoveTasks, SqsError> {
        let source_arn = request
            .source_arn
            .ok_or(SqsError::MissingParameter("SourceArn"))?;
        let most = bounded("MaxResults", request.max_results.unwrap_or(1), MOST_LISTED)?;
        let shared = self.lock();
        let tasks = shared.queues.moves_of(&source_arn)?;
        Ok(MoveTasks {
            results: tasks.take(most as usize).map(on_wire).collect(),
        })
    }

    /// Makes a task's next step, wakes who waits for what was moved, and answers how long to wait for the step after it.
    fn move_some(&self, handle: &str) -> Option<Duration> {
        let now = self.clock.now();
        let mut shared = self.lock();
        let step = shared
            .queues
            .move_some(handle, now, || Uuid::new_v4().to_string());
        for destination in &step.destinations {
            shared.wake_one(destination);
        }
        Some(Duration::from_millis(step.next?.saturating_sub(now)))
    }
}

/// Carries a task out to its end, or to the service's.
async fn carry_on(sqs: Weak<Sqs>, handle: String) {
    while let Some(pause) = sqs.upgrade().and_then(|sqs| sqs.move_some(&handle)) {
        if pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            sleep(pause).await;
        }
    }
}

fn bounded(parameter: &str, value: i64, most: i64) -> Result<u32, SqsError> {
    if (1..=most).contains(&value) {
        return Ok(value as u32);
    }
    Err(SqsError::InvalidParameterValue(format!(
        "Value {value} for parameter {parameter} is invalid. Reason: Must be between 1 and {most}."
    )))
}

fn on_wire(task: &MoveTask) -> MoveTaskOnWire {
    // AWS tells the handle only as long as the task can be cancelled.
    let handle = (task.status == MoveStatus::Running).then(|| task.handle.clone());
    MoveTaskOnWire {
        task_handle: handle,
        status: task.status.name(),
        source_arn: task.source_arn.clone(),
        destination_arn: task.destination_arn.clone(),
        max_number_of_messages_per_second: task.max_messages_per_second,
        approximate_number_of_messages_moved: task.moved,
        approximate_number_of_messages_to_move: task.to_move,
        failure_reason: task.failure_reason,
        started_timestamp: task.started,
    }
}
