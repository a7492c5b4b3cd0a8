//! One instance and the transitions it may make.

use std::collections::BTreeMap;

use crate::clock::Millis;
use crate::ec2::Ec2Error;

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

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

/// What launching fixes for good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaunchSpec {
    pub image_id: String,
    pub instance_type: String,
    /// Decoded.
    pub user_data: Vec<u8>,
    pub key_name: Option<String>,
    pub subnet_id: Option<String>,
    pub security_groups: Vec<String>,
    pub instance_profile: Option<String>,
    pub availability_zone: Option<String>,
    pub market: Market,
    pub tags: Tags,
    /// Whether an instance whose process ends by itself is terminated rather than stopped.
    pub terminate_on_shutdown: bool,
}

/// How an instance is paid for, which decides what may be done with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Market {
    #[default]
    OnDemand,
    /// Can only be terminated: there is no request any more that could start it again.
    OneTimeSpot,
    /// Stops and starts as one on demand.
    PersistentSpot,
}

/// One instance.
#[derive(Debug, Clone)]
pub struct Instance {
    pub instance_id: String,
    pub reservation_id: String,
    /// Position within the launch.
    pub launch_index: usize,
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
    /// Which start of the instance is the present one, so that news about an earlier process changes nothing.
    pub boot: u64,
}

/// A reason in the form that DescribeInstances answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateReason {
    pub code: &'static str,
    pub message: String,
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

impl Market {
    /// EC2's name for what is not on demand.
    pub fn lifecycle(self) -> Option<&'static str> {
        match self {
            Self::OnDemand => None,
            Self::OneTimeSpot | Self::PersistentSpot => Some("spot"),
        }
    }
}

impl Instance {
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
    /// `IncorrectInstanceState`; `UnsupportedOperation` for a one-time spot instance.
    pub fn check_stop(&self) -> Result<(), Ec2Error> {
        match self.state {
            InstanceState::Pending | InstanceState::Running
                if self.spec.market == Market::OneTimeSpot =>
            {
                Err(Ec2Error::OneTimeSpot(self.instance_id.clone()))
            }
            InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => Ok(()),
            _ => Err(self.incorrect_state("stopped")),
        }
    }

    /// Checks that a reboot would be legal. The state does not change by it.
    ///
    /// # Errors
    /// `IncorrectInstanceState`.
    pub fn check_reboot(&self) -> Result<(), Ec2Error> {
        match self.state {
            InstanceState::Running | InstanceState::Pending => Ok(()),
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

    /// The process of `boot` runs.
    pub fn process_started(&mut self, boot: u64) {
        if self.boot == boot && self.state == InstanceState::Pending {
            self.state = InstanceState::Running;
        }
    }

    /// The main process of `boot` ended by itself, and what it left behind is being ended.
    pub fn process_ended(&mut self, boot: u64, how: &str, now: Millis) {
        if self.boot != boot
            || !matches!(self.state, InstanceState::Pending | InstanceState::Running)
        {
            return;
        }
        let cannot_stop = self.spec.market == Market::OneTimeSpot;
        self.state = if self.spec.terminate_on_shutdown || cannot_stop {
            InstanceState::ShuttingDown
        } else {
            InstanceState::Stopping
        };
        let message = format!("Instance initiated shutdown: {how}");
        self.set_reason("Client.InstanceInitiatedShutdown", &message, &message, now);
    }

    /// The process of `boot` could not be started.
    pub fn boot_failed(&mut self, boot: u64, why: &str, now: Millis) {
        if self.boot != boot || self.state == InstanceState::Terminated {
            return;
        }
        self.state = InstanceState::Terminated;
        self.set_reason(
            "Server.InternalError",
            &format!("Internal error on launch: {why}"),
            "Server.InternalError",
            now,
        );
    }

    /// Nothing of `boot` runs any more.
    pub fn process_gone(&mut self, boot: u64) {
        if self.boot != boot {
            return;
        }
        match self.state {
            InstanceState::ShuttingDown => self.state = InstanceState::Terminated,
            InstanceState::Stopping => self.state = InstanceState::Stopped,
            _ => {}
        }
    }

    /// Whether calls know of the instance at `now`.
    pub fn is_known(&self, now: Millis) -> bool {
        self.known_from <= now
    }

    /// Whether the instance takes room that others could have.
    pub fn takes_room(&self) -> bool {
        matches!(self.state, InstanceState::Pending | InstanceState::Running)
    }

    /// Whether the instance has left the lists at `now`.
    pub fn is_forgotten(&self, now: Millis) -> bool {
        self.state == InstanceState::Terminated
            && self
                .state_transition
                .as_ref()
                .is_some_and(|(_, since)| since + TERMINATED_STAYS_LISTED <= now)
    }

    fn set_reason(&mut self, code: &'static str, message: &str, transition: &str, now: Millis) {
        self.state_reason = Some(StateReason {
            code,
            message: format!("{code}: {message}"),
        });
        self.state_transition = Some((transition.to_owned(), now));
    }

    fn incorrect_state(&self, verb: &'static str) -> Ec2Error {
        Ec2Error::IncorrectInstanceState {
            id: self.instance_id.clone(),
            verb,
        }
    }
}
