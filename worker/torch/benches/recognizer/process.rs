//! A child process that measures itself: it reads commands on standard input and replies to each on standard output.
//! It is scripts/bench_lib/reference.py, or this program with `--subject`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};

/// The process ends when this is dropped and closes its input.
#[derive(Debug)]
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts the process, and returns when it is ready.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("its output is a pipe")?;
        let mut process = Self {
            child,
            input,
            output: BufReader::new(output),
        };
        let greeting = process.reply()?;
        ensure!(
            greeting == "ready",
            "the process is not ready: {greeting:?}"
        );
        Ok(process)
    }

    /// Returns milliseconds, or for `gemm` billions of operations a second.
    pub fn measure(&mut self, command: &str) -> anyhow::Result<f64> {
        Ok(self.ask(command)?.parse()?)
    }

    pub fn ask(&mut self, command: &str) -> anyhow::Result<String> {
        let input = self.input.as_mut().context("its input is open")?;
        writeln!(input, "{command}")?;
        self.reply()
    }

    fn reply(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let length = self.output.read_line(&mut line)?;
        ensure!(length > 0, "the process ended; see its error above");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        // An error has no consequence here.
        let _ = self.child.wait();
    }
}
