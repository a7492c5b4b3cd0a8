//! The process group of an instance or a function, from its start to the end of its last process.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::time::{Instant, sleep};

use crate::watchdog::Watchdog;

/// The command of an instance.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// Program and arguments; not empty.
    pub command: Vec<String>,
    /// Added to the environment of localcloud.
    pub env: BTreeMap<String, String>,
    /// Standard output and standard error are appended to this file.
    pub console_log: PathBuf,
}

/// A process group whose leader is the image's command.
#[derive(Debug)]
pub struct ProcessGroup {
    leader: Child,
    group: Pid,
}

/// Delays the command until its group is on the watchdog's list. If localcloud ends before, the gate reads the end of its
/// input, and the command never runs.
const GATE: &str = r#"read -r _ && exec "$@" </dev/null"#;
/// The interval for polling a group whose leader ended before its other processes.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The time after SIGKILL when a group counts as gone. Zombies that are not reaped, or a process that hangs in the kernel,
/// may remain.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

impl ProcessGroup {
    /// Starts the command in a process group of its own.
    ///
    /// # Errors
    /// When the process, its log or the watchdog fails. A command that does not exist ends with exit code 127 instead.
    pub async fn start(spec: &ProcessSpec, watchdog: &Watchdog) -> io::Result<Self> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&spec.console_log)?;
        let mut command = Self::gated(&spec.command);
        command
            // The account's key may do everything.
            .env_remove("LOCALCLOUD_CREDENTIALS")
            .envs(&spec.env)
            .stdout(log.try_clone()?)
            .stderr(log);
        Self::spawn(command, watchdog).await
    }

    /// Returns a command that [`Self::spawn`] can start.
    pub fn gated(command: &[String]) -> Command {
        let mut gated = Command::new("sh");
        gated.args(["-c", GATE, "sh"]).args(command);
        gated
    }

    /// Starts a gated command in a process group of its own.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn spawn(mut gated: Command, watchdog: &Watchdog) -> io::Result<Self> {
        let mut leader = gated.stdin(Stdio::piped()).process_group(0).spawn()?;
        let leader_id = leader
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .ok_or(io::ErrorKind::NotFound)?;
        let group = Pid::from_raw(leader_id);
        let gate = leader.stdin.take();
        let process = Self { leader, group };
        watchdog.add(group)?;
        if let Some(mut gate) = gate {
            gate.write_all(b"\n").await?;
        }
        Ok(process)
    }

    /// Returns the number of the group, which is its leader's process id.
    pub fn id(&self) -> Pid {
        self.group
    }

    /// Returns the pipes of the leader's output, if it was started with pipes.
    pub fn take_output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.leader.stdout.take(), self.leader.stderr.take())
    }

    /// Returns whether the leader has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.leader.try_wait(), Ok(None))
    }

    /// Waits for the leader to end.
    pub async fn leader_ended(&mut self) -> io::Result<ExitStatus> {
        self.leader.wait().await
    }

    /// Ends the whole group: SIGTERM first, and SIGKILL after `grace` or when `hurry` completes. Returns when it is gone.
    pub async fn end(&mut self, grace: Duration, hurry: impl Future<Output = ()>) {
        if !grace.is_zero() {
            self.signal(Signal::SIGTERM);
            let ended = tokio::select! {
                () = self.gone() => true,
                () = sleep(grace) => false,
                () = hurry => false,
            };
            if ended {
                return;
            }
        }
        let deadline = Instant::now() + KILL_TIMEOUT;
        self.signal(Signal::SIGKILL);
        let _ = tokio::time::timeout_at(deadline, self.gone()).await;
    }

    async fn gone(&mut self) {
        // Fails only for a child that was waited for already.
        let _ = self.leader.wait().await;
        while has_living_members(self.group) {
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Sends a signal to the whole group.
    pub fn signal(&self, signal: Signal) {
        // Fails only for a group that is gone.
        let _ = killpg(self.group, signal);
    }
}

/// Describes how a process ended.
pub fn describe_exit(status: io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                Ok(signal) => format!("killed by {signal}"),
                Err(_) => format!("killed by signal {signal}"),
            },
            (None, None) => "ended".to_owned(),
        },
        Err(error) => format!("lost: {error}"),
    }
}

/// Returns whether any process of the group is alive.
///
/// Zombies do not count: in a container whose first process reaps none, they stay forever.
fn has_living_members(group: Pid) -> bool {
    if killpg(group, None).is_err() {
        return false;
    }
    match std::fs::read_dir("/proc") {
        Ok(processes) => processes
            .flatten()
            .any(|process| is_living_member(&process.path(), group)),
        // Without /proc, zombies count as well.
        Err(_) => true,
    }
}

/// Returns the resident memory of all processes of the group, in bytes.
pub fn resident_memory(group: Pid) -> u64 {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let members = processes.filter(|process| is_living_member(&process.path(), group));
    members
        .filter_map(|process| {
            let status = std::fs::read_to_string(process.path().join("status")).ok()?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })
        .sum::<u64>()
        << 10
}

fn is_living_member(process: &Path, group: Pid) -> bool {
    let Ok(stat) = std::fs::read_to_string(process.join("stat")) else {
        return false;
    };
    // The command's name, in parentheses, may contain any character. State, parent and group follow the last parenthesis.
    let Some((_, after_name)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = after_name.split_whitespace();
    let state = fields.next();
    let group_of_process = fields.nth(1).and_then(|field| field.parse().ok());
    group_of_process == Some(group.as_raw()) && !matches!(state, Some("Z" | "X"))
}
