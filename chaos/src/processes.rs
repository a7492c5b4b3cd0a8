//! Processes of the stack, found by their programs and environments, and signals to them.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub const TERM: Signal = Signal::SIGTERM;
pub const KILL: Signal = Signal::SIGKILL;
pub const STOP: Signal = Signal::SIGSTOP;
pub const CONTINUE: Signal = Signal::SIGCONT;

/// A process that ran when it was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    id: i32,
    /// Since the machine's boot, in clock ticks: with the id it names one process for good.
    started: Option<u64>,
}

impl Process {
    #[must_use]
    pub fn new(id: u32) -> Self {
        let id = i32::try_from(id).unwrap_or(i32::MAX);
        Self {
            id,
            started: start_of(id),
        }
    }

    #[must_use]
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Returns whether it still runs. A zombie does not.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.started.is_some() && start_of(self.id) == self.started
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&self, signal: Signal) {
        if self.runs() {
            let _ = kill(Pid::from_raw(self.id), signal);
        }
    }

    /// Returns a variable of its environment at its start.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        let environment = fs::read(self.folder().join("environ")).ok()?;
        let texts = environment.split(|byte| *byte == 0);
        let texts = texts.filter_map(|text| std::str::from_utf8(text).ok());
        let mut values = texts.filter_map(|text| text.strip_prefix(name)?.strip_prefix('='));
        values.next().map(str::to_owned)
    }

    /// Returns the resident memory in bytes, the threads, and the open file descriptors.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        let status = fs::read_to_string(self.folder().join("status")).ok()?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Usage {
            resident_bytes: number("VmRSS:")? * 1024,
            threads: number("Threads:")?,
            descriptors: fs::read_dir(self.folder().join("fd")).ok()?.count() as u64,
        })
    }

    fn folder(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.id))
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub resident_bytes: u64,
    pub threads: u64,
    pub descriptors: u64,
}

/// Returns the processes of these programs (names of files) whose environment has `setting` (`NAME=VALUE`), oldest first.
#[must_use]
pub fn running(programs: &[&str], setting: &str) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_one = |id: &u32| {
        let program = fs::read_link(format!("/proc/{id}/exe")).ok();
        let name = program.as_deref().and_then(name_of);
        name.is_some_and(|name| programs.contains(&name)) && has(*id, setting)
    };
    let mut processes: Vec<_> = ids
        .filter(is_one)
        .map(Process::new)
        .filter(Process::runs)
        .collect();
    processes.sort_by_key(|process| (process.started, process.id));
    processes
}

/// Returns the name of a program's file. Linux marks a program whose file was replaced since it started.
fn name_of(program: &Path) -> Option<&str> {
    let name = program.file_name()?.to_str()?;
    Some(name.strip_suffix(" (deleted)").unwrap_or(name))
}

fn has(id: u32, setting: &str) -> bool {
    let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
    environment
        .split(|byte| *byte == 0)
        .any(|text| text == setting.as_bytes())
}

/// Returns when a process started, or `None` if it has ended.
fn start_of(id: i32) -> Option<u64> {
    let line = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may have spaces and parentheses.
    let fields: Vec<_> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let is_over = matches!(*fields.first()?, "Z" | "X");
    let started = fields.get(19)?.parse().ok();
    started.filter(|_| !is_over)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_program_keeps_its_name_when_its_file_is_replaced() {
        for link in ["/bin/worker", "/bin/worker (deleted)"] {
            assert_eq!(name_of(Path::new(link)), Some("worker"));
        }
    }

    #[test]
    fn a_process_is_found_by_its_program_and_a_setting_until_it_ends() {
        let setting = format!("CHAOS_TEST=test-{}", std::process::id());
        let (name, value) = setting.split_once('=').unwrap();
        let mut child = Command::new("sleep")
            .arg("60")
            .env(name, value)
            .spawn()
            .unwrap();
        let started = std::time::Instant::now();
        let found = loop {
            // The child is this program until it executes its own.
            let found = running(&["sleep", "coreutils"], &setting);
            if !found.is_empty() || started.elapsed().as_secs() > 60 {
                break found;
            }
            std::thread::yield_now();
        };
        assert_eq!(found, [Process::new(child.id())]);
        assert_eq!(found[0].variable(name).as_deref(), Some(value));
        assert!(found[0].usage().is_some_and(|usage| usage.threads == 1));
        found[0].signal(KILL);
        child.wait().unwrap();
        assert!(!found[0].runs());
        assert!(running(&["sleep", "coreutils"], &setting).is_empty());
    }
}
