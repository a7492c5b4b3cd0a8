//! The lines that a function's process writes.

use std::io;

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStderr, ChildStdout};

/// AWS's limit on a log event, in bytes. A longer line is cut into several.
const MAX_LINE: usize = 256 << 10;

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

    /// Returns the lines that are there already.
    pub fn drain(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while self.is_open()
            && let Some(more) = self.read().now_or_never()
        {
            lines.extend(more);
        }
        lines
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
