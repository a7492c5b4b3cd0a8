//! Lambda: functions as processes behind the Runtime API.
//!
//! | module | does |
//! |---|---|
//! | `api` | the calls: paths and JSON to the service's state, and back |
//! | `accesses` | what the policies of a role must allow for a call |
//! | `functions`, `attachments` | the calls about functions, and about what is attached to them |
//! | `function`, `code` | a function's configuration; its unpacked zip |
//! | `invoke` | one invocation: concurrency, environments, metrics and log lines |
//! | `environment`, `exchange`, `output` | a function's process, the Runtime API that it talks to, what it writes |
//! | `events` | asynchronous invocations: retries and dead letters |
//! | `event_source_mappings` | SQS queues that start functions |
//! | `urls` | functions behind URLs of their own |
//! | `permissions` | which services and callers may invoke a function |

mod accesses;
mod api;
mod attachments;
mod code;
mod environment;
mod error;
mod event_source_mappings;
mod events;
mod exchange;
mod function;
mod functions;
mod invoke;
mod output;
mod permissions;
mod urls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, interval};

pub use accesses::LambdaCall;
pub use api::{ACTIONS, action_of};
#[cfg(fuzzing)]
pub use code::unpack as unpack_code;
pub use error::LambdaError;
pub use urls::URL_PATH;

use crate::clock::Clock;
use crate::cloudwatch::Metrics;
use crate::config::LambdaConfig;
use crate::faults::{FaultRng, LambdaFaults};
use crate::iam::Iam;
use crate::links::ReadObjects;
use crate::logs::Logs;
use crate::sqs::Sqs;
use crate::watchdog::Watchdog;
use code::CodeFolder;
use environment::ExecutionEnvironment;
use event_source_mappings::EventSourceMapping;
use events::EventSettings;
use function::Function;
use permissions::Permission;
use urls::FunctionUrl;

/// The Lambda service of one account.
#[derive(Debug)]
pub struct Lambda {
    clock: Clock,
    region: String,
    folder: PathBuf,
    /// Where functions reach localcloud.
    endpoint: String,
    config: LambdaConfig,
    iam: Arc<Iam>,
    sqs: Arc<Sqs>,
    objects: std::sync::OnceLock<Box<dyn ReadObjects>>,
    logs: Arc<Logs>,
    metrics: Arc<Metrics>,
    watchdog: Watchdog,
    /// The account's concurrency.
    permits: Arc<Semaphore>,
    /// Asynchronous events that are not done, and the bytes of their payloads.
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    revisions: AtomicU64,
    state: Mutex<LambdaState>,
    faults: Mutex<(LambdaFaults, FaultRng)>,
}

#[derive(Debug, Default)]
struct LambdaState {
    functions: BTreeMap<String, Entry>,
    /// Event source mappings, by UUID.
    event_source_mappings: BTreeMap<String, EventSourceMapping>,
    is_closed: bool,
    /// Invocations that run, of all functions.
    running: usize,
}

#[derive(Debug)]
struct Entry {
    function: Function,
    code: Arc<CodeFolder>,
    /// Frozen environments, the one used last at the end.
    idle: Vec<ExecutionEnvironment>,
    running: usize,
    /// Reserved concurrency, and its permits.
    reserved: Option<(usize, Arc<Semaphore>)>,
    events: EventSettings,
    policy: Vec<Permission>,
    url: Option<FunctionUrl>,
}

/// What the service needs of localcloud.
#[derive(Debug)]
pub struct LambdaDependencies {
    pub clock: Clock,
    pub region: String,
    pub address: SocketAddr,
    pub iam: Arc<Iam>,
    pub sqs: Arc<Sqs>,
    pub logs: Arc<Logs>,
    pub metrics: Arc<Metrics>,
}

impl Lambda {
    /// Makes a service without functions. Their code lies in `folder`.
    ///
    /// # Errors
    /// When the watchdog cannot be started.
    pub fn new(
        dependencies: LambdaDependencies,
        folder: &Path,
        config: LambdaConfig,
    ) -> std::io::Result<Arc<Self>> {
        let LambdaDependencies {
            clock,
            region,
            address,
            iam,
            sqs,
            logs,
            metrics,
        } = dependencies;
        let host = if address.ip().is_unspecified() {
            "127.0.0.1".to_owned()
        } else {
            address.ip().to_string()
        };
        let lambda = Arc::new(Self {
            clock,
            region,
            folder: folder.to_owned(),
            endpoint: format!("http://{host}:{}", address.port()),
            permits: Arc::new(Semaphore::new(config.concurrency)),
            config,
            iam,
            sqs,
            objects: std::sync::OnceLock::new(),
            logs,
            metrics,
            watchdog: Watchdog::start()?,
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            revisions: AtomicU64::new(1),
            state: Mutex::default(),
            faults: Mutex::new((LambdaFaults::default(), FaultRng::new(0, "lambda"))),
        });
        tokio::spawn(reap(Arc::downgrade(&lambda)));
        Ok(lambda)
    }

    /// Replaces the faults and restarts their random stream from `seed`.
    pub fn set_faults(&self, faults: LambdaFaults, seed: u64) {
        let mut current = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        *current = (faults, FaultRng::new(seed, "lambda"));
    }

    /// Draws the faults of one invocation: how much later its environment starts, and whether it crashes.
    fn draw_faults(&self) -> (Duration, bool) {
        let mut current = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let (faults, rng) = &mut *current;
        (faults.start_delay, rng.random_bool(faults.crash))
    }

    /// Gives access to S3's objects, for code that lies there. S3 sends its events here, so it is made later.
    pub fn set_objects(&self, objects: impl ReadObjects + 'static) {
        let _ = self.objects.set(Box::new(objects));
    }

    /// Refuses invocations from now on, and ends the environments that wait. The others end with localcloud.
    pub async fn close(&self) {
        let idle: Vec<_> = {
            let mut state = self.lock();
            state.is_closed = true;
            let entries = state.functions.values_mut();
            entries
                .flat_map(|entry| std::mem::take(&mut entry.idle))
                .collect()
        };
        self.end_all(idle).await;
    }

    async fn end_all(&self, environments: Vec<ExecutionEnvironment>) {
        futures::future::join_all(environments.into_iter().map(|it| it.end(&self.watchdog))).await;
    }

    fn lock(&self) -> MutexGuard<'_, LambdaState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LambdaState {
    fn entry(&mut self, name: &str, region: &str) -> Result<&mut Entry, LambdaError> {
        let missing = || LambdaError::function_not_found(&function::arn(region, name));
        self.functions.get_mut(name).ok_or_else(missing)
    }
}

/// Ends environments that were not used for a while, until the service is gone.
async fn reap(lambda: std::sync::Weak<Lambda>) {
    let mut ticks = interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let Some(lambda) = lambda.upgrade() else {
            return;
        };
        let now = Instant::now();
        let mut old = Vec::new();
        for entry in lambda.lock().functions.values_mut() {
            let is_old = |it: &mut ExecutionEnvironment| now - it.used > lambda.config.idle_time;
            old.extend(entry.idle.extract_if(.., is_old));
        }
        lambda.end_all(old).await;
    }
}
