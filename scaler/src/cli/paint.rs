use proto::v1::InstanceState;

/// Colours text, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    coloured: bool,
}

impl Paint {
    /// Colours only what people see at once, unless they ask not to: <https://no-color.org/>.
    pub fn for_terminal(is_terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            coloured: is_terminal && !refused,
        }
    }

    #[cfg(test)]
    pub fn plain() -> Self {
        Self { coloured: false }
    }

    #[cfg(test)]
    pub fn coloured() -> Self {
        Self { coloured: true }
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

    /// By an SGR parameter of ECMA-48.
    fn with(self, parameter: &str, text: &str) -> String {
        if self.coloured && !text.is_empty() {
            format!("\u{1b}[{parameter}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}
