//! Message move tasks, which move messages from a dead-letter queue to their sources or to another queue.

use std::sync::Arc;

use super::{Message, Queues, SqsError, queue_of_arn};
use crate::clock::Millis;

/// A message move task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveTask {
    /// Opaque to clients. The caller draws it.
    pub handle: String,
    pub source_arn: String,
    /// `None` moves each message back to the queue that it comes from.
    pub destination_arn: Option<String>,
    pub max_messages_per_second: Option<u32>,
    pub status: MoveStatus,
    pub started: Millis,
    /// The number of messages at the start.
    pub to_move: u64,
    pub moved: u64,
    pub failure_reason: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveStatus {
    Running,
    Completed,
    Cancelled,
    Failed,
}

/// The result of one step of a task.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MoveStep {
    /// The queues that received messages.
    pub destinations: Vec<String>,
    /// When the next step is due; `None` if the task has ended.
    pub next: Option<Millis>,
}

/// AWS remembers ten tasks of a source.
const MAX_REMEMBERED: usize = 10;
/// The messages of one step, few enough not to delay other calls.
const MAX_PER_STEP: u64 = 100;

impl MoveStatus {
    /// Returns AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }
}

impl Queues {
    /// Starts a task. `move_some` carries it out.
    ///
    /// # Errors
    /// `ResourceNotFoundException` if the source or the destination does not exist; `InvalidParameterValue` if the source
    /// is not a dead-letter queue; `UnsupportedOperation` if a task of the source is running.
    pub fn start_move(
        &mut self,
        source_arn: &str,
        destination_arn: Option<&str>,
        max_messages_per_second: Option<u32>,
        handle: &str,
        now: Millis,
    ) -> Result<(), SqsError> {
        let source = self
            .name_of_arn(source_arn)
            .map_err(|_| not_found("SourceArn"))?;
        if destination_arn == Some(source_arn) {
            return Err(SqsError::InvalidParameterValue(
                "Source queue and destination queue cannot be the same.".to_owned(),
            ));
        }
        if let Some(arn) = destination_arn {
            self.name_of_arn(arn)
                .map_err(|_| not_found("DestinationArn"))?;
        }
        if self.dead_letter_sources(&source).next().is_none() {
            return Err(SqsError::InvalidParameterValue(
                "Source queue must be configured as a Dead Letter Queue.".to_owned(),
            ));
        }
        let is_active =
            |task: &MoveTask| task.source_arn == source_arn && task.status == MoveStatus::Running;
        if self.moves.iter().any(is_active) {
            return Err(SqsError::UnsupportedOperation(
                "There is already a task running. Only one active task is allowed for a source queue arn at a given \
                 time."
                    .to_owned(),
            ));
        }
        let to_move = self.queue(&source)?.available_at(now) as u64;
        self.moves.push(MoveTask {
            handle: handle.to_owned(),
            source_arn: source_arn.to_owned(),
            destination_arn: destination_arn.map(str::to_owned),
            max_messages_per_second,
            status: MoveStatus::Running,
            started: now,
            to_move,
            moved: 0,
            failure_reason: None,
        });
        self.forget_moves(source_arn);
        Ok(())
    }

    /// Moves as many messages as the task's rate allows by `now`. A moved message is a new one: it has a new age and a new
    /// identifier, which `new_id` draws.
    pub fn move_some(
        &mut self,
        handle: &str,
        now: Millis,
        mut new_id: impl FnMut() -> String,
    ) -> MoveStep {
        let mut step = MoveStep::default();
        let Some(index) = self.moves.iter().position(|task| task.handle == handle) else {
            return step;
        };
        let mut task = self.moves[index].clone();
        let due = task.due_at(now).min(task.moved + MAX_PER_STEP);
        while task.status == MoveStatus::Running && task.moved < due {
            match self.move_one(&task, now, &mut new_id) {
                Ok(Some(destination)) => {
                    task.moved += 1;
                    step.destinations.push(destination);
                }
                Ok(None) => task.status = MoveStatus::Completed,
                Err(reason) => {
                    task.status = MoveStatus::Failed;
                    task.failure_reason = Some(reason);
                }
            }
        }
        if task.status == MoveStatus::Running {
            step.next = Some(task.next_due().max(now));
        }
        self.moves[index] = task;
        step
    }

    /// Cancels a task and returns how many messages it has moved.
    ///
    /// # Errors
    /// `ResourceNotFoundException` for an unknown handle; `UnsupportedOperation` if the task has ended.
    pub fn cancel_move(&mut self, handle: &str) -> Result<u64, SqsError> {
        let task = self
            .moves
            .iter_mut()
            .find(|task| task.handle == handle)
            .ok_or_else(|| SqsError::ResourceNotFound("Task does not exist.".to_owned()))?;
        if task.status != MoveStatus::Running {
            return Err(SqsError::UnsupportedOperation(
                "Only active tasks can be cancelled.".to_owned(),
            ));
        }
        task.status = MoveStatus::Cancelled;
        Ok(task.moved)
    }

    /// Returns the tasks of a source, the latest first.
    ///
    /// # Errors
    /// `ResourceNotFoundException` if the source does not exist.
    pub fn moves_of<'a>(
        &'a self,
        source_arn: &'a str,
    ) -> Result<impl Iterator<Item = &'a MoveTask>, SqsError> {
        self.name_of_arn(source_arn)
            .map_err(|_| not_found("SourceArn"))?;
        let of_source = move |task: &&MoveTask| task.source_arn == source_arn;
        Ok(self.moves.iter().rev().filter(of_source))
    }

    /// Moves the first message of the source. Returns its destination, or `None` if no message is left.
    ///
    /// # Errors
    /// AWS's code for the failure of the task.
    fn move_one(
        &mut self,
        task: &MoveTask,
        now: Millis,
        new_id: &mut impl FnMut() -> String,
    ) -> Result<Option<String>, &'static str> {
        let source = queue_of_arn(&task.source_arn);
        let queue = self
            .queues
            .get_mut(source)
            .ok_or("AWS.SimpleQueueService.NonExistentQueue")?;
        let Some(first) = queue.first_available(now) else {
            return Ok(None);
        };
        let destination_arn = match &task.destination_arn {
            Some(arn) => arn.clone(),
            None => first
                .dead_letter_source_arn
                .as_deref()
                // Such a message would move to its own queue forever.
                .filter(|arn| *arn != task.source_arn)
                .ok_or("CouldNotDetermineMessageSource")?
                .to_owned(),
        };
        let destination = self
            .name_of_arn(&destination_arn)
            .map_err(|_| "AWS.SimpleQueueService.NonExistentQueue")?;
        let content = self
            .queues
            .get_mut(source)
            .and_then(|queue| queue.take_first_available(now));
        if let (Some(content), Some(queue)) = (content, self.queues.get_mut(&destination)) {
            let message = Message {
                message_id: new_id(),
                ..Arc::unwrap_or_clone(content.message)
            };
            queue.send(message, Some(0), now);
        }
        Ok(Some(destination))
    }

    fn forget_moves(&mut self, source_arn: &str) {
        let of_source = |task: &MoveTask| task.source_arn == source_arn;
        let count = self.moves.iter().filter(|task| of_source(task)).count();
        if count > MAX_REMEMBERED
            && let Some(oldest) = self.moves.iter().position(of_source)
        {
            self.moves.remove(oldest);
        }
    }
}

fn not_found(parameter: &str) -> SqsError {
    SqsError::ResourceNotFound(format!(
        "The resource that you specified for the {parameter} parameter doesn't exist."
    ))
}

impl MoveTask {
    /// Returns how many messages the rate allows by `now`. The first moves at once.
    fn due_at(&self, now: Millis) -> u64 {
        self.max_messages_per_second.map_or(u64::MAX, |rate| {
            now.saturating_sub(self.started) * u64::from(rate) / 1000 + 1
        })
    }

    /// Returns when the next message is due.
    fn next_due(&self) -> Millis {
        self.max_messages_per_second.map_or(self.started, |rate| {
            self.started + (self.moved * 1000).div_ceil(u64::from(rate))
        })
    }
}
