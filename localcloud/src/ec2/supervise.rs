//! One task for each instance that runs: it starts and stops the process, and reports to the state.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::command::TaskCommand;
use super::interrupt::interrupt_later;
use super::metadata::MetadataEndpoint;
use super::state::Instance;
use super::{Ec2, Ec2State, environment};
use crate::process::{ProcessGroup, ProcessSpec, describe_exit};

/// One boot of an instance.
#[derive(Debug)]
struct Boot {
    instance_id: String,
    number: u64,
    /// The time before the process may start.
    delay: Duration,
    /// The part of the spread of stop delays that this boot's end takes, from 0 to 1.
    stop_share: f64,
    /// Whether the process never starts.
    fails: bool,
}

impl Ec2 {
    /// Starts the task of a boot. The caller has made the instance `pending` under the lock that it still holds.
    pub(super) fn boot(self: &Arc<Self>, shared: &mut Ec2State, instance_id: &str, number: u64) {
        let (sender, commands) = watch::channel(TaskCommand::Run);
        shared.commands.insert(instance_id.to_owned(), sender);
        // Counted and drawn under the lock: the faults of a boot depend on the order of the calls alone.
        shared.boots += 1;
        let every = self.fail_boot_every();
        let instance = shared.instances.get(instance_id);
        if let Some(timing) = instance.and_then(|instance| self.draw_interruption(instance)) {
            let ec2 = Arc::downgrade(self);
            tokio::spawn(interrupt_later(ec2, instance_id.to_owned(), number, timing));
        }
        let boot = Boot {
            instance_id: instance_id.to_owned(),
            number,
            delay: self.draw_boot_delay(),
            stop_share: self.draw_stop_share(),
            fails: every != 0 && shared.boots.is_multiple_of(every),
        };
        tokio::spawn(Arc::clone(self).supervise(boot, commands));
    }

    async fn supervise(self: Arc<Self>, boot: Boot, mut commands: watch::Receiver<TaskCommand>) {
        let is_booted = boot.delay.is_zero()
            || tokio::select! {
                () = sleep(boot.delay) => true,
                () = TaskCommand::Stop.received(&mut commands) => false,
            };
        if is_booted && boot.fails {
            info!(
                instance = boot.instance_id,
                "instance runs without a process: injected boot failure"
            );
            self.report(&boot, |instance| {
                instance.process_started(boot.number, self.clock.now());
            });
            TaskCommand::Stop.received(&mut commands).await;
        } else if is_booted {
            self.run(&boot, &mut commands).await;
        }
        self.delay_stop(&boot).await;
        let mut shared = self.lock();
        if let Some(instance) = shared.instances.get_mut(&boot.instance_id) {
            instance.process_gone(boot.number);
            let state = instance.state.name();
            info!(instance = boot.instance_id, state, "instance settled");
        }
        shared.commands.remove(&boot.instance_id);
        drop(shared);
        self.settled.notify_waiters();
    }

    /// Opens the metadata service of an instance and runs its process, again after each reboot.
    async fn run(self: &Arc<Self>, boot: &Boot, commands: &mut watch::Receiver<TaskCommand>) {
        let metadata = match MetadataEndpoint::open(self, &boot.instance_id).await {
            Ok(metadata) => metadata,
            Err(error) => return self.report_boot_failure(boot, &error),
        };
        // A stop that overtakes a reboot takes effect at once in the next iteration.
        while self.run_once(boot, metadata.url(), commands).await {}
    }

    /// Runs the process of an instance until it ends. Returns whether to run it again.
    async fn run_once(
        &self,
        boot: &Boot,
        metadata_url: &str,
        commands: &mut watch::Receiver<TaskCommand>,
    ) -> bool {
        let instance_id = &boot.instance_id;
        tokio::select! {
            () = self.start_pacer.turn() => {}
            () = TaskCommand::Stop.received(commands) => return false,
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
                self.report_boot_failure(boot, &error);
                return false;
            }
        };
        let group = process.id();
        let log = console_log.display();
        info!(instance = instance_id, process = group.as_raw(), %log, "instance started");
        self.report(boot, |instance| {
            instance.process_started(boot.number, self.clock.now());
        });

        let exit = tokio::select! {
            status = process.leader_ended() => Some(describe_exit(status)),
            () = TaskCommand::Reboot.received(commands) => None,
        };
        let command = *commands.borrow();
        if let Some(exit) = &exit {
            info!(instance = instance_id, %log, exit, "instance's process ended by itself");
            self.report(boot, |instance| {
                instance.process_ended(boot.number, exit, self.clock.now());
            });
        }
        // A machine that shuts itself down ends all of its processes.
        let grace = if exit.is_some() || command == TaskCommand::Kill {
            Duration::ZERO
        } else {
            self.stop_grace
        };
        process
            .end(grace, TaskCommand::Kill.received(commands))
            .await;
        self.watchdog.remove(group);

        let reboot = exit.is_none() && *commands.borrow() == TaskCommand::Reboot;
        if reboot && let Some(commands) = self.lock().commands.get(instance_id) {
            commands.send_if_modified(|command| {
                let rebooted = *command == TaskCommand::Reboot;
                if rebooted {
                    *command = TaskCommand::Run;
                }
                rebooted
            });
        }
        reboot
    }

    /// Waits for the injected delay of a stop whose processes have ended.
    async fn delay_stop(&self, boot: &Boot) {
        let is_stopping = self
            .lock()
            .instances
            .get(&boot.instance_id)
            .is_some_and(Instance::is_stopping);
        let delay = self.stop_delay(boot.stop_share);
        if !is_stopping || delay.is_zero() {
            return;
        }
        let mut closing = self.closing.subscribe();
        tokio::select! {
            () = sleep(delay) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }

    fn report_boot_failure(&self, boot: &Boot, error: &io::Error) {
        warn!(instance = boot.instance_id, %error, "cannot start the instance");
        self.report(boot, |instance| {
            instance.boot_failed(boot.number, &error.to_string(), self.clock.now());
        });
    }

    fn report(&self, boot: &Boot, report: impl FnOnce(&mut Instance)) {
        if let Some(instance) = self.lock().instances.get_mut(&boot.instance_id) {
            report(instance);
        }
    }

    async fn process_spec(&self, instance_id: &str, metadata_url: &str) -> io::Result<ProcessSpec> {
        let (image, user_data) = {
            let shared = self.lock();
            let instance = shared.instances.get(instance_id);
            let instance = instance.ok_or(io::ErrorKind::NotFound)?;
            let image = shared.images.get(&instance.spec.image_id);
            let image = image.ok_or(io::ErrorKind::NotFound)?;
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
                let text = format!(
                    "line {line} of the user data sets no variable that the image lets it set"
                );
                log_to_console(&console_log, &text).await?;
            }
            for (name, value) in variables {
                env.entry(name).or_insert(value);
            }
        }
        let user_data_file = user_data_file.to_string_lossy().into_owned();
        env.extend(
            [
                ("EC2_INSTANCE_ID", instance_id.to_owned()),
                ("EC2_USER_DATA_FILE", user_data_file),
                // The environment of localcloud may disable the metadata service for its own clients.
                ("AWS_EC2_METADATA_DISABLED", "false".to_owned()),
                ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata_url.to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
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
async fn write_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).await?.write_all(content).await
}

/// Appends a line to the log that the instance's processes write to.
async fn log_to_console(console_log: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut log = options.create(true).append(true).open(console_log).await?;
    log.write_all(format!("localcloud: {text}\n").as_bytes())
        .await?;
    log.flush().await
}
