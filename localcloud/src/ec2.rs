//! EC2: instances that are processes. The state decides, tasks carry out.

mod attributes;
mod catalog;
mod change;
mod console;
mod describe;
mod environment;
mod error;
#[cfg(test)]
mod fuzz;
mod images;
mod interrupt;
mod launch;
mod limits;
mod metadata;
mod pace;
mod params;
mod process;
mod settings;
pub mod state;
mod supervise;
mod tagging;
mod time;
mod watchdog;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

#[cfg(fuzzing)]
pub use environment::read as read_user_data;
pub use error::Ec2Error;
pub use interrupt::USUAL_NOTICE;
pub use limits::{RESOURCE_ACTIONS, UNFILTERED_ACTIONS};
pub use params::Params;

use crate::clock::{Clock, Millis};
use crate::config::{BootInstance, Image};
use crate::faults::Ec2Settings;
use crate::xml::Xml;
use change::give;
use images::Images;
use pace::Pace;
use settings::Unkindness;
use state::{Instances, LaunchSpec, Place};
use supervise::Order;
use watchdog::Watchdog;

/// The actions of EC2 that this service knows.
pub const ACTIONS: [&str; 20] = [
    "CreateTags",
    "DeleteTags",
    "DeregisterImage",
    "DescribeAvailabilityZones",
    "DescribeImages",
    "DescribeInstanceAttribute",
    "DescribeInstanceStatus",
    "DescribeInstanceTypes",
    "DescribeInstances",
    "DescribeRegions",
    "DescribeTags",
    "GetConsoleOutput",
    "ModifyInstanceAttribute",
    "ModifyInstanceMetadataOptions",
    "RebootInstances",
    "RegisterImage",
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
];

/// The EC2 service of one account.
#[derive(Debug)]
pub struct Ec2 {
    clock: Clock,
    place: Place,
    instances_folder: PathBuf,
    stop_grace: Duration,
    max_instances: usize,
    start_pace: Pace,
    unkindness: Mutex<Unkindness>,
    watchdog: Watchdog,
    shared: Mutex<Shared>,
    /// Told whenever an instance's task has ended.
    settled: Notify,
    /// Whether the service is ending, which nobody waits longer for than for the processes.
    closing: watch::Sender<bool>,
}

#[derive(Debug)]
struct Shared {
    instances: Instances,
    images: Images,
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
    /// What chance begins from.
    pub seed: u64,
}

impl Ec2 {
    /// A service without instances.
    ///
    /// # Errors
    /// When the watchdog cannot be started.
    pub fn new(clock: Clock, config: Ec2Config<'_>) -> io::Result<Arc<Self>> {
        let settings = config.settings;
        let now = clock.now();
        let describe_lag = settings.describe_lag.as_millis() as Millis;
        let place = Place::of_region(config.region);
        let instances = Instances::new(settings.capacity.clone(), describe_lag);
        Ok(Arc::new(Self {
            clock,
            instances_folder: config.instances_folder.to_owned(),
            stop_grace: config.stop_grace,
            max_instances: config.max_instances,
            start_pace: Pace::new(config.start_interval),
            unkindness: Mutex::new(Unkindness::new(settings, config.seed, now)),
            watchdog: Watchdog::start()?,
            shared: Mutex::new(Shared {
                instances: instances.in_place(place.clone()),
                images: Images::configured(config.images, now),
                orders: HashMap::new(),
                boots: 0,
                closing: false,
            }),
            place,
            settled: Notify::new(),
            closing: watch::Sender::new(false),
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
        self.admit(action, params)?;
        if params.flag("DryRun") && ACTIONS.contains(&action) {
            return Err(Ec2Error::DryRunOperation);
        }
        match action {
            "DescribeInstances" => self.describe_instances(params, request_id),
            "DescribeInstanceStatus" => self.describe_instance_status(params, request_id),
            "DescribeTags" => self.describe_tags(params, request_id),
            "DescribeImages" => self.describe_images(params, request_id),
            "DescribeInstanceAttribute" => self.describe_instance_attribute(params, request_id),
            "DescribeInstanceTypes" => self.describe_instance_types(params, request_id),
            "DescribeAvailabilityZones" => self.describe_availability_zones(params, request_id),
            "DescribeRegions" => self.describe_regions(params, request_id),
            "GetConsoleOutput" => self.get_console_output(params, request_id),
            "RegisterImage" => self.register_image(params, request_id),
            "DeregisterImage" => self.deregister_image(params, request_id),
            "ModifyInstanceAttribute" => self.modify_instance_attribute(params, request_id),
            "ModifyInstanceMetadataOptions" => {
                self.modify_instance_metadata_options(params, request_id)
            }
            "CreateTags" => self.create_tags(params, request_id),
            "DeleteTags" => self.delete_tags(params, request_id),
            "RunInstances" => self.run_instances(params, request_id),
            "StartInstances" => self.change(action, params, request_id, |shared, ids| {
                shared.check_open()?;
                shared.instances.start(ids, self.clock.now())
            }),
            "StopInstances" => self.change(action, params, request_id, |shared, ids| {
                if let Some(id) = ids.first().filter(|_| params.flag("Hibernate")) {
                    shared.instances.check_exist(ids, self.clock.now())?;
                    return Err(Ec2Error::NoHibernation(id.clone()));
                }
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
            self.closing.send_replace(true);
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

fn done(action: &str, request_id: &str) -> String {
    Xml::response(action, request_id, |xml| xml.text("return", true))
}
