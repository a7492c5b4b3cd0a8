//! EC2: instances that are processes. A pure state decides, and a task for each instance carries it out.
//!
//! | module | does |
//! |---|---|
//! | `params`, `identifier`, `error` | the query protocol: parameters of calls, identifiers and errors |
//! | `launch`, `change`, `attributes`, `tagging`, `images` | calls that change something |
//! | `describe`, `catalog`, `networks`, `console` | calls that read |
//! | `state` | the instances and their transitions; pure |
//! | `command`, `supervise`, `process`, `watchdog`, `pacer`, `environment` | the task and the process group of an instance |
//! | `accesses` | what the policies of a role must allow for a call |
//! | `metadata` | the instance metadata service |
//! | `interrupt`, `fault_state`, `rate_limiter` | injected faults |

mod accesses;
mod attributes;
mod catalog;
mod change;
mod command;
mod console;
mod describe;
mod environment;
mod error;
mod fault_state;
mod identifier;
mod images;
mod interrupt;
mod launch;
mod metadata;
mod networks;
mod pacer;
mod params;
mod rate_limiter;
mod state;
mod supervise;
mod tagging;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

#[cfg(fuzzing)]
pub use environment::read as read_user_data;
pub use error::Ec2Error;
pub use params::Params;

use crate::clock::{Clock, Millis};
use crate::config::{BootInstance, Image};
use crate::ec2_actions;
use crate::faults::Ec2Faults;
use crate::iam::Iam;
use crate::watchdog::Watchdog;
use crate::xml::Xml;
use command::TaskCommand;
use error::Ec2Result;
use fault_state::FaultState;
use images::Images;
use pacer::Pacer;
use state::{Instances, LaunchSpec, Region, Tags};

/// The EC2 service of one account.
#[derive(Debug)]
pub struct Ec2 {
    clock: Clock,
    iam: Arc<Iam>,
    region: Region,
    instances_folder: PathBuf,
    stop_grace: Duration,
    max_instances: usize,
    start_pacer: Pacer,
    faults: Mutex<FaultState>,
    watchdog: Watchdog,
    shared: Mutex<Ec2State>,
    /// Notified when the task of an instance has ended.
    settled: Notify,
    /// Set during shutdown: injected stop delays are skipped.
    closing: watch::Sender<bool>,
}

#[derive(Debug)]
struct Ec2State {
    instances: Instances,
    images: Images,
    /// The channel to the task of each instance that has one.
    commands: HashMap<String, watch::Sender<TaskCommand>>,
    /// The number of launches and starts.
    boots: u64,
    /// Set during shutdown: nothing may start.
    closing: bool,
}

/// The configuration of the service.
#[derive(Debug)]
pub struct Ec2Config<'a> {
    pub region: &'a str,
    pub images: Vec<Image>,
    /// The folder of the instances' logs and user data.
    pub instances_folder: &'a Path,
    /// The time from SIGTERM to SIGKILL.
    pub stop_grace: Duration,
    pub max_instances: usize,
    /// The least time between the starts of two processes.
    pub start_interval: Duration,
    pub faults: Ec2Faults,
    /// The seed of the faults.
    pub seed: u64,
}

impl Ec2 {
    /// Returns a service without instances.
    ///
    /// # Errors
    /// When the watchdog cannot be started.
    pub fn new(clock: Clock, iam: Arc<Iam>, config: Ec2Config<'_>) -> io::Result<Arc<Self>> {
        let faults = config.faults;
        let now = clock.now();
        let describe_lag = faults.describe_lag.as_millis() as Millis;
        Ok(Arc::new(Self {
            clock,
            iam,
            instances_folder: config.instances_folder.to_owned(),
            stop_grace: config.stop_grace,
            max_instances: config.max_instances,
            start_pacer: Pacer::new(config.start_interval),
            watchdog: Watchdog::start()?,
            shared: Mutex::new(Ec2State {
                instances: Instances::new(faults.capacity.clone(), describe_lag),
                images: Images::configured(config.images, now),
                commands: HashMap::new(),
                boots: 0,
                closing: false,
            }),
            faults: Mutex::new(FaultState::new(faults, config.seed, now)),
            region: Region::new(config.region),
            settled: Notify::new(),
            closing: watch::Sender::new(false),
        }))
    }

    /// Carries out a call of the query protocol, and returns its XML document.
    ///
    /// # Errors
    /// Those of EC2, which the caller puts into the protocol's shape.
    pub fn call(
        self: &Arc<Self>,
        action: &str,
        params: &Params,
        request_id: &str,
    ) -> Result<String, Ec2Error> {
        self.admit(action, params)?;
        if params.flag("DryRun") && ec2_actions::ALL.contains(&action) {
            return Err(Ec2Error::DryRunOperation);
        }
        Xml::response(action, request_id, |xml| {
            self.carry_out(action, params, xml)
        })
    }

    fn carry_out(self: &Arc<Self>, action: &str, params: &Params, xml: &mut Xml) -> Ec2Result {
        match action {
            "DescribeInstances" => self.describe_instances(params, xml),
            "DescribeInstanceStatus" => self.describe_instance_status(params, xml),
            "DescribeTags" => self.describe_tags(params, xml),
            "DescribeImages" => self.describe_images(params, xml),
            "DescribeInstanceAttribute" => self.describe_instance_attribute(params, xml),
            "DescribeInstanceTypeOfferings" => self.describe_instance_type_offerings(params, xml),
            "DescribeInstanceTypes" => self.describe_instance_types(params, xml),
            "DescribeAvailabilityZones" => self.describe_availability_zones(params, xml),
            "DescribeRegions" => self.describe_regions(params, xml),
            "DescribeSubnets" => self.describe_subnets(params, xml),
            "DescribeSecurityGroups" => self.describe_security_groups(params, xml),
            "GetConsoleOutput" => self.get_console_output(params, xml),
            "RegisterImage" => self.register_image(params, xml),
            "DeregisterImage" => self.deregister_image(params, xml),
            "ModifyInstanceAttribute" => self.modify_instance_attribute(params, xml),
            "ModifyInstanceMetadataOptions" => self.modify_instance_metadata_options(params, xml),
            "CreateTags" => self.create_tags(params, xml),
            "DeleteTags" => self.delete_tags(params, xml),
            "RunInstances" => self.run_instances(params, xml),
            "StartInstances" => self.change(params, xml, |shared, ids| {
                shared.check_open()?;
                shared.instances.start(ids, self.clock.now())
            }),
            "StopInstances" => self.change(params, xml, |shared, ids| {
                if let Some(id) = ids.first().filter(|_| params.flag("Hibernate")) {
                    shared.instances.check_exist(ids, self.clock.now())?;
                    return Err(Ec2Error::NoHibernation(id.clone()));
                }
                let force = params.flag("Force");
                shared.instances.stop(ids, force, self.clock.now())
            }),
            "TerminateInstances" => self.change(params, xml, |shared, ids| {
                shared.instances.terminate(ids, self.clock.now())
            }),
            "RebootInstances" => self.reboot_instances(params, xml),
            other => Err(Ec2Error::InvalidAction(other.to_owned())),
        }
    }

    /// Launches the configured instances.
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
                instance_profile: instance.instance_profile.clone(),
                ..LaunchSpec::default()
            };
            self.check_profile(&spec)?;
            self.launch(spec, String::new(), 1, 1)?;
        }
        Ok(())
    }

    /// Returns the tags of an instance or an image.
    pub fn tags_of(&self, id: &str) -> Option<Tags> {
        let shared = self.lock();
        let instance = shared.instances.get(id).map(|it| &it.tags);
        let tags = instance.or_else(|| shared.images.get(id).map(|it| &it.tags));
        tags.cloned()
    }

    /// Stops every instance, each with its grace, and returns when all are gone. Nothing starts afterwards.
    pub async fn close(&self) {
        {
            let mut shared = self.lock();
            shared.closing = true;
            self.closing.send_replace(true);
            for commands in shared.commands.values() {
                TaskCommand::Stop.send(commands);
            }
        }
        loop {
            let settled = self.settled.notified();
            if self.lock().commands.is_empty() {
                return;
            }
            settled.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ec2State> {
        // A panic while the lock was held is a bug, but instances must still be stopped.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ec2State {
    fn check_open(&self) -> Ec2Result {
        if self.closing {
            Err(Ec2Error::ShuttingDown)
        } else {
            Ok(())
        }
    }
}
