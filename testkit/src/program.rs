//! Programs of this build, as processes.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::{TIMEOUT, cpu_seconds};

/// A running program. It is killed when it is dropped.
#[derive(Debug)]
pub struct Program {
    pub process: Child,
}

impl Program {
    /// Starts a program without input, with the keys that a [`LocalCloud`](crate::LocalCloud) accepts.
    pub fn start(command: &mut Command) -> Self {
        let name = command.as_std().get_program().to_owned();
        let process = command
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let process = process.unwrap_or_else(|error| panic!("{}: {error}", name.display()));
        Self { process }
    }

    /// Returns the process id of a program that has not ended.
    pub fn id(&self) -> u32 {
        self.process.id().unwrap()
    }

    /// Returns the processor time that it has used, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.id())
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let id = self.id().to_string();
        let sent = std::process::Command::new("kill").arg(id).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it has ended; panics after [`TIMEOUT`].
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(TIMEOUT, self.process.wait()).await;
        ended.expect("the program ends").unwrap()
    }

    /// Sends SIGTERM and waits.
    pub async fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.ended().await
    }

    /// Sends SIGKILL and waits.
    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }
}

/// Returns the folder of the build's programs, which is above that of the test.
pub fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().to_owned()
}

/// Returns the file of a program of this build. A test of another package does not build it.
pub fn program(name: &str) -> PathBuf {
    let file = programs().join(name);
    assert!(
        file.exists(),
        "{} is missing: cargo build --release --workspace --bin {name}",
        file.display()
    );
    file
}
