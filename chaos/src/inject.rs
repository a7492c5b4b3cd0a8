//! Carries the schedule out, and records what was done to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::account::Interval;
use crate::logs::UnixMs;
use crate::processes::{self, Process};
use crate::proxy::Direction;
use crate::schedule::{Degradation, Fault, Link, Planned, Service};
use crate::stack::{Stack, http_client, is_ready};

/// Pause before this program restarts what only it can restart: Redis and the local cloud.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(5);
/// How long a service or a worker is watched after a fault.
const WATCH: Duration = Duration::from_secs(60);
/// A request that was sent this long before a service was killed may still be on its way through it.
const BEFORE_A_DEATH_MS: u64 = 200;

/// What was done.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct InjectionLog {
    /// Faults by name.
    pub faults: BTreeMap<String, u64>,
    /// When front, gateway, the connections to them, or the local cloud were down.
    pub downtimes: Vec<Interval>,
    /// Workers that were killed: their instances, and when.
    pub worker_kills: Vec<(String, UnixMs)>,
    /// Instances that this program, not the scaler, told to end or interrupted.
    pub ended_by_us: BTreeSet<String>,
    /// Milliseconds from SIGKILL of front, gateway or scaler until it was ready again.
    pub restarts_ms: Vec<u64>,
    /// Milliseconds from SIGTERM of a worker until its end.
    pub terminations_ms: Vec<u64>,
    /// Faults that met nothing, such as a kill of a worker while none ran.
    pub in_vain: u64,
}

/// Carries out faults on a stack.
#[derive(Debug, Clone)]
pub struct Injector {
    stack: Arc<RwLock<Stack>>,
    done: Arc<Mutex<InjectionLog>>,
    begun: Instant,
}

impl Injector {
    #[must_use]
    pub fn new(stack: Arc<RwLock<Stack>>, begun: Instant) -> Self {
        Self {
            stack,
            done: Arc::default(),
            begun,
        }
    }

    /// Carries out the schedule, and returns when every fault is over.
    ///
    /// # Errors
    /// When the local cloud or Redis cannot be started again.
    pub async fn run(self, schedule: Vec<Planned>) -> anyhow::Result<InjectionLog> {
        let mut running = JoinSet::new();
        for planned in schedule {
            tokio::time::sleep_until(self.begun + Duration::from_millis(planned.at_ms)).await;
            let injector = self.clone();
            running.spawn(async move { injector.inject(planned.fault).await });
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        let done = self.done().clone();
        Ok(done)
    }

    fn done(&self) -> MutexGuard<'_, InjectionLog> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn inject(&self, fault: Fault) -> anyhow::Result<()> {
        *self.done().faults.entry(fault.name()).or_default() += 1;
        match fault {
            Fault::Kill {
                service: Service::Localcloud,
                ..
            } => self.kill_cloud().await?,
            Fault::Kill {
                service: Service::Redis,
                ..
            } => self.kill_redis().await?,
            Fault::Kill {
                service: Service::Worker,
                pick,
            } => self.kill_worker(pick).await,
            Fault::Kill { service, .. } => self.kill_service(service).await,
            Fault::Terminate { pick } => self.terminate(pick).await,
            Fault::Stop { service, pick, ms } => self.stop(service, pick, ms).await,
            Fault::Degrade { degradation, ms } => self.degrade(degradation, ms).await,
            Fault::Cut { link } => self.down(link, async |stack| stack.proxy(link).cut()).await,
            Fault::Delay { link, by_ms, ms } => {
                self.stack
                    .read()
                    .await
                    .proxy(link)
                    .delay(Duration::from_millis(by_ms));
                tokio::time::sleep(Duration::from_millis(ms)).await;
                self.stack.read().await.proxy(link).delay(Duration::ZERO);
            }
            Fault::Halve {
                link,
                to_server,
                ms,
            } => self.halve(link, to_server, ms).await,
            Fault::Interrupt { pick } => self.interrupt(pick).await,
            Fault::ReloadKeys => {
                let stack = self.stack.read().await;
                stack.add_key("another")?;
                stack.remove_key("another")?;
            }
            Fault::ReloadGallery => self.stack.read().await.renew_gallery()?,
        }
        Ok(())
    }

    async fn pick(&self, service: Service, pick: u32) -> Option<Process> {
        let processes = self.stack.read().await.processes(service);
        let process = processes
            .get(pick as usize % processes.len().max(1))
            .cloned();
        if process.is_none() {
            self.done().in_vain += 1;
        }
        process
    }

    async fn kill_worker(&self, pick: u32) {
        let Some(worker) = self.pick(Service::Worker, pick).await else {
            return;
        };
        let instance = worker.variable("EC2_INSTANCE_ID").unwrap_or_default();
        worker.signal(processes::KILL);
        self.done().worker_kills.push((instance, unix_ms()));
    }

    /// Kills front, gateway or scaler, which must be back by itself.
    async fn kill_service(&self, service: Service) {
        let Some(process) = self.pick(service, 0).await else {
            return;
        };
        let from = self.now_ms();
        process.signal(processes::KILL);
        let killed_at = Instant::now();
        while process.runs() {
            tokio::time::sleep(POLL).await;
        }
        let url = self
            .stack
            .read()
            .await
            .readiness_url(service)
            .unwrap_or_default();
        let client = http_client();
        while !is_ready(&client, &url).await && killed_at.elapsed() < WATCH {
            tokio::time::sleep(POLL).await;
        }
        let took = u64::try_from(killed_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut done = self.done();
        done.restarts_ms.push(took);
        let until = self.now_ms();
        done.downtimes
            .push((from.saturating_sub(BEFORE_A_DEATH_MS), until));
    }

    async fn kill_redis(&self) -> anyhow::Result<()> {
        let mut stack = self.stack.write().await;
        for redis in stack.processes(Service::Redis) {
            redis.signal(processes::KILL);
        }
        stack.reap(Service::Redis);
        tokio::time::sleep(RESTART_PAUSE).await;
        stack.start_redis()
    }

    /// Kills the local cloud, with which all instances end, and starts it again: an outage of a whole region.
    async fn kill_cloud(&self) -> anyhow::Result<()> {
        let from = self.now_ms();
        let mut stack = self.stack.write().await;
        for cloud in stack.processes(Service::Localcloud) {
            cloud.signal(processes::KILL);
        }
        stack.reap(Service::Localcloud);
        tokio::time::sleep(RESTART_PAUSE).await;
        stack.start_cloud()?;
        stack.until_ready().await?;
        let until = self.now_ms();
        self.done()
            .downtimes
            .push((from.saturating_sub(BEFORE_A_DEATH_MS), until));
        Ok(())
    }

    async fn terminate(&self, pick: u32) {
        let Some(worker) = self.pick(Service::Worker, pick).await else {
            return;
        };
        let instance = worker.variable("EC2_INSTANCE_ID").unwrap_or_default();
        self.done().ended_by_us.insert(instance);
        let told_at = Instant::now();
        worker.signal(processes::TERM);
        while worker.runs() && told_at.elapsed() < WATCH {
            tokio::time::sleep(POLL).await;
        }
        let took = u64::try_from(told_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.done().terminations_ms.push(took);
    }

    async fn stop(&self, service: Service, pick: u32, ms: u64) {
        let Some(process) = self.pick(service, pick).await else {
            return;
        };
        let from = self.now_ms();
        process.signal(processes::STOP);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        process.signal(processes::CONTINUE);
        if matches!(service, Service::Front | Service::Gateway) {
            let until = self.now_ms();
            self.done().downtimes.push((from, until));
        }
    }

    async fn degrade(&self, degradation: Degradation, ms: u64) {
        let url = format!("{}/_localcloud/faults", self.stack.read().await.cloud_url());
        let client = http_client();
        // The local cloud may be down itself.
        let _ = client.put(&url).json(&faults(degradation)).send().await;
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let _ = client.delete(&url).send().await;
    }

    async fn halve(&self, link: Link, to_server: bool, ms: u64) {
        let direction = if to_server {
            Direction::ToServer
        } else {
            Direction::ToClient
        };
        self.down(link, async |stack: &Stack| {
            stack.proxy(link).hold(Some(direction));
            tokio::time::sleep(Duration::from_millis(ms)).await;
            // Connections are cut first, so that what was held is lost.
            stack.proxy(link).cut();
            stack.proxy(link).hold(None);
        })
        .await;
    }

    /// Does something to a link, and notes a downtime if requests pass through it.
    async fn down(&self, link: Link, act: impl AsyncFnOnce(&Stack)) {
        let from = self.now_ms();
        act(&*self.stack.read().await).await;
        if matches!(link, Link::ClientToGateway | Link::GatewayToFront) {
            let until = self.now_ms();
            self.done()
                .downtimes
                .push((from.saturating_sub(BEFORE_A_DEATH_MS), until));
        }
    }

    async fn interrupt(&self, pick: u32) {
        let Some(worker) = self.pick(Service::Worker, pick).await else {
            return;
        };
        let instance = worker.variable("EC2_INSTANCE_ID").unwrap_or_default();
        let url = format!(
            "{}/_localcloud/ec2/interruptions",
            self.stack.read().await.cloud_url()
        );
        let client = http_client();
        let order = json!({ "instance_id": instance, "notice_ms": 2_000 });
        self.done().ended_by_us.insert(instance);
        let _ = client.post(url).json(&order).send().await;
    }
}

/// Returns the local cloud's faults for a degradation.
fn faults(degradation: Degradation) -> serde_json::Value {
    let of = |service: &str, effect: serde_json::Value| {
        let mut rule = json!({ "service": service });
        if let (Some(rule), Some(effect)) = (rule.as_object_mut(), effect.as_object()) {
            rule.extend(effect.clone());
        }
        rule
    };
    let both = |effect: serde_json::Value| json!({ "call": [of("s3", effect.clone()), of("sqs", effect)] });
    match degradation {
        Degradation::Errors => {
            both(json!({ "probability": 0.1, "error": { "code": "InternalError", "status": 500 } }))
        }
        Degradation::LostReplies => {
            both(json!({ "probability": 0.03, "reset": true, "when": "after" }))
        }
        Degradation::Resets => json!({ "call": [{ "probability": 0.05, "reset": true }] }),
        Degradation::Throttling => {
            both(json!({ "limit": { "size": 50, "refill_per_second": 100 } }))
        }
        Degradation::Duplicates => {
            json!({ "sqs": { "duplicate": 0.2, "deliver_after_delete": 0.2, "empty_receive": 0.2 } })
        }
        Degradation::Lag => {
            json!({ "sqs": { "counter_lag_ms": 20_000 }, "ec2": { "describe_lag_ms": 1_000 } })
        }
        Degradation::Slow => {
            both(json!({ "latency_ms": { "lognormal": { "median": 30, "sigma": 1.0 } } }))
        }
    }
}

fn unix_ms() -> UnixMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
