//! Runs a program within limits on time and resident memory.

use std::future::Future;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, timeout_at};

use crate::{ClipLimits, VideoError};

/// How often the memory is looked at.
const MEMORY_INTERVAL: Duration = Duration::from_millis(50);
/// What is kept of a program's output or messages, in bytes.
const KEPT: usize = 64 << 10;

/// A program that runs. Dropping it kills the program.
#[derive(Debug)]
pub struct Running {
    pub child: Child,
    limits: ClipLimits,
    deadline: Instant,
}

impl Running {
    /// Starts a program with pipes for its output and its messages.
    pub fn start(mut command: Command, limits: ClipLimits) -> Result<Self, VideoError> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A terminal's Ctrl-C ends the caller, which ends the program.
            .process_group(0)
            .kill_on_drop(true);
        // Nothing that the user has set for FFmpeg, and no secret, reaches the program.
        command.env_clear();
        Ok(Self {
            child: command.spawn()?,
            limits,
            deadline: Instant::now() + limits.max_clip_time,
        })
    }

    /// Waits for the end. `reading` has to read the pipes meanwhile.
    pub async fn finish<T>(
        &mut self,
        reading: impl Future<Output = T>,
    ) -> Result<(ExitStatus, T), VideoError> {
        let within = self.deadline;
        let limits = self.limits;
        let process = self.child.id();
        let work = async { tokio::join!(self.child.wait(), reading) };
        tokio::select! {
            done = timeout_at(within, work) => {
                let (status, read) = done.map_err(|_| VideoError::TimedOut(limits.max_clip_time))?;
                Ok((status?, read))
            }
            () = exceeds_memory(process, limits.max_clip_memory) => {
                Err(VideoError::OutOfMemory(limits.max_clip_memory))
            }
        }
    }
}

/// Returns when the process has more resident memory than this.
async fn exceeds_memory(process: Option<u32>, limit: u64) {
    let mut ticks = interval(MEMORY_INTERVAL);
    loop {
        ticks.tick().await;
        if resident_bytes(process).is_some_and(|bytes| bytes > limit) {
            return;
        }
    }
}

fn resident_bytes(process: Option<u32>) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process?)).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// Reads to the end, and returns the first bytes as text.
pub async fn read_start(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else {
        return String::new();
    };
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        let room = KEPT.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
