//! The lines that a function's process writes.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout};

/// AWS's limit on a log event, in bytes. A longer line is cut into several.
const MAX_LINE: usize = 256 << 10;

/// The most bytes from the beginning of an invocation's output, and from its end.
const MAX_FIRST: usize = 1 << 20;
const MAX_LAST: usize = 64 << 10;
/// What CloudWatch counts for an event besides its message, in bytes. It bounds the number of empty lines.
const EVENT_BYTES: usize = 26;

/// The lines of one invocation. Of more than fits, the middle is left out.
#[derive(Debug, Default)]
pub struct Lines {
    first: Vec<String>,
    first_bytes: usize,
    last: VecDeque<String>,
    last_bytes: usize,
    omitted: usize,
}

impl Lines {
    pub fn extend(&mut self, lines: Vec<String>) {
        for line in lines {
            self.push(line);
        }
    }

    fn push(&mut self, line: String) {
        let bytes = line.len() + EVENT_BYTES;
        if self.last.is_empty() && self.first_bytes + bytes <= MAX_FIRST {
            self.first_bytes += bytes;
            return self.first.push(line);
        }
        self.last_bytes += bytes;
        self.last.push_back(line);
        while self.last_bytes > MAX_LAST
            && self.last.len() > 1
            && let Some(oldest) = self.last.pop_front()
        {
            self.last_bytes -= oldest.len() + EVENT_BYTES;
            self.omitted += 1;
        }
    }

    /// Returns the lines, with one about those that are left out.
    pub fn into_lines(self) -> Vec<String> {
        let notice = (self.omitted > 0).then(|| {
            format!(
                "localcloud omitted {} lines here: it keeps the first {} KiB and the last {} KiB of an invocation's output",
                self.omitted,
                MAX_FIRST >> 10,
                MAX_LAST >> 10
            )
        });
        let mut lines = self.first;
        lines.extend(notice);
        lines.extend(self.last);
        lines
    }
}

/// Both pipes of a process.
#[derive(Debug)]
pub struct Output {
    /// Read already, and returned next.
    ready: Vec<String>,
    out: Pipe<ChildStdout>,
    err: Pipe<ChildStderr>,
}

#[derive(Debug)]
struct Pipe<R> {
    reader: Option<R>,
    rest: Vec<u8>,
}

impl Output {
    pub fn new(out: Option<ChildStdout>, err: Option<ChildStderr>) -> Self {
        let rest = Vec::new;
        Self {
            ready: Vec::new(),
            out: Pipe {
                reader: out,
                rest: rest(),
            },
            err: Pipe {
                reader: err,
                rest: rest(),
            },
        }
    }

    pub fn is_open(&self) -> bool {
        !self.ready.is_empty() || self.out.reader.is_some() || self.err.reader.is_some()
    }

    /// Has these lines returned once more.
    pub fn put_back(&mut self, lines: Vec<String>) {
        self.ready = lines;
    }

    /// Returns the lines that come next, possibly none.
    pub async fn read(&mut self) -> Vec<String> {
        if !self.ready.is_empty() {
            return std::mem::take(&mut self.ready);
        }
        tokio::select! {
            lines = self.out.read(), if self.out.reader.is_some() => lines,
            lines = self.err.read(), if self.err.reader.is_some() => lines,
            else => Vec::new(),
        }
    }

    /// Reads the lines that are there already.
    pub fn drain(&mut self, lines: &mut Lines) {
        while self.is_open()
            && let Some(more) = self.read().now_or_never()
        {
            lines.extend(more);
        }
    }
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    async fn read(&mut self) -> Vec<String> {
        let Some(reader) = &mut self.reader else {
            return Vec::new();
        };
        let mut buffer = [0; 8192];
        // Cancel-safe: bytes are either in the buffer or not read.
        let count: io::Result<usize> = reader.read(&mut buffer).await;
        let count = count.unwrap_or(0);
        self.rest.extend_from_slice(&buffer[..count]);
        let mut lines = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            lines.push(text(&line[..end]));
        }
        if count == 0 {
            self.reader = None;
        }
        if (count == 0 && !self.rest.is_empty()) || self.rest.len() >= MAX_LINE {
            lines.push(text(&std::mem::take(&mut self.rest)));
        }
        lines
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .trim_end_matches('\r')
        .to_owned()
}
