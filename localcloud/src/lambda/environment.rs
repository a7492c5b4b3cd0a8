//! An execution environment: one process of a function, which has one invocation at a time and is frozen between them.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use uuid::Uuid;

use super::code::CodeFolder;
use super::exchange::{Answer, Invocation, RuntimeApi};
use super::function::Function;
use super::output::{Lines, Output};
use crate::clock::Millis;
use crate::process::{ProcessGroup, describe_exit, resident_memory};
use crate::watchdog::Watchdog;

/// AWS's limit on the time until a runtime asks for its first event.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the memory of a process is looked at.
const MEMORY_INTERVAL: Duration = Duration::from_millis(100);
/// How long a runtime may work on after its response, before it asks for the next event.
const AFTER_RESPONSE: Duration = Duration::from_secs(2);
const MEBIBYTE: u64 = 1 << 20;

#[derive(Debug)]
pub struct ExecutionEnvironment {
    pub log_stream: String,
    /// TMPDIR of the process.
    _temporary: TempDir,
    _code: Arc<CodeFolder>,
    pub revision: u64,
    /// When its credentials are to be replaced, which takes another environment. `None` for those of the account.
    pub renew_at: Option<Millis>,
    /// When it had its last invocation.
    pub used: Instant,
    api: RuntimeApi,
    process: ProcessGroup,
    output: Output,
    /// Until the first invocation, the time that initialization took.
    pub init: Option<Duration>,
    /// The most resident memory so far, in bytes.
    most_memory: u64,
}

/// How an invocation ended.
#[derive(Debug)]
pub struct Outcome {
    pub result: Result<Bytes, FunctionError>,
    /// Whether the environment can have another invocation.
    pub is_reusable: bool,
    pub duration: Duration,
    /// The most resident memory of the environment so far, in bytes.
    pub memory: u64,
    /// What the function wrote, by lines, within the bounds of `Lines`.
    pub lines: Vec<String>,
}

/// The payload that stands for an error of the function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    pub payload: Bytes,
    /// One line for the log, unless the runtime reported the error itself.
    pub log: Option<String>,
}

/// Why a runtime did not ask for an event.
#[derive(Debug)]
pub struct StartError {
    pub error: FunctionError,
    pub lines: Vec<String>,
}

impl FunctionError {
    fn of_runtime(payload: Bytes) -> Self {
        Self { payload, log: None }
    }

    /// An error that the runtime cannot report, since it is gone.
    pub fn of_platform(request_id: &str, kind: &str, message: &str) -> Self {
        let payload = json!({
            "errorType": kind,
            "errorMessage": format!("RequestId: {request_id} Error: {message}"),
        });
        Self {
            payload: payload.to_string().into(),
            log: Some(format!("RequestId: {request_id} Error: {message}")),
        }
    }
}

impl ExecutionEnvironment {
    /// Starts a process of the function and waits until its runtime asks for an event.
    pub async fn start(
        function: &Function,
        code: &Arc<CodeFolder>,
        variables: BTreeMap<String, String>,
        watchdog: &Watchdog,
        request_id: &str,
        date: &str,
    ) -> Result<Self, StartError> {
        let started = Instant::now();
        let failed = |message: String| StartError {
            error: FunctionError::of_platform(request_id, "Runtime.InvalidEntrypoint", &message),
            lines: Vec::new(),
        };
        let id = Uuid::new_v4().simple().to_string();
        let temporary = tempfile::Builder::new().prefix("lambda-").tempdir();
        let temporary = temporary.map_err(|error| failed(error.to_string()))?;
        let api = RuntimeApi::open().await;
        let api = api.map_err(|error| failed(error.to_string()))?;
        let program = code.path().join("bootstrap").to_string_lossy().into_owned();
        let mut command = ProcessGroup::gated(&[program]);
        command
            .env_clear()
            .envs(variables)
            .env("AWS_LAMBDA_RUNTIME_API", api.address.to_string())
            .env(
                "AWS_LAMBDA_LOG_STREAM_NAME",
                format!("{date}/[$LATEST]{id}"),
            )
            .env("TMPDIR", temporary.path())
            .current_dir(code.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let process = ProcessGroup::spawn(command, watchdog).await;
        let mut process = process.map_err(|error| failed(error.to_string()))?;
        let (out, err) = process.take_output();
        let mut environment = Self {
            log_stream: format!("{date}/[$LATEST]{id}"),
            _temporary: temporary,
            _code: Arc::clone(code),
            revision: function.revision,
            renew_at: None,
            used: started,
            api,
            process,
            output: Output::new(out, err),
            init: None,
            most_memory: 0,
        };
        match environment.ready(started + INIT_TIMEOUT, request_id).await {
            Ok(lines) => {
                environment.init = Some(started.elapsed());
                // They belong to the first invocation.
                environment.pending_lines(lines);
                Ok(environment)
            }
            Err(error) => {
                environment.end(watchdog).await;
                Err(error)
            }
        }
    }

    fn pending_lines(&mut self, lines: Vec<String>) {
        self.output.put_back(lines);
    }

    /// Returns whether its process still waits. A frozen one may have been killed.
    pub fn is_alive(&mut self) -> bool {
        !self.process.has_ended()
    }

    /// Kills the process, as a fault.
    pub fn crash(&self) {
        self.process.signal(Signal::SIGKILL);
    }

    async fn ready(
        &mut self,
        deadline: Instant,
        request_id: &str,
    ) -> Result<Vec<String>, StartError> {
        let mut lines = Lines::default();
        let platform =
            |kind: &str, message: &str| FunctionError::of_platform(request_id, kind, message);
        let error = loop {
            let is_open = self.output.is_open();
            tokio::select! {
                more = self.output.read(), if is_open => lines.extend(more),
                waits = self.api.waits() => match waits {
                    Ok(()) => return Ok(lines.into_lines()),
                    Err(error) => break FunctionError::of_runtime(error),
                },
                status = self.process.leader_ended() => {
                    let message = format!("Runtime exited without providing a reason: {}", describe_exit(status));
                    break platform("Runtime.ExitError", &message);
                }
                () = sleep_until(deadline) => {
                    break platform("Sandbox.Timedout", "the runtime did not ask for an event within 10 seconds");
                }
            }
        };
        self.output.drain(&mut lines);
        let lines = lines.into_lines();
        Err(StartError { error, lines })
    }

    /// Runs an invocation to its end, at most for `limit`.
    pub async fn invoke(
        &mut self,
        invocation: Invocation,
        limit: Duration,
        memory_mb: u64,
    ) -> Outcome {
        let started = Instant::now();
        let request_id = invocation.request_id.clone();
        self.process.signal(Signal::SIGCONT);
        self.api.hand_over(invocation);
        let mut lines = Lines::default();
        let mut memory = interval(MEMORY_INTERVAL);
        memory.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let platform =
            |kind: &str, message: &str| FunctionError::of_platform(&request_id, kind, message);
        let (result, mut is_reusable) = loop {
            let is_open = self.output.is_open();
            tokio::select! {
                more = self.output.read(), if is_open => lines.extend(more),
                answer = self.api.answered() => break match answer {
                    Answer::Response(payload) => (Ok(payload), true),
                    Answer::Error(error) => (Err(FunctionError::of_runtime(error)), true),
                    Answer::InitError(error) => (Err(FunctionError::of_runtime(error)), false),
                },
                status = self.process.leader_ended() => {
                    let ended = describe_exit(status).replace("exit code", "exit status");
                    let message = format!("Runtime exited with error: {ended}");
                    break (Err(platform("Runtime.ExitError", &message)), false);
                }
                () = sleep_until(started + limit) => {
                    let message = format!("Task timed out after {:.2} seconds", limit.as_secs_f64());
                    break (Err(platform("Sandbox.Timedout", &message)), false);
                }
                _ = memory.tick() => {
                    if self.measure_memory() > memory_mb * MEBIBYTE {
                        let message = "Runtime exited with error: signal: killed";
                        break (Err(platform("Runtime.ExitError", message)), false);
                    }
                }
            }
        };
        let duration = started.elapsed();
        if is_reusable {
            is_reusable = self.settle(&mut lines).await;
            self.measure_memory();
            self.process.signal(Signal::SIGSTOP);
        }
        self.output.drain(&mut lines);
        self.used = Instant::now();
        Outcome {
            result,
            is_reusable,
            duration,
            memory: self.most_memory,
            lines: lines.into_lines(),
        }
    }

    /// Waits until the runtime asks for the next event. False if it is gone or takes too long.
    async fn settle(&mut self, lines: &mut Lines) -> bool {
        let settled = async {
            loop {
                let is_open = self.output.is_open();
                tokio::select! {
                    more = self.output.read(), if is_open => lines.extend(more),
                    waits = self.api.waits() => return waits.is_ok(),
                    _ = self.process.leader_ended() => return false,
                }
            }
        };
        timeout(AFTER_RESPONSE, settled).await.unwrap_or(false)
    }

    fn measure_memory(&mut self) -> u64 {
        let resident = resident_memory(self.process.id());
        self.most_memory = self.most_memory.max(resident);
        resident
    }

    /// Forgets a process group whose leader has ended, and kills what is left of it.
    pub fn discard(&mut self, watchdog: &Watchdog) {
        self.process.signal(Signal::SIGKILL);
        watchdog.remove(self.process.id());
    }

    /// Kills the process group and waits until it is gone.
    pub async fn end(mut self, watchdog: &Watchdog) {
        self.process
            .end(Duration::ZERO, std::future::pending())
            .await;
        watchdog.remove(self.process.id());
    }
}
