//! EC2: instances that are processes. The state decides, tasks carry out.

mod describe;
mod error;
mod launch;
mod pace;
mod params;
mod process;
pub mod state;
mod supervise;
mod watchdog;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub use error::Ec2Error;
pub use params::Params;

use crate::clock::Clock;
use crate::config::{BootInstance, Image};
use crate::xml::Xml;
use pace::Pace;
use state::{Effect, Instances, LaunchSpec, StateChange};
use supervise::Order;
use watchdog::Watchdog;

/// The actions of EC2 that this service knows.
pub const ACTIONS: [&str; 11] = [
    "CreateTags",
    "DeleteTags",
    "DescribeImages",
    "DescribeInstanceStatus",
    "DescribeInstances",
    "DescribeTags",
    "RebootInstances",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
];

/// The EC2 service of one account.
#[derive(Debug)]
pub struct Ec2 {
    clock: Clock,
    region: String,
    images: Vec<Image>,
    instances_folder: PathBuf,
    stop_grace: Duration,
    max_instances: usize,
    start_pace: Pace,
    watchdog: Watchdog,
    shared: Mutex<Shared>,
    /// Told whenever an instance's task has ended.
    settled: Notify,
}

#[derive(Debug, Default)]
struct Shared {
    instances: Instances,
    /// How to reach the task of each instance that has one.
    orders: HashMap<String, watch::Sender<Order>>,
    /// Set at the end, when nothing may be started any more.
    closing: bool,
}

/// What the service is made from.
#[derive(Debug)]
pub struct Ec2Config<'a> {
    pub region: &'a str,
    pub images: Vec<Image>,
    /// Where each instance's log and user data lie.
    pub instances_folder: &'a Path,
    /// How long a process has from SIGTERM to SIGKILL.
    pub stop_grace: Duration,
    pub max_instances: usize,
    /// From one process's start to the next one's, at least.
    pub start_interval: Duration,
}

impl Ec2 {
    /// A service without instances.
    ///
    /// # Errors
    /// When the watchdog cannot be started.
    pub fn new(clock: Clock, config: Ec2Config<'_>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            clock,
            region: config.region.to_owned(),
            images: config.images,
            instances_folder: config.instances_folder.to_owned(),
            stop_grace: config.stop_grace,
            max_instances: config.max_instances,
            start_pace: Pace::new(config.start_interval),
            watchdog: Watchdog::start()?,
            shared: Mutex::default(),
            settled: Notify::new(),
        }))
    }

    /// Answers one call of the query protocol with its XML document.
    ///
    /// # Errors
    /// Whatever EC2 refuses; the caller puts it into the protocol's shape.
    pub fn call(
        self: &Arc<Self>,
        action: &str,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        if params.flag("DryRun") && ACTIONS.contains(&action) {
            return Err(Ec2Error::DryRunOperation);
        }
        match action {
            "DescribeInstances" => self.describe_instances(params, request_id),
            "DescribeInstanceStatus" => self.describe_instance_status(params, request_id),
            "DescribeTags" => self.describe_tags(params, request_id),
            "DescribeImages" => self.describe_images(params, request_id),
            "RunInstances" => self.run_instances(params, request_id),
            "StartInstances" => self.change(action, params, request_id, |shared, ids| {
                shared.check_open()?;
                shared.instances.start(ids, self.clock.now())
            }),
            "StopInstances" => self.change(action, params, request_id, |shared, ids| {
                let force = params.flag("Force");
                shared.instances.stop(ids, force, self.clock.now())
            }),
            "TerminateInstances" => self.change(action, params, request_id, |shared, ids| {
                shared.instances.terminate(ids, self.clock.now())
            }),
            "RebootInstances" => {
                let ids = params.required_instance_ids()?;
                self.reboot(&ids)?;
                Ok(done(action, request_id))
            }
            "CreateTags" => {
                let tags = params
                    .tags("Tag")?
                    .into_iter()
                    .map(|(key, value)| (key, value.unwrap_or_default()));
                self.lock()
                    .instances
                    .create_tags(&resource_ids(params)?, &tags.collect())?;
                Ok(done(action, request_id))
            }
            "DeleteTags" => {
                self.lock()
                    .instances
                    .delete_tags(&resource_ids(params)?, &params.tags("Tag")?)?;
                Ok(done(action, request_id))
            }
            other => Err(Ec2Error::InvalidAction(other.to_owned())),
        }
    }

    /// Launches the instances of the configuration.
    ///
    /// # Errors
    /// As RunInstances.
    pub fn boot_configured(self: &Arc<Self>, configured: &[BootInstance]) -> Result<(), Ec2Error> {
        for instance in configured {
            let spec = LaunchSpec {
                image_id: instance.image.clone(),
                instance_type: "t2.micro".to_owned(),
                user_data: instance.user_data.clone().unwrap_or_default().into_bytes(),
                tags: instance.tags.clone(),
                ..LaunchSpec::default()
            };
            self.launch(spec, String::new(), 1, 1)?;
        }
        Ok(())
    }

    /// Ends every instance, each with its grace, and returns when all are gone. Nothing starts afterwards.
    pub async fn close(&self) {
        {
            let mut shared = self.lock();
            shared.closing = true;
            for orders in shared.orders.values() {
                give(orders, Order::End);
            }
        }
        loop {
            let settled = self.settled.notified();
            if self.lock().orders.is_empty() {
                return;
            }
            settled.await;
        }
    }

    /// Decides and gives the orders under one lock, so that no order comes before its instance has a task.
    fn change(
        self: &Arc<Self>,
        action: &str,
        params: &Params,
        request_id: &str,
        decide: impl FnOnce(&mut Shared, &[String]) -> Result<Vec<(StateChange, Effect)>, Ec2Error>,
    ) -> Result<String, Ec2Error> {
        let ids = params.required_instance_ids()?;
        let mut shared = self.lock();
        let changes = decide(&mut shared, &ids)?;
        for (change, effect) in &changes {
            match effect {
                Effect::Nothing => {}
                Effect::Boot(boot) => self.boot(&mut shared, &change.instance_id, *boot),
                Effect::End { at_once } => {
                    if let Some(orders) = shared.orders.get(&change.instance_id) {
                        give(
                            orders,
                            if *at_once {
                                Order::EndAtOnce
                            } else {
                                Order::End
                            },
                        );
                    }
                }
            }
        }
        drop(shared);
        Ok(Xml::response(action, request_id, |xml| {
            xml.list("instancesSet", &changes, |xml, (change, _)| {
                xml.text("instanceId", &change.instance_id);
                for (name, state) in [
                    ("currentState", change.current),
                    ("previousState", change.previous),
                ] {
                    xml.element(name, |xml| {
                        xml.text("code", state.code());
                        xml.text("name", state.name());
                    });
                }
            });
        }))
    }

    fn reboot(&self, ids: &[String]) -> Result<(), Ec2Error> {
        let shared = self.lock();
        shared.instances.check_exist(ids)?;
        for id in ids {
            shared
                .instances
                .get(id)
                .map(state::Instance::check_reboot)
                .transpose()?;
        }
        for orders in ids.iter().filter_map(|id| shared.orders.get(id)) {
            give(orders, Order::Reboot);
        }
        Ok(())
    }

    fn image(&self, id: &str) -> Option<&Image> {
        self.images.iter().find(|image| image.id == id)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic while the lock was held is a bug, yet instances must still be ended.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn check_open(&self) -> Result<(), Ec2Error> {
        if self.closing {
            Err(Ec2Error::ShuttingDown)
        } else {
            Ok(())
        }
    }
}

/// Gives an order, unless a more urgent one stands.
fn give(orders: &watch::Sender<Order>, order: Order) {
    orders.send_if_modified(|standing| {
        let more_urgent = order > *standing;
        if more_urgent {
            *standing = order;
        }
        more_urgent
    });
}

fn resource_ids(params: &Params) -> Result<Vec<String>, Ec2Error> {
    let ids = params.list("ResourceId");
    if ids.is_empty() {
        return Err(Ec2Error::MissingParameter("ResourceId".to_owned()));
    }
    match ids.iter().find(|id| !params::is_instance_id(id)) {
        // Only instances exist here.
        Some(other) => Err(Ec2Error::InvalidId(other.clone())),
        None => Ok(ids),
    }
}

fn done(action: &str, request_id: &str) -> String {
    Xml::response(action, request_id, |xml| xml.text("return", true))
}
