//! EC2: instances that are processes. The state decides, tasks carry out.

mod change;
mod describe;
mod error;
mod launch;
mod limits;
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
pub use limits::{RESOURCE_ACTIONS, TokenBucket};
pub use params::Params;
pub use state::wildcard_matches;

use crate::clock::{Clock, Millis};
use crate::config::{BootInstance, Image};
use crate::faults::Ec2Settings;
use crate::xml::Xml;
use change::give;
use limits::Limiter;
use pace::Pace;
use state::{Instances, LaunchSpec};
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
    /// From an instance's start to its process's turn.
    boot_delay: Duration,
    fail_boot_every: u64,
    limiter: Mutex<Limiter>,
    watchdog: Watchdog,
    shared: Mutex<Shared>,
    /// Told whenever an instance's task has ended.
    settled: Notify,
}

#[derive(Debug)]
struct Shared {
    instances: Instances,
    /// How to reach the task of each instance that has one.
    orders: HashMap<String, watch::Sender<Order>>,
    /// How many instances have been launched or started.
    boots: u64,
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
    pub settings: Ec2Settings,
}

impl Ec2 {
    /// A service without instances.
    ///
    /// # Errors
    /// When the watchdog cannot be started.
    pub fn new(clock: Clock, config: Ec2Config<'_>) -> io::Result<Arc<Self>> {
        let settings = config.settings;
        let describe_lag = settings.describe_lag.as_millis() as Millis;
        Ok(Arc::new(Self {
            clock,
            region: config.region.to_owned(),
            images: config.images,
            instances_folder: config.instances_folder.to_owned(),
            stop_grace: config.stop_grace,
            max_instances: config.max_instances,
            start_pace: Pace::new(config.start_interval),
            boot_delay: settings.boot_delay,
            fail_boot_every: settings.fail_boot_every,
            limiter: Mutex::new(Limiter::new(&settings.limits, clock.now())),
            watchdog: Watchdog::start()?,
            shared: Mutex::new(Shared {
                instances: Instances::new(settings.capacity, describe_lag),
                orders: HashMap::new(),
                boots: 0,
                closing: false,
            }),
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
        self.limiter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(action, instances_named(action, params), self.clock.now())?;
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
                self.lock().instances.create_tags(
                    &resource_ids(params)?,
                    &tags.collect(),
                    self.clock.now(),
                )?;
                Ok(done(action, request_id))
            }
            "DeleteTags" => {
                self.lock().instances.delete_tags(
                    &resource_ids(params)?,
                    &params.tags("Tag")?,
                    self.clock.now(),
                )?;
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

/// How many instances a call is about. A call that says so wrongly counts none: it is refused for that.
fn instances_named(action: &str, params: &Params) -> u64 {
    let count = match action {
        "RunInstances" => params.number("MaxCount").ok().flatten().unwrap_or(0),
        _ => params.list("InstanceId").len(),
    };
    count as u64
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
