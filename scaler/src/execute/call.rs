use platform::fleet::FleetError;
use tracing::Span;

use super::capacity_pools::CapacityPool;
use super::throttle::Action;
use crate::plan::{InstanceId, Stop, StopCause, Timestamp};

/// How a call to EC2 ended.
#[derive(Debug)]
pub struct Outcome {
    pub(super) call: Call,
    pub(super) asked_at: Timestamp,
    pub(super) error: Option<FleetError>,
    /// Calls of the same action besides the one that was taken from the throttle.
    pub(super) further_calls: u32,
    /// Calls of the same action that EC2 refused for several instances, and that were repeated for each half of them.
    pub(super) split_calls: u32,
    /// That of the decision, for log lines.
    pub(super) span: Span,
}

/// What a call to EC2 has brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecutionEvent {
    Started {
        instances: u64,
        ordered_at: Timestamp,
    },
    Launched {
        instances: u64,
        ordered_at: Timestamp,
    },
    /// One instance was stopped, or terminated instead.
    Stopped { cause: StopCause, terminated: bool },
    /// Stopped instances that failed to boot too often were terminated.
    Discarded { instances: u64 },
    /// EC2 refused a call or did not answer it.
    CallFailed { call: &'static str },
}

/// A call to EC2, as far as its outcome needs it.
#[derive(Debug)]
pub(super) enum Call {
    Start(Vec<InstanceId>),
    /// With the instances that it brought.
    Launch(Launch, Vec<InstanceId>),
    Stop(Vec<Stop>),
    Terminate(Vec<Stop>),
    /// Terminates instances that are stopped already.
    Discard(Vec<InstanceId>),
    Rename {
        id: InstanceId,
        number: u32,
    },
}

/// A launch that may or may not have reached EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnconfirmedLaunch {
    pub count: u32,
    pub pool: CapacityPool,
    /// EC2's client token: a repeated launch with the token of an earlier one is that same launch.
    pub token: String,
    pub ordered_at: Timestamp,
    pub failed_at: Timestamp,
}

/// A launch in one capacity pool.
#[derive(Debug)]
pub(super) struct Launch {
    pub count: u32,
    pub pool: CapacityPool,
    pub token: String,
    /// The unconfirmed launch that this one repeats.
    pub repeats: Option<UnconfirmedLaunch>,
}

/// How an instance is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It goes back to the pool.
    Stop,
    /// It cannot be started again, or should not be.
    Terminate,
}

impl Outcome {
    pub(super) fn new(call: Call, asked_at: Timestamp, error: Option<FleetError>) -> Self {
        Self {
            call,
            asked_at,
            error,
            further_calls: 0,
            split_calls: 0,
            span: Span::current(),
        }
    }

    /// Returns whether the call failed. Then EC2 should be polled at once.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.error.is_some()
    }
}

impl Call {
    pub(super) fn name(&self) -> &'static str {
        self.action().call_name()
    }

    pub(super) fn action(&self) -> Action {
        match self {
            Self::Start(_) => Action::Start,
            Self::Launch(..) => Action::Launch,
            Self::Stop(_) => Action::Stop,
            Self::Terminate(_) | Self::Discard(_) => Action::Terminate,
            Self::Rename { .. } => Action::Rename,
        }
    }
}

impl End {
    pub(super) fn action(self) -> Action {
        match self {
            Self::Stop => Action::Stop,
            Self::Terminate => Action::Terminate,
        }
    }

    pub(super) fn call(self, stops: Vec<Stop>) -> Call {
        match self {
            Self::Stop => Call::Stop(stops),
            Self::Terminate => Call::Terminate(stops),
        }
    }
}
