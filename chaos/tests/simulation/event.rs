//! What happens, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::front::pure::WorkerReply;
use localcloud::sqs_state::Delivery;
use platform::queue::Message;
use proto::JobId;
use proto::v1::{WorkerOrder, WorkerReport};
use scaler_plan::{InstanceId, Stop, Timestamp};
use worker::service::pure::{JobEnd, ReceiveRequest};

use crate::faults::Fault;

/// Since the beginning of the simulation.
pub type Time = Duration;

/// S3 or SQS failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

pub type CloudResult<T> = Result<T, Unavailable>;

/// One event. `life` counts the starts of a process: an event of an earlier life does not happen.
#[derive(Debug)]
pub enum Event {
    /// A client sends its photo.
    Client(usize),
    Front {
        front: usize,
        life: u32,
        step: FrontStep,
    },
    Worker {
        instance: usize,
        life: u32,
        step: WorkerStep,
    },
    Scaler {
        life: u32,
        step: ScalerStep,
    },
    Ec2(Ec2Step),
    /// A long poll on a queue ends.
    PollEnds(u64),
    /// A hidden message of a queue becomes available.
    Due(String),
    Fault(Fault),
    /// A front that died comes back.
    FrontReturns {
        front: usize,
        same_queue: bool,
    },
    ScalerReturns,
    /// Faults end.
    Calm,
}

#[derive(Debug)]
pub enum FrontStep {
    Put(JobId),
    PutDone(JobId, CloudResult<PutResult>),
    Looked(JobId, CloudResult<Option<Stored>>),
    Send(JobId),
    Sent(JobId, CloudResult<()>),
    Poll,
    Received(CloudResult<Vec<Message>>),
    /// Keeps the result of a late reply, then deletes its message.
    Keep(Box<WorkerReply>, String),
    DeleteReplies(Vec<String>),
    Expire,
    Scan,
    /// The next receive of a scan of the dead letters.
    ScanOn(u32),
    Discard(String),
    Discarded(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutResult {
    Stored,
    Exists,
}

/// An object's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub photo_sha256: String,
    /// Which put stored it; 0 for results.
    pub put: u64,
}

#[derive(Debug)]
pub enum WorkerStep {
    /// The model is loaded.
    Ready,
    /// A pause ends.
    Turn,
    Receive(ReceiveRequest),
    Received(CloudResult<Vec<Message>>),
    Job {
        job: u64,
        step: JobStep,
    },
    Extend(u64),
    Attend,
    Report,
    Order {
        stream: u64,
        order: WorkerOrder,
    },
    /// The scaler has ended the stream.
    StreamEnds(u64),
    /// The worker sees EC2's notice.
    Notice,
    /// SIGTERM.
    Terminate,
    /// SIGKILL.
    Kill,
}

#[derive(Debug)]
pub enum JobStep {
    Fetch,
    Fetched(CloudResult<Option<usize>>),
    Recognized(usize),
    /// Puts the result under the first key, or the second, ...
    Store(usize),
    Taken(usize, CloudResult<Option<Stored>>),
    Replace(usize),
    Reply(String),
    Replied(CloudResult<()>),
    Delete,
    GiveBack,
    Ended(JobEnd),
}

#[derive(Debug)]
pub enum ScalerStep {
    Plan(u64),
    Demand,
    Count,
    Counted(Timestamp, scaler_plan::Counters),
    Describe,
    Described(Timestamp, Vec<platform::fleet::FleetInstance>),
    Join {
        instance: usize,
        life: u32,
        stream: u64,
        first: WorkerReport,
    },
    Report {
        instance: usize,
        stream: u64,
        report: WorkerReport,
    },
    Leave {
        instance: usize,
        stream: u64,
    },
    CallEnded(Call, CallResult),
}

#[derive(Debug)]
pub enum CallResult {
    /// With the launched instances.
    Done(Vec<InstanceId>),
    Refused,
    /// The response was lost. The call has taken effect.
    Unknown,
}

#[derive(Debug, Clone)]
pub enum Call {
    Start(Vec<InstanceId>),
    Launch(u32),
    Stop(Vec<Stop>),
    Terminate(Vec<Stop>),
    Rename(InstanceId, u32),
}

#[derive(Debug)]
pub enum Ec2Step {
    Call {
        scaler: u32,
        call: Call,
    },
    /// The next step of an instance's start or stop.
    Turn {
        instance: usize,
        epoch: u32,
    },
    /// AWS takes the instance back.
    Reclaim {
        instance: usize,
        epoch: u32,
    },
}

/// The events to come, by time and then in the order in which they were scheduled.
#[derive(Debug, Default)]
pub struct EventQueue {
    events: BTreeMap<(Time, u64), Event>,
    scheduled: u64,
}

impl EventQueue {
    pub fn add(&mut self, at: Time, event: Event) {
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    pub fn pop(&mut self) -> Option<(Time, Event)> {
        let ((at, _), event) = self.events.pop_first()?;
        Some((at, event))
    }

    /// Takes one of the first `limit` events that are scheduled until `latest`, or else the first one.
    pub fn any(&mut self, choice: usize, limit: usize, latest: Time) -> Option<(Time, Event)> {
        let near = self.events.keys().take_while(|(at, _)| *at <= latest);
        let near: Vec<_> = near.take(limit).copied().collect();
        let Some(key) = near.get(choice % near.len().max(1)).copied() else {
            return self.pop();
        };
        Some((key.0, self.events.remove(&key)?))
    }
}

/// Returns a delivery as workers and fronts receive it.
pub fn message(delivery: &Delivery) -> Message {
    Message {
        body: delivery.message.body.clone(),
        receipt_handle: delivery.receipt_handle.clone(),
        receive_count: delivery.receive_count,
        waited: Duration::from_millis(delivery.first_received.saturating_sub(delivery.sent)),
    }
}
