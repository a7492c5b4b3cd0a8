//! A process that measures itself when it is told to: commands on its standard input, an answer for each on its output.
//! scripts/bench_lib/reference.py is one, and this program with `--subject` another.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, ensure};

/// It ends when this is dropped, since its input does.
#[derive(Debug)]
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Returns once the process says that it is ready.
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
        let greeting = process.answer()?;
        ensure!(greeting == "ready", "it says {greeting:?}");
        Ok(process)
    }

    /// Milliseconds, or for `gemm` billions of operations a second.
    pub fn measure(&mut self, command: &str) -> anyhow::Result<f64> {
        Ok(self.ask(command)?.parse()?)
    }

    pub fn ask(&mut self, command: &str) -> anyhow::Result<String> {
        let input = self.input.as_mut().context("its input is open")?;
        writeln!(input, "{command}")?;
        self.answer()
    }

    fn answer(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let length = self.output.read_line(&mut line)?;
        ensure!(length > 0, "a process ended; its error stands above");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        // Whatever it was doing, there is nobody left to tell.
        let _ = self.child.wait();
    }
}
