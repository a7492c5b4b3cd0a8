//! One instance and the transitions it may make.

use std::net::Ipv4Addr;

use super::spec::{InterruptionAction, LaunchSpec, Market, Tags};
use crate::clock::Millis;
use crate::ec2::Ec2Error;

/// How long a terminated instance stays in the lists.
pub const TERMINATED_STAYS_LISTED: Millis = 60 * 60 * 1000;

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
    /// Position within the launch.
    pub launch_index: usize,
    /// Position among all instances of this localcloud.
    pub sequence: u64,
    pub client_token: String,
    pub spec: LaunchSpec,
    pub tags: Tags,
    pub state: InstanceState,
    /// The last start, as in AWS.
    pub launched: Millis,
    /// Before this, no call but its launch knows the instance.
    pub known_from: Millis,
    /// Why the instance is in a state that it was not asked to be in for ever: code and sentence.
    pub state_reason: Option<StateReason>,
    /// The old single-text form of the reason, with its time.
    pub state_transition: Option<(String, Millis)>,
    /// Since when the present process runs.
    pub running_since: Option<Millis>,
    /// Announced, and not yet carried out.
    pub interruption: Option<Interruption>,
    /// Which start of the instance is the present one, so that news about an earlier process changes nothing.
    pub boot: u64,
}

/// A reason in the form that DescribeInstances answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateReason {
    pub code: &'static str,
    pub message: String,
}

/// EC2's decision to take a spot instance away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interruption {
    pub action: InterruptionAction,
    pub noticed: Millis,
    /// When it is carried out.
    pub at: Millis,
}

/// What a call did to an instance: its state before and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    pub instance_id: String,
    pub previous: InstanceState,
    pub current: InstanceState,
}

/// What the processes have to do because of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Nothing,
    /// Start a process for this boot of the instance.
    Boot(u64),
    /// End the process; the state follows when it is gone.
    End {
        at_once: bool,
    },
}

impl InstanceState {
    /// EC2's numeric code.
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

    /// EC2's name.
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
    /// The instance's address in its network. All of 127.0.0.0/8 is this machine, so that a process can bind to its
    /// own address and others can reach it there.
    pub fn private_address(&self) -> Ipv4Addr {
        let part = |divisor: u64, values: u64| (self.sequence / divisor % values) as u8;
        Ipv4Addr::new(
            127,
            part(254 * 256, 240) + 16,
            part(254, 256),
            part(1, 254) + 1,
        )
    }

    /// Checks that `start` would be legal.
    ///
    /// # Errors
    /// `IncorrectInstanceState`.
    pub fn check_start(&self) -> Result<(), Ec2Error> {
        match self.state {
            InstanceState::Stopped | InstanceState::Running | InstanceState::Pending => Ok(()),
            _ => Err(self.incorrect_state("started")),
        }
    }

    /// Checks that `stop` would be legal.
    ///
    /// # Errors
    /// `IncorrectInstanceState`; `UnsupportedOperation` for a one-time spot instance; `OperationNotPermitted`.
    pub fn check_stop(&self) -> Result<(), Ec2Error> {
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

    /// Checks that a termination would be permitted.
    ///
    /// # Errors
    /// `OperationNotPermitted`.
    pub fn check_terminate(&self) -> Result<(), Ec2Error> {
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

    /// Checks that a reboot would be legal. The state does not change by it, and a terminated instance ignores it.
    ///
    /// # Errors
    /// `IncorrectInstanceState`.
    pub fn check_reboot(&self) -> Result<(), Ec2Error> {
        match self.state {
            InstanceState::Running | InstanceState::Pending | InstanceState::Terminated => Ok(()),
            _ => Err(self.incorrect_state("rebooted")),
        }
    }

    /// Starts a stopped instance; one that runs already stays as it is.
    pub fn start(&mut self, now: Millis) -> Effect {
        if self.state != InstanceState::Stopped {
            return Effect::Nothing;
        }
        self.state = InstanceState::Pending;
        self.launched = now;
        self.state_reason = None;
        self.state_transition = None;
        self.running_since = None;
        self.interruption = None;
        self.boot += 1;
        Effect::Boot(self.boot)
    }

    /// Asks a running instance to stop. With `force` its process gets no time to end, also if it is stopping already.
    pub fn stop(&mut self, force: bool, now: Millis) -> Effect {
        match self.state {
            InstanceState::Running => {
                self.state = InstanceState::Stopping;
                self.set_reason(
                    "Client.UserInitiatedShutdown",
                    "User initiated shutdown",
                    "User initiated",
                    now,
                );
                Effect::End { at_once: force }
            }
            InstanceState::Stopping if force => Effect::End { at_once: true },
            _ => Effect::Nothing,
        }
    }

    /// Terminates the instance, whatever it is doing.
    pub fn terminate(&mut self, now: Millis) -> Effect {
        let effect = match self.state {
            InstanceState::Pending | InstanceState::Running | InstanceState::Stopping => {
                self.state = InstanceState::ShuttingDown;
                Effect::End { at_once: false }
            }
            InstanceState::Stopped => {
                self.state = InstanceState::Terminated;
                Effect::Nothing
            }
            InstanceState::ShuttingDown | InstanceState::Terminated => return Effect::Nothing,
        };
        self.set_reason(
            "Client.UserInitiatedShutdown",
            "User initiated shutdown",
            "User initiated",
            now,
        );
        effect
    }

    /// Whether calls know of the instance at `now`.
    pub fn is_known(&self, now: Millis) -> bool {
        self.known_from <= now && !self.is_forgotten(now)
    }

    /// Whether the instance takes room that others could have.
    pub fn takes_room(&self) -> bool {
        matches!(self.state, InstanceState::Pending | InstanceState::Running)
    }

    /// Whether the instance has been told to end and has not.
    pub fn is_ending(&self) -> bool {
        matches!(
            self.state,
            InstanceState::Stopping | InstanceState::ShuttingDown
        )
    }

    /// Whether the instance has left the lists at `now`.
    pub fn is_forgotten(&self, now: Millis) -> bool {
        self.state == InstanceState::Terminated
            && self
                .state_transition
                .as_ref()
                .is_some_and(|(_, since)| since + TERMINATED_STAYS_LISTED <= now)
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
