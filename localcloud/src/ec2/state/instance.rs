//! One instance and its state transitions.

use std::net::Ipv4Addr;

use super::spec::{InterruptionAction, LaunchSpec, Market, Tags};
use crate::clock::Millis;
use crate::ec2::Ec2Error;
use crate::ec2::error::Ec2Result;

/// The time for which descriptions show a terminated instance.
pub const TERMINATED_VISIBLE_FOR: Millis = 60 * 60 * 1000;

/// EC2's instance states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstanceState {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

/// One instance.
#[derive(Debug, Clone)]
pub struct Instance {
    pub instance_id: String,
    pub reservation_id: String,
    /// The position within the launch.
    pub launch_index: usize,
    /// The position among all launches of this localcloud.
    pub sequence: u64,
    pub client_token: String,
    pub spec: LaunchSpec,
    pub tags: Tags,
    pub state: InstanceState,
    /// The time of the last start, as in AWS.
    pub launched: Millis,
    /// Before this, the instance is unknown to every call but its launch.
    pub visible_from: Millis,
    /// Why the instance is stopped or terminated, or about to be.
    pub state_reason: Option<StateReason>,
    /// An older form of the reason, with its time.
    pub state_transition: Option<(String, Millis)>,
    /// When the current process started.
    pub running_since: Option<Millis>,
    /// An interruption that was announced.
    pub interruption: Option<Interruption>,
    /// The number of the current start. A late event of an earlier process is ignored.
    pub boot: u64,
}

/// A reason as DescribeInstances returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateReason {
    pub code: &'static str,
    pub message: String,
}

/// EC2's decision to interrupt a spot instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interruption {
    pub action: InterruptionAction,
    pub noticed: Millis,
    /// The time of the interruption.
    pub at: Millis,
}

/// The states of an instance before and after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    pub instance_id: String,
    pub previous: InstanceState,
    pub current: InstanceState,
}

/// What the task of an instance must do after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessChange {
    Nothing,
    /// Start a process for this boot of the instance.
    Boot(u64),
    /// Stop the process. The state follows when it is gone.
    Stop {
        force: bool,
    },
}

impl InstanceState {
    /// Returns EC2's numeric code.
    pub fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// Returns EC2's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

impl Instance {
    /// Returns the instance's address in its network. All of 127.0.0.0/8 is this machine: a process can bind to its own
    /// address, and others can connect to it.
    pub fn private_address(&self) -> Ipv4Addr {
        let part = |divisor: u64, values: u64| (self.sequence / divisor % values) as u8;
        Ipv4Addr::new(
            127,
            part(254 * 256, 240) + 16,
            part(254, 256),
            part(1, 254) + 1,
        )
    }

    /// Checks that the instance can be started.
    ///
    /// # Errors
    /// `IncorrectInstanceState`.
    pub fn check_start(&self) -> Ec2Result {
        match self.state {
            InstanceState::Stopped | InstanceState::Running | InstanceState::Pending => Ok(()),
            _ => Err(self.incorrect_state("started")),
        }
    }

    /// Checks that the instance can be stopped.
    ///
    /// # Errors
    /// `IncorrectInstanceState`; `UnsupportedOperation` for a one-time spot instance; `OperationNotPermitted`.
    pub fn check_stop(&self) -> Ec2Result {
        match self.state {
            InstanceState::Running if self.spec.disable_api_stop => Err(Ec2Error::Protected {
                id: self.instance_id.clone(),
                verb: "stopped",
                attribute: "disableApiStop",
            }),
            InstanceState::Pending | InstanceState::Running
                if self.spec.market == Market::OneTimeSpot =>
            {
                Err(Ec2Error::OneTimeSpot(self.instance_id.clone()))
            }
            InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => Ok(()),
            _ => Err(self.incorrect_state("stopped")),
        }
    }

    /// Checks that the instance is not protected from termination.
    ///
    /// # Errors
    /// `OperationNotPermitted`.
    pub fn check_terminate(&self) -> Ec2Result {
        let over = matches!(
            self.state,
            InstanceState::ShuttingDown | InstanceState::Terminated
        );
        if self.spec.disable_api_termination && !over {
            return Err(Ec2Error::Protected {
                id: self.instance_id.clone(),
                verb: "terminated",
                attribute: "disableApiTermination",
            });
        }
        Ok(())
    }

    /// Checks that the instance can be rebooted. A reboot keeps the state, and a terminated instance ignores it.
    ///
    /// # Errors
    /// `IncorrectInstanceState`.
    pub fn check_reboot(&self) -> Ec2Result {
        match self.state {
            InstanceState::Running | InstanceState::Pending | InstanceState::Terminated => Ok(()),
            _ => Err(self.incorrect_state("rebooted")),
        }
    }

    /// Starts a stopped instance. Does nothing to one that runs.
    pub fn start(&mut self, now: Millis) -> ProcessChange {
        if self.state != InstanceState::Stopped {
            return ProcessChange::Nothing;
        }
        self.state = InstanceState::Pending;
        self.launched = now;
        self.state_reason = None;
        self.state_transition = None;
        self.running_since = None;
        self.interruption = None;
        self.boot += 1;
        ProcessChange::Boot(self.boot)
    }

    /// Stops a running instance. With `force` its process gets no grace, also if the instance is stopping already.
    pub fn stop(&mut self, force: bool, now: Millis) -> ProcessChange {
        match self.state {
            InstanceState::Running => {
                self.state = InstanceState::Stopping;
                self.set_reason(
                    "Client.UserInitiatedShutdown",
                    "User initiated shutdown",
                    "User initiated",
                    now,
                );
                ProcessChange::Stop { force }
            }
            InstanceState::Stopping if force => ProcessChange::Stop { force: true },
            _ => ProcessChange::Nothing,
        }
    }

    /// Terminates the instance in any state.
    pub fn terminate(&mut self, now: Millis) -> ProcessChange {
        let effect = match self.state {
            InstanceState::Pending | InstanceState::Running | InstanceState::Stopping => {
                self.state = InstanceState::ShuttingDown;
                ProcessChange::Stop { force: false }
            }
            InstanceState::Stopped => {
                self.state = InstanceState::Terminated;
                ProcessChange::Nothing
            }
            InstanceState::ShuttingDown | InstanceState::Terminated => {
                return ProcessChange::Nothing;
            }
        };
        self.set_reason(
            "Client.UserInitiatedShutdown",
            "User initiated shutdown",
            "User initiated",
            now,
        );
        effect
    }

    /// Returns whether the instance exists for calls at `now`.
    pub fn is_visible(&self, now: Millis) -> bool {
        self.visible_from <= now && !self.has_expired(now)
    }

    /// Returns whether the instance uses capacity.
    pub fn uses_capacity(&self) -> bool {
        matches!(self.state, InstanceState::Pending | InstanceState::Running)
    }

    /// Returns whether the instance is stopping or shutting down.
    pub fn is_stopping(&self) -> bool {
        matches!(
            self.state,
            InstanceState::Stopping | InstanceState::ShuttingDown
        )
    }

    /// Returns whether descriptions no longer show the terminated instance at `now`.
    pub fn has_expired(&self, now: Millis) -> bool {
        self.state == InstanceState::Terminated
            && self
                .state_transition
                .as_ref()
                .is_some_and(|(_, since)| since + TERMINATED_VISIBLE_FOR <= now)
    }

    pub(super) fn set_reason(
        &mut self,
        code: &'static str,
        message: &str,
        transition: &str,
        now: Millis,
    ) {
        self.state_reason = Some(StateReason {
            code,
            message: format!("{code}: {message}"),
        });
        self.state_transition = Some((transition.to_owned(), now));
    }

    pub(in crate::ec2) fn incorrect_state(&self, verb: &'static str) -> Ec2Error {
        Ec2Error::IncorrectInstanceState {
            id: self.instance_id.clone(),
            verb,
        }
    }
}
