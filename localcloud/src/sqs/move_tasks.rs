//! Actions on message move tasks, which run in the background.

use std::sync::{Arc, Weak};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::sleep;
use uuid::Uuid;

use super::state::{MoveStatus, MoveTask};
use super::wire::{
    CancelMessageMoveTask, ListMessageMoveTasks, MoveTaskCancelled, MoveTaskStarted, MoveTasks,
    StartMessageMoveTask, WireMoveTask,
};
use super::{Sqs, SqsError};

const MAX_RATE: i64 = 500;
const MAX_LISTED: i64 = 10;

impl Sqs {
    pub(super) fn start_message_move_task(
        self: &Arc<Self>,
        request: StartMessageMoveTask,
    ) -> Result<MoveTaskStarted, SqsError> {
        let source_arn = request
            .source_arn
            .ok_or(SqsError::MissingParameter("SourceArn"))?;
        let rate = request
            .max_number_of_messages_per_second
            .map(|rate| bounded("MaxNumberOfMessagesPerSecond", rate, MAX_RATE))
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
        tokio::spawn(run(Arc::downgrade(self), handle.clone()));
        Ok(MoveTaskStarted {
            task_handle: handle,
        })
    }

    pub(super) fn cancel_message_move_task(
        &self,
        request: CancelMessageMoveTask,
    ) -> Result<MoveTaskCancelled, SqsError> {
        let handle = request
            .task_handle
            .ok_or(SqsError::MissingParameter("TaskHandle"))?;
        let moved = self.lock().queues.cancel_move(&handle)?;
        Ok(MoveTaskCancelled {
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
        let limit = bounded("MaxResults", request.max_results.unwrap_or(1), MAX_LISTED)?;
        let shared = self.lock();
        let tasks = shared.queues.moves_of(&source_arn)?;
        Ok(MoveTasks {
            results: tasks.take(limit as usize).map(to_wire).collect(),
        })
    }

    /// Runs a task's next step and wakes the destinations' waiting receives. Returns the time until the step after it;
    /// `None` if the task has ended.
    fn run_step(&self, handle: &str) -> Option<Duration> {
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

/// Returns the ARN of the source in a task's handle; `None` if it is no handle.
pub(super) fn source_arn_of(handle: &str) -> Option<String> {
    let task: serde_json::Value = serde_json::from_slice(&STANDARD.decode(handle).ok()?).ok()?;
    task["sourceArn"].as_str().map(str::to_owned)
}

/// Runs a task until it or the service ends.
async fn run(sqs: Weak<Sqs>, handle: String) {
    while let Some(pause) = sqs.upgrade().and_then(|sqs| sqs.run_step(&handle)) {
        if pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            sleep(pause).await;
        }
    }
}

fn bounded(parameter: &str, value: i64, max: i64) -> Result<u32, SqsError> {
    if (1..=max).contains(&value) {
        return Ok(value as u32);
    }
    let reason = format!("Must be between 1 and {max}");
    Err(SqsError::invalid_value(parameter, value, &reason))
}

fn to_wire(task: &MoveTask) -> WireMoveTask {
    // AWS returns the handle only while the task can be cancelled.
    let handle = (task.status == MoveStatus::Running).then(|| task.handle.clone());
    WireMoveTask {
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
