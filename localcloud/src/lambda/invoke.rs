//! One invocation: a place within the concurrency, an environment, and what is recorded of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use uuid::Uuid;

use super::code::CodeFolder;
use super::environment::{ExecutionEnvironment, FunctionError, Outcome};
use super::exchange::Invocation;
use super::function::Function;
use super::{Lambda, LambdaError};
use crate::clock::Millis;
use crate::config::Authentication;

/// How much of the log a synchronous call can ask for, in bytes.
const TAIL: usize = 4096;
/// How long to wait for a permit before the function is looked at again.
const PERMIT_WAIT: Duration = Duration::from_secs(1);

/// A place within the concurrency of the account and of the function.
#[derive(Debug)]
pub struct Permit {
    _account: OwnedSemaphorePermit,
    _reserved: Option<OwnedSemaphorePermit>,
}

/// What an invocation brought.
#[derive(Debug, Clone)]
pub struct Invoked {
    pub request_id: String,
    pub result: Result<Bytes, FunctionError>,
    /// The end of its log.
    pub tail: String,
}

/// What an invocation runs on.
struct InvocationContext {
    function: Function,
    code: Arc<CodeFolder>,
    idle: Option<ExecutionEnvironment>,
    /// Environments with credentials that are to be replaced.
    outdated: Vec<ExecutionEnvironment>,
}

impl Lambda {
    /// Takes a place at once.
    ///
    /// # Errors
    /// `TooManyRequests` when all are taken, which counts as a throttle.
    pub(super) fn try_permit(&self, name: &str) -> Result<Permit, LambdaError> {
        let reserved = self.reserved(name)?;
        let throttled = |_| {
            self.record(name, "Throttles", 1.0, "Count");
            LambdaError::TooManyRequests
        };
        let reserved = reserved.map(Semaphore::try_acquire_owned).transpose();
        let reserved = reserved.map_err(throttled)?;
        let account = Arc::clone(&self.permits).try_acquire_owned();
        Ok(Permit {
            _account: account.map_err(throttled)?,
            _reserved: reserved,
        })
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// When the function is gone.
    pub(super) async fn permit(&self, name: &str) -> Result<Permit, LambdaError> {
        loop {
            // A change of the reserved concurrency brings new permits: the old ones may never be free again.
            match timeout(PERMIT_WAIT, self.next_permit(name)).await {
                Ok(permit) => return permit,
                Err(_) => continue,
            }
        }
    }

    async fn next_permit(&self, name: &str) -> Result<Permit, LambdaError> {
        // No semaphore is ever closed.
        let closed = |_| LambdaError::Service("localcloud ends".to_owned());
        let reserved = match self.reserved(name)? {
            Some(reserved) => Some(reserved.acquire_owned().await.map_err(closed)?),
            None => None,
        };
        let account = Arc::clone(&self.permits).acquire_owned().await;
        Ok(Permit {
            _account: account.map_err(closed)?,
            _reserved: reserved,
        })
    }

    fn reserved(&self, name: &str) -> Result<Option<Arc<Semaphore>>, LambdaError> {
        let mut state = self.lock();
        let entry = state.entry(name, &self.region)?;
        Ok(entry
            .reserved
            .as_ref()
            .map(|(_, permits)| Arc::clone(permits)))
    }

    /// Runs an invocation to its end, also if the future is dropped.
    ///
    /// # Errors
    /// When the function is gone.
    pub(super) async fn run(
        self: &Arc<Self>,
        name: &str,
        payload: Bytes,
        request_id: String,
        permit: Permit,
    ) -> Result<Invoked, LambdaError> {
        let (lambda, name) = (Arc::clone(self), name.to_owned());
        let running = tokio::spawn(async move {
            let invoked = lambda.run_once(&name, payload, request_id).await;
            drop(permit);
            invoked
        });
        let ended = running.await;
        ended.unwrap_or_else(|_| Err(LambdaError::Service("the invocation was lost".to_owned())))
    }

    async fn run_once(
        &self,
        name: &str,
        payload: Bytes,
        request_id: String,
    ) -> Result<Invoked, LambdaError> {
        let InvocationContext {
            function,
            code,
            idle,
            outdated,
        } = self.enter(name)?;
        self.end_all(outdated).await;
        self.record(name, "Invocations", 1.0, "Count");
        let date = self.date();
        let (start_delay, crashes) = self.draw_faults();
        let environment = match idle {
            Some(environment) => Ok(environment),
            None => {
                tokio::time::sleep(start_delay).await;
                let (variables, renew_at) = self.variables(&function, code.path());
                let mut started = ExecutionEnvironment::start(
                    &function,
                    &code,
                    variables,
                    &self.watchdog,
                    &request_id,
                    &date,
                )
                .await;
                if let Ok(environment) = &mut started {
                    environment.renew_at = renew_at;
                }
                started
            }
        };
        let mut log = Vec::new();
        let (result, stream, kept, report) = match environment {
            Ok(mut environment) => {
                let stream = environment.log_stream.clone();
                if crashes {
                    environment.crash();
                }
                let limit = Duration::from_secs(function.timeout);
                let invocation = Invocation {
                    request_id: request_id.clone(),
                    payload,
                    deadline: self.clock.now() + function.timeout * 1000,
                    function_arn: function.arn.clone(),
                };
                let init = environment.init.take();
                let outcome = environment
                    .invoke(invocation, limit, function.memory_size)
                    .await;
                let report = report(&function, init, &outcome);
                log.extend(outcome.lines);
                let kept = if outcome.is_reusable {
                    Some(environment)
                } else {
                    environment.end(&self.watchdog).await;
                    None
                };
                (outcome.result, stream, kept, (outcome.duration, report))
            }
            Err(start) => {
                log.extend(start.lines);
                let stream = format!("{date}/[$LATEST]{}", Uuid::new_v4().simple());
                (
                    Err(start.error),
                    stream,
                    None,
                    (Duration::ZERO, String::new()),
                )
            }
        };
        let (duration, report) = report;
        if let Err(error) = &result {
            self.record(name, "Errors", 1.0, "Count");
            log.extend(error.log.clone());
        }
        self.record(
            name,
            "Duration",
            duration.as_secs_f64() * 1e3,
            "Milliseconds",
        );
        log.insert(0, format!("START RequestId: {request_id} Version: $LATEST"));
        log.push(format!("END RequestId: {request_id}"));
        log.push(format!("REPORT RequestId: {request_id}\t{report}"));
        for line in &log {
            self.logs.append(&function.log_group(), &stream, line);
        }
        self.leave(name, kept).await;
        Ok(Invoked {
            request_id,
            result,
            tail: tail(&log),
        })
    }

    /// Counts an invocation as running, and takes a frozen environment if there is one.
    fn enter(&self, name: &str) -> Result<InvocationContext, LambdaError> {
        let (mut ended, mut outdated) = (Vec::new(), Vec::new());
        let now = self.clock.now();
        let mut state = self.lock();
        if state.is_closed {
            return Err(LambdaError::Service("localcloud ends".to_owned()));
        }
        state.entry(name, &self.region)?;
        state.running += 1;
        let all = state.running;
        let entry = state.entry(name, &self.region)?;
        entry.running += 1;
        let context = InvocationContext {
            function: entry.function.clone(),
            code: Arc::clone(&entry.code),
            idle: take_usable(&mut entry.idle, now, &mut ended, &mut outdated),
            outdated,
        };
        let running = entry.running;
        drop(state);
        for mut environment in ended {
            environment.discard(&self.watchdog);
        }
        let dimensions = [("FunctionName", name)];
        let namespace = "AWS/Lambda";
        self.metrics.record(
            namespace,
            "ConcurrentExecutions",
            &dimensions,
            running as f64,
            "Count",
        );
        self.metrics
            .record(namespace, "ConcurrentExecutions", &[], all as f64, "Count");
        Ok(context)
    }

    /// Counts an invocation as ended, and keeps its environment if the function is still the same.
    async fn leave(&self, name: &str, kept: Option<ExecutionEnvironment>) {
        let rejected = {
            let mut state = self.lock();
            state.running -= 1;
            let is_closed = state.is_closed;
            match (state.functions.get_mut(name), kept) {
                (Some(entry), kept) => {
                    entry.running = entry.running.saturating_sub(1);
                    match kept {
                        Some(it) if it.revision == entry.function.revision && !is_closed => {
                            entry.idle.push(it);
                            None
                        }
                        other => other,
                    }
                }
                (None, kept) => kept,
            }
        };
        if let Some(environment) = rejected {
            environment.end(&self.watchdog).await;
        }
    }

    /// Returns the environment variables of a function's process, as Lambda sets them, and when the credentials in them are
    /// to be replaced.
    fn variables(
        &self,
        function: &Function,
        code: &Path,
    ) -> (BTreeMap<String, String>, Option<Millis>) {
        let mut variables = function.environment.variables.clone();
        let root = code.to_string_lossy().into_owned();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut set = |name: &str, value: &str| variables.insert(name.to_owned(), value.to_owned());
        set("_HANDLER", &function.handler);
        set("LAMBDA_TASK_ROOT", &root);
        set("LAMBDA_RUNTIME_DIR", &root);
        set("AWS_LAMBDA_FUNCTION_NAME", &function.name);
        set("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST");
        set(
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            &function.memory_size.to_string(),
        );
        set("AWS_LAMBDA_LOG_GROUP_NAME", &function.log_group());
        set("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand");
        set(
            "AWS_EXECUTION_ENV",
            &format!("AWS_Lambda_{}", function.runtime),
        );
        set("AWS_REGION", &self.region);
        set("AWS_DEFAULT_REGION", &self.region);
        set("AWS_ENDPOINT_URL", &self.endpoint);
        set("AWS_EC2_METADATA_DISABLED", "true");
        set("NO_PROXY", "127.0.0.1,localhost");
        set("LANG", "en_US.UTF-8");
        set("TZ", ":UTC");
        set(
            "PATH",
            &format!("/usr/local/bin:/usr/bin:/bin:/opt/bin:{path}"),
        );
        set("LD_LIBRARY_PATH", &format!("{root}:{root}/lib:/opt/lib"));
        let mut renew_at = None;
        // A deleted role has no rights. Without this, its functions would get the key of the account.
        if let Some(role) = self.iam.role_or_deleted(&function.role) {
            // The environments of a function share a session of its name, as on AWS.
            let credentials = self.iam.credentials(&role, &function.name);
            set("AWS_ACCESS_KEY_ID", &credentials.access_key);
            set("AWS_SECRET_ACCESS_KEY", &credentials.secret_key);
            set("AWS_SESSION_TOKEN", &credentials.token);
            renew_at = Some(credentials.renew_at());
        } else if let Authentication::Keys(account) = self.iam.authentication() {
            set("AWS_ACCESS_KEY_ID", &account.access_key);
            set("AWS_SECRET_ACCESS_KEY", &account.secret_key);
        } else {
            set("AWS_ACCESS_KEY_ID", "test");
            set("AWS_SECRET_ACCESS_KEY", "test");
        }
        (variables, renew_at)
    }

    /// Records a value of the function and of all functions.
    pub(super) fn record(&self, name: &str, metric: &str, value: f64, unit: &str) {
        let namespace = "AWS/Lambda";
        let dimensions = [("FunctionName", name)];
        self.metrics
            .record(namespace, metric, &dimensions, value, unit);
        self.metrics.record(namespace, metric, &[], value, unit);
    }

    fn date(&self) -> String {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(self.clock.now());
        let format = format_description!("[year]/[month]/[day]");
        now.format(format).unwrap_or_default()
    }
}

/// Takes the environment that was used last. Those whose processes were killed while they were frozen are put aside, and so
/// are those with credentials that are to be replaced.
fn take_usable(
    idle: &mut Vec<ExecutionEnvironment>,
    now: Millis,
    ended: &mut Vec<ExecutionEnvironment>,
    outdated: &mut Vec<ExecutionEnvironment>,
) -> Option<ExecutionEnvironment> {
    while let Some(mut environment) = idle.pop() {
        if !environment.is_alive() {
            ended.push(environment);
        } else if environment.renew_at.is_some_and(|at| at <= now) {
            outdated.push(environment);
        } else {
            return Some(environment);
        }
    }
    None
}

/// Returns the line that Lambda logs of each invocation, without its beginning.
fn report(function: &Function, init: Option<Duration>, outcome: &Outcome) -> String {
    let milliseconds = outcome.duration.as_secs_f64() * 1e3;
    let memory = outcome.memory.div_ceil(1 << 20).max(1);
    let mut report = format!(
        "Duration: {milliseconds:.2} ms\tBilled Duration: {:.0} ms\tMemory Size: {} MB\tMax Memory Used: {memory} MB\t",
        milliseconds.ceil(),
        function.memory_size,
    );
    if let Some(init) = init {
        report += &format!("Init Duration: {:.2} ms\t", init.as_secs_f64() * 1e3);
    }
    report
}

/// Returns the last bytes of a log, from the beginning of a character on.
fn tail(lines: &[String]) -> String {
    let text = lines.join("\n") + "\n";
    let mut begin = text.len().saturating_sub(TAIL);
    while !text.is_char_boundary(begin) {
        begin += 1;
    }
    text[begin..].to_owned()
}
