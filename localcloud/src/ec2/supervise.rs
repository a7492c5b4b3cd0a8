//! One task for each instance that runs: it starts the process, ends it when asked, and tells the state what happened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::interrupt::interrupt_by_chance;
use super::metadata::MetadataEndpoint;
use super::process::{ProcessGroup, ProcessSpec, describe_exit};
use super::state::Instance;
use super::{Ec2, Shared, environment};

/// What an instance's task has been asked to do. Later orders are more urgent, and a less urgent one changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    Run,
    Reboot,
    End,
    EndAtOnce,
}

/// What chance has in store for one boot.
#[derive(Debug, Clone, Copy)]
struct BootChance {
    /// Before the process has its turn.
    boot_time: Duration,
    /// Of the spread of stops, from 0 to 1.
    stop_share: f64,
    /// Whether the process never starts.
    fails: bool,
}

impl Ec2 {
    /// Starts the task for this boot of an instance. The caller has put the instance into `pending` under the lock
    /// that it still holds.
    pub(super) fn boot(self: &Arc<Self>, shared: &mut Shared, instance_id: &str, boot: u64) {
        let (orders, received) = watch::channel(Order::Run);
        shared.orders.insert(instance_id.to_owned(), orders);
        // Counted and drawn under the lock, so that what a boot meets depends on the order of the calls alone.
        shared.boots += 1;
        let every = self.fail_boot_every();
        let fails = every != 0 && shared.boots.is_multiple_of(every);
        let fate = shared.instances.get(instance_id);
        if let Some(fate) = fate.and_then(|instance| self.spot_fate(instance)) {
            tokio::spawn(interrupt_by_chance(
                Arc::downgrade(self),
                instance_id.to_owned(),
                boot,
                fate,
            ));
        }
        let chance = BootChance {
            boot_time: self.boot_time(),
            stop_share: self.stop_share(),
            fails,
        };
        tokio::spawn(Arc::clone(self).supervise(instance_id.to_owned(), boot, chance, received));
    }

    async fn supervise(
        self: Arc<Self>,
        instance_id: String,
        boot: u64,
        chance: BootChance,
        mut orders: watch::Receiver<Order>,
    ) {
        if booted(chance.boot_time, &mut orders).await {
            if chance.fails {
                self.run_without_process(&instance_id, boot, &mut orders)
                    .await;
            } else {
                self.run(&instance_id, boot, &mut orders).await;
            }
        }
        self.stay_ending(&instance_id, chance.stop_share).await;
        let mut shared = self.lock();
        if let Some(instance) = shared.instances.get_mut(&instance_id) {
            instance.process_gone(boot);
            info!(
                instance = instance_id,
                state = instance.state.name(),
                "instance settled"
            );
        }
        shared.orders.remove(&instance_id);
        drop(shared);
        self.settled.notify_waiters();
    }

    /// Opens the metadata service of an instance and runs its process until it has ended for good.
    async fn run(
        self: &Arc<Self>,
        instance_id: &str,
        boot: u64,
        orders: &mut watch::Receiver<Order>,
    ) {
        let metadata = match MetadataEndpoint::open(self, instance_id).await {
            Ok(metadata) => metadata,
            Err(error) => return self.boot_failed(instance_id, boot, &error),
        };
        while self
            .run_once(instance_id, boot, metadata.url(), orders)
            .await
        {
            // Only a reboot comes here. One that was overtaken by an end is seen at once in the next turn.
        }
    }

    fn boot_failed(&self, instance_id: &str, boot: u64, error: &std::io::Error) {
        warn!(instance = instance_id, %error, "instance could not be started");
        let now = self.clock.now();
        if let Some(instance) = self.lock().instances.get_mut(instance_id) {
            instance.boot_failed(boot, &error.to_string(), now);
        }
    }

    /// Lets the time pass that a machine takes to end when its processes are gone.
    async fn stay_ending(&self, instance_id: &str, stop_share: f64) {
        let is_ending = self
            .lock()
            .instances
            .get(instance_id)
            .is_some_and(Instance::is_ending);
        let stop_time = self.stop_time(stop_share);
        if !is_ending || stop_time.is_zero() {
            return;
        }
        let mut closing = self.closing.subscribe();
        tokio::select! {
            () = sleep(stop_time) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }

    /// An instance whose operating system runs, and what it was launched for does not.
    async fn run_without_process(
        &self,
        instance_id: &str,
        boot: u64,
        orders: &mut watch::Receiver<Order>,
    ) {
        info!(
            instance = instance_id,
            "instance runs without a process, as every so many-th is configured to"
        );
        if let Some(instance) = self.lock().instances.get_mut(instance_id) {
            instance.process_started(boot, self.clock.now());
        }
        at_least(orders, Order::End).await;
    }

    /// Runs the instance's process to its end; whether to run it again.
    async fn run_once(
        &self,
        instance_id: &str,
        boot: u64,
        metadata_url: &str,
        orders: &mut watch::Receiver<Order>,
    ) -> bool {
        // An instance that is stopped before its turn has come never runs.
        tokio::select! {
            () = self.start_pace.turn() => {}
            () = at_least(orders, Order::End) => return false,
        }
        let started = match self.process_spec(instance_id, metadata_url).await {
            Ok(spec) => ProcessGroup::start(&spec, &self.watchdog)
                .await
                .map(|process| (process, spec.console_log)),
            Err(error) => Err(error),
        };
        let (mut process, console_log) = match started {
            Ok(started) => started,
            Err(error) => {
                self.boot_failed(instance_id, boot, &error);
                return false;
            }
        };
        let group = process.id();
        let log = console_log.display();
        info!(instance = instance_id, process = group.as_raw(), %log, "instance started");
        if let Some(instance) = self.lock().instances.get_mut(instance_id) {
            instance.process_started(boot, self.clock.now());
        }

        let ended_by_itself = tokio::select! {
            status = process.leader_ended() => Some(describe_exit(status)),
            () = at_least(orders, Order::Reboot) => None,
        };
        let order = *orders.borrow();
        if let Some(how) = &ended_by_itself {
            info!(instance = instance_id, %log, "instance's process ended by itself: {how}");
            let now = self.clock.now();
            if let Some(instance) = self.lock().instances.get_mut(instance_id) {
                instance.process_ended(boot, how, now);
            }
        }
        // A machine that shut itself down takes along whatever it had started.
        let grace = if ended_by_itself.is_some() || order == Order::EndAtOnce {
            Duration::ZERO
        } else {
            self.stop_grace
        };
        process.end(grace, at_least(orders, Order::EndAtOnce)).await;
        self.watchdog.remove(group);

        let reboot = ended_by_itself.is_none() && *orders.borrow() == Order::Reboot;
        if reboot && let Some(orders) = self.lock().orders.get(instance_id) {
            orders.send_if_modified(|order| {
                let rebooted = *order == Order::Reboot;
                if rebooted {
                    *order = Order::Run;
                }
                rebooted
            });
        }
        reboot
    }

    async fn process_spec(
        &self,
        instance_id: &str,
        metadata_url: &str,
    ) -> std::io::Result<ProcessSpec> {
        let (image, user_data) = {
            let shared = self.lock();
            let instance = shared.instances.get(instance_id);
            let instance = instance.ok_or(std::io::ErrorKind::NotFound)?;
            let image = shared.images.get(&instance.spec.image_id);
            let image = image.ok_or(std::io::ErrorKind::NotFound)?;
            (image.image.clone(), instance.spec.user_data.clone())
        };
        let folder = self.folder_of(instance_id);
        tokio::fs::create_dir_all(&folder).await?;
        let user_data_file = folder.join("user-data");
        write_secret(&user_data_file, &user_data).await?;
        let console_log = folder.join("console.log");
        let mut env = image.env;
        if !image.user_data_env.is_empty() {
            let (variables, refused) = environment::read(&user_data, &image.user_data_env);
            for line in refused {
                note(
                    &console_log,
                    &format!(
                        "line {line} of the user data sets no variable that the image lets it set"
                    ),
                )
                .await?;
            }
            for (name, value) in variables {
                env.entry(name).or_insert(value);
            }
        }
        env.insert("EC2_INSTANCE_ID".to_owned(), instance_id.to_owned());
        env.insert(
            "EC2_USER_DATA_FILE".to_owned(),
            user_data_file.to_string_lossy().into_owned(),
        );
        // Whoever started localcloud may have told its own clients that there is no metadata service. Here is one.
        env.insert("AWS_EC2_METADATA_DISABLED".to_owned(), "false".to_owned());
        env.insert(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(),
            metadata_url.to_owned(),
        );
        Ok(ProcessSpec {
            command: image.command,
            env,
            console_log,
        })
    }

    pub(super) fn folder_of(&self, instance_id: &str) -> PathBuf {
        self.instances_folder.join(instance_id)
    }
}

/// Writes a file that only this user can read.
async fn write_secret(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).await?.write_all(content).await
}

/// Says something where the instance's processes print.
async fn note(console_log: &Path, text: &str) -> std::io::Result<()> {
    let mut options = tokio::fs::OpenOptions::new();
    let mut log = options.create(true).append(true).open(console_log).await?;
    log.write_all(format!("localcloud: {text}\n").as_bytes())
        .await?;
    log.flush().await
}

/// Lets the time pass that a machine takes to boot; false if the instance has to end before that.
async fn booted(boot_time: Duration, orders: &mut watch::Receiver<Order>) -> bool {
    if boot_time.is_zero() {
        return true;
    }
    tokio::select! {
        () = sleep(boot_time) => true,
        () = at_least(orders, Order::End) => false,
    }
}

/// Completes when an order at least this urgent has been given.
async fn at_least(orders: &mut watch::Receiver<Order>, urgency: Order) {
    // The sender lives until the task removes it itself.
    let _ = orders.wait_for(|order| *order >= urgency).await;
}
