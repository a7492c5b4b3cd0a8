//! Kills instances and functions when localcloud itself is killed.
//!
//! A shell in a process group of its own reads the instances' process groups from a pipe that only localcloud writes to.
//! When localcloud ends, the pipe closes, and the shell kills every group on its list. An instance waits behind a gate until
//! its group is on the list, so none is missed.
//!
//! The kernel's parent-death signal would reach only the direct child, exists only on Linux and needs unsafe code.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::unistd::Pid;

/// The list of process groups that must not outlive localcloud.
#[derive(Debug)]
pub struct Watchdog {
    shell: Mutex<Child>,
    list: Mutex<Option<ChildStdin>>,
}

/// Lines `+ GROUP` and `- GROUP` keep the list; the end of input ends the groups on it.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
cd /
groups=' '
while read -r change group; do
    case $change in
        +) groups="$groups$group " ;;
        -) case $groups in
               *" $group "*) groups="${groups%% $group *} ${groups#* $group }" ;;
           esac ;;
    esac
done
for group in $groups; do
    kill -s KILL -- "-$group"
done
"#;

impl Watchdog {
    /// Starts the shell.
    ///
    /// # Errors
    /// When `sh` cannot be started.
    pub fn start() -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let list = shell.stdin.take();
        Ok(Self {
            shell: Mutex::new(shell),
            list: Mutex::new(list),
        })
    }

    /// Adds a process group to the list.
    ///
    /// # Errors
    /// When the shell is gone. The group must not run then.
    pub fn add(&self, group: Pid) -> io::Result<()> {
        self.write(format!("+ {group}\n"))
    }

    /// Removes a process group without processes from the list: the system may reuse its number.
    pub fn remove(&self, group: Pid) {
        // Without the shell there is no list.
        let _ = self.write(format!("- {group}\n"));
    }

    fn write(&self, line: String) -> io::Result<()> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let list = list.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        list.write_all(line.as_bytes())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Closing the pipe makes the shell kill the groups and end.
        drop(
            self.list
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let _ = self
            .shell
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .wait();
    }
}
