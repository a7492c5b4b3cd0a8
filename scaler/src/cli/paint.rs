//! Colors on a terminal. Written by hand: with the crate anstyle, `NO_COLOR` and the color of each state would remain.

use proto::v1::InstanceState;

/// Colors text, or leaves it plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    colored: bool,
}

impl Paint {
    /// Colors output to a terminal, unless NO_COLOR is set: <https://no-color.org/>.
    pub fn for_terminal(is_terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            colored: is_terminal && !refused,
        }
    }

    #[cfg(test)]
    pub fn plain() -> Self {
        Self { colored: false }
    }

    #[cfg(test)]
    pub fn colored() -> Self {
        Self { colored: true }
    }

    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    pub fn state(self, state: InstanceState, text: &str) -> String {
        match state {
            InstanceState::Idle | InstanceState::Busy => self.with("32", text),
            InstanceState::Pending | InstanceState::Booting => self.with("36", text),
            InstanceState::Draining | InstanceState::Cordoned | InstanceState::Stopping => {
                self.warn(text)
            }
            InstanceState::Stopped | InstanceState::Unspecified => self.dim(text),
        }
    }

    /// Applies an SGR parameter of ECMA-48.
    fn with(self, parameter: &str, text: &str) -> String {
        if self.colored && !text.is_empty() {
            format!("\u{1b}[{parameter}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
