//! Commands to the tasks of instances.

use tokio::sync::watch;

/// What the task of an instance must do. A later command is more urgent, and a less urgent one has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskCommand {
    Run,
    Reboot,
    Stop,
    /// Stop without grace.
    Kill,
}

impl TaskCommand {
    /// Sends the command, unless a more urgent one was sent before.
    pub fn send(self, commands: &watch::Sender<Self>) {
        commands.send_if_modified(|current| {
            let is_more_urgent = self > *current;
            if is_more_urgent {
                *current = self;
            }
            is_more_urgent
        });
    }

    /// Completes when a command at least as urgent was sent.
    pub async fn received(self, commands: &mut watch::Receiver<Self>) {
        // The sender lives until the task removes it itself.
        let _ = commands.wait_for(|command| *command >= self).await;
    }
}
