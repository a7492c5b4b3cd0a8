//! Checks of an account, before workers are needed: each is one call or a few, and none changes anything.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{ArchitectureType, InstanceTypeInfo, LocationType, Subnet};
use futures::future::BoxFuture;

use crate::fleet::{Fleet, FleetError, FleetInstance, LaunchSpec, Market};
use crate::fleet::{done, failure, filter, tag};
use crate::objects::Objects;

#[cfg(test)]
mod tests;
mod verdict;

use verdict::Verdict::{Fail, Fine, Warn};
pub use verdict::{Finding, Verdict};
use verdict::{brief, refused};

/// What EC2 accepts, before encoding.
const MOST_USER_DATA: usize = 16 * 1024;

/// What is checked.
#[derive(Debug, Clone)]
pub struct Preflight {
    pub fleet: Fleet,
    /// `None`: the endpoint has no quotas.
    pub quotas: Option<aws_sdk_servicequotas::Client>,
    /// With the first instance type and the first subnet.
    pub spec: LaunchSpec,
    pub instance_types: Vec<String>,
    /// Empty: the account's default ones.
    pub subnet_ids: Vec<String>,
    /// The pattern of the instances' tag `Name`.
    pub names: String,
    pub max_workers: u32,
    pub buckets: Vec<Objects>,
}

type Check = for<'a> fn(&'a Preflight) -> BoxFuture<'a, Result<Verdict, FleetError>>;

/// All checks, in the order in which one failure causes others.
const CHECKS: [(&str, Check); 10] = [
    ("credentials", |it| Box::pin(it.credentials())),
    ("image", |it| Box::pin(it.image())),
    ("subnets", |it| Box::pin(it.subnets())),
    ("security groups", |it| Box::pin(it.security_groups())),
    ("instance types", |it| Box::pin(it.instance_types())),
    ("user data", |it| Box::pin(it.user_data())),
    ("launch", |it| Box::pin(it.launch())),
    ("permissions", |it| Box::pin(it.permissions())),
    ("vCPU quota", |it| Box::pin(it.quota())),
    ("buckets", |it| Box::pin(it.buckets())),
];

const ROLE: &str = "give the role the policy deploy/aws/iam/scaler.json";

impl Preflight {
    /// Makes all checks. Without credentials, only the first.
    #[inline(never)]
    pub fn run(&self) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(async move {
            let mut findings = Vec::new();
            for (check, make) in CHECKS {
                let verdict = make(self).await.unwrap_or_else(|error| refused(&error));
                let ends = check == "credentials" && matches!(verdict, Fail(_));
                findings.push(Finding { check, verdict });
                if ends {
                    break;
                }
            }
            findings
        })
    }

    async fn credentials(&self) -> Result<Verdict, FleetError> {
        let region = self.fleet.client.config().region();
        let region = region.map(ToString::to_string).unwrap_or_default();
        let Err(error) = self.fleet.find(&self.names).await else {
            return Ok(Fine(format!("EC2 answers in {region}")));
        };
        let mend = match error.code() {
            Some("UnauthorizedOperation") => ROLE,
            Some("RequestExpired" | "ExpiredToken") => "log in again (`aws sso login`)",
            Some(_) => "check AWS_PROFILE or the keys, and that the account has this region",
            None => "check AWS_PROFILE and its profile, AWS_REGION, and the network",
        };
        Ok(Fail(format!("{}: {mend}", brief(&error))))
    }

    async fn image(&self) -> Result<Verdict, FleetError> {
        let id = &self.spec.image_id;
        let call = self.fleet.client.describe_images().image_ids(id);
        let found = call.send().await.map_err(|error| failure(&error))?;
        let image = found.images().first();
        let state = image
            .and_then(|it| it.state())
            .map_or("absent", |it| it.as_str());
        let architecture = image.and_then(|it| it.architecture());
        let architecture = architecture.map_or("no architecture", |it| it.as_str());
        Ok(match (state, architecture) {
            ("available", "x86_64") => Fine(format!("{id} is available")),
            _ => Fail(format!(
                "{id} is {state}, for {architecture}: set MUSTER_WORKER_IMAGE to an available one for x86_64"
            )),
        })
    }

    async fn describe_subnets(&self) -> Result<Vec<Subnet>, FleetError> {
        let call = self.fleet.client.describe_subnets();
        let call = match &self.subnet_ids[..] {
            [] => call.filters(filter("default-for-az", &["true".to_owned()])),
            ids => call.set_subnet_ids(Some(ids.to_vec())),
        };
        let found = call.send().await.map_err(|error| failure(&error))?;
        Ok(found.subnets().to_vec())
    }

    async fn subnets(&self) -> Result<Verdict, FleetError> {
        let subnets = self.describe_subnets().await?;
        let free = subnets
            .iter()
            .filter_map(Subnet::available_ip_address_count);
        let (free, workers) = (free.map(i64::from).sum::<i64>(), self.max_workers);
        let text = format!("{free} free addresses for {workers} workers");
        let mend = "set MUSTER_WORKER_SUBNET to others, or to more";
        Ok(match free {
            0 => Fail(format!("{text}: {mend}")),
            free if free < workers.into() => Warn(format!("{text}: {mend}")),
            _ => Fine(text),
        })
    }

    async fn security_groups(&self) -> Result<Verdict, FleetError> {
        let ids = &self.spec.security_group_ids;
        if ids.is_empty() {
            let text =
                "the default one: set MUSTER_WORKER_SECURITY_GROUPS to one that lets nothing in";
            return Ok(Warn(text.to_owned()));
        }
        let call = self.fleet.client.describe_security_groups();
        let call = call.set_group_ids(Some(ids.clone()));
        call.send().await.map_err(|error| failure(&error))?;
        Ok(Fine(format!("{} exist", ids.join(", "))))
    }

    async fn describe_types(&self) -> Result<Vec<InstanceTypeInfo>, FleetError> {
        let call = self.fleet.client.describe_instance_types();
        let types = self.instance_types.iter().map(|it| it.as_str().into());
        let call = call.set_instance_types(Some(types.collect()));
        let found = call.send().await.map_err(|error| failure(&error))?;
        Ok(found.instance_types().to_vec())
    }

    async fn instance_types(&self) -> Result<Verdict, FleetError> {
        let mend = "set MUSTER_WORKER_INSTANCE_TYPE";
        for kind in self.describe_types().await? {
            let processor = kind.processor_info();
            let architectures = processor.map_or(&[][..], |it| it.supported_architectures());
            if !architectures.contains(&ArchitectureType::X8664) {
                let kind = kind.instance_type().map_or("a type", |it| it.as_str());
                return Ok(Fail(format!("{kind} is not x86_64: {mend}")));
            }
        }
        let subnets = self.describe_subnets().await?;
        let zones: BTreeSet<_> = subnets
            .iter()
            .filter_map(Subnet::availability_zone)
            .collect();
        let zones: Vec<_> = zones.into_iter().map(str::to_owned).collect();
        let call = self.fleet.client.describe_instance_type_offerings();
        let call = call.location_type(LocationType::AvailabilityZone);
        let call = call.filters(filter("instance-type", &self.instance_types));
        let call = call.filters(filter("location", &zones));
        let offered = call.send().await.map_err(|error| failure(&error))?;
        let offered = offered.instance_type_offerings().iter();
        let offered: Vec<_> = offered.filter_map(|it| it.instance_type()).collect();
        let mut all = self.instance_types.iter();
        let zones = zones.join(", ");
        Ok(
            match all.find(|kind| !offered.iter().any(|it| it.as_str() == *kind)) {
                Some(missing) => Fail(format!("{missing} is not offered in {zones}: {mend}")),
                None => Fine(format!("{} in {zones}", self.instance_types.join(", "))),
            },
        )
    }

    async fn user_data(&self) -> Result<Verdict, FleetError> {
        let size = self.spec.user_data.0.len();
        let text = format!("{size} of at most {MOST_USER_DATA} bytes");
        Ok(match size {
            0..=MOST_USER_DATA => Fine(text),
            _ => Fail(format!("{text}: shorten MUSTER_WORKER_USER_DATA_FILE")),
        })
    }

    async fn launch(&self) -> Result<Verdict, FleetError> {
        let call = self.fleet.run_instances(&self.spec, &self.names).await?;
        let answer = call.dry_run(true).send().await;
        let error = answer.err().map(|error| failure(&error));
        let error = error.ok_or_else(|| FleetError::Unavailable("no dry run".to_owned()))?;
        match error.code() {
            Some("DryRunOperation") => Ok(Fine(format!(
                "EC2 would launch a {} from {}",
                self.spec.instance_type, self.spec.image_id
            ))),
            Some("UnauthorizedOperation") => Ok(Fail(format!("{}: {ROLE}", brief(&error)))),
            _ => Err(error),
        }
    }

    async fn permissions(&self) -> Result<Verdict, FleetError> {
        let found = self.fleet.find(&self.names).await?;
        let Some(FleetInstance { id, name, .. }) = found.first() else {
            let text =
                "to start, stop, terminate and name: not checked, as there is no instance yet";
            return Ok(Warn(text.to_owned()));
        };
        let client = &self.fleet.client;
        let start = client.start_instances().instance_ids(id).dry_run(true);
        let stop = client.stop_instances().instance_ids(id).dry_run(true);
        let terminate = client.terminate_instances().instance_ids(id).dry_run(true);
        let tags = client.create_tags().resources(id).tags(tag("Name", name));
        let answers = [
            ("StartInstances", done(start.send().await)),
            ("StopInstances", done(stop.send().await)),
            ("TerminateInstances", done(terminate.send().await)),
            ("CreateTags", done(tags.dry_run(true).send().await)),
        ];
        let mut denied = Vec::new();
        for (call, answer) in answers {
            match answer {
                Err(error) if error.code() == Some("UnauthorizedOperation") => {
                    denied.push(format!("ec2:{call}"));
                }
                Err(error) if error.code().is_none() || error.is_throttled() => return Err(error),
                _ => {}
            }
        }
        Ok(match &denied[..] {
            [] => Fine("to start, stop, terminate and name instances".to_owned()),
            denied => Fail(format!("{} denied on {id}: {ROLE}", denied.join(", "))),
        })
    }

    async fn quota(&self) -> Result<Verdict, FleetError> {
        let Some(quotas) = &self.quotas else {
            return Ok(Warn("not checked: only AWS itself has quotas".to_owned()));
        };
        if let Some(other) = self.instance_types.iter().find(|it| !is_standard(it)) {
            return Ok(Warn(format!("not checked: {other} has a quota of its own")));
        }
        let quota = match self.spec.market {
            Market::OnDemand => "L-1216C47A",
            Market::Spot => "L-34B43A08",
        };
        let call = quotas.get_service_quota().service_code("ec2");
        let answer = call.quota_code(quota).send().await;
        let answer = answer.map_err(|error| failure(&error))?;
        let limit = answer.quota().and_then(|it| it.value()).unwrap_or_default() as i64;
        let types = self.describe_types().await?;
        let cpus = types
            .iter()
            .filter_map(|it| it.v_cpu_info()?.default_v_cpus());
        let each = cpus.max().map_or(1, |cpus| i64::from(cpus.max(1)));
        let (workers, needed) = (self.max_workers, each * i64::from(self.max_workers));
        let text = format!("{limit} vCPUs ({quota}); {workers} workers need {needed}");
        let mend = "request a higher quota in the Service Quotas console";
        Ok(match limit / each {
            0 => Fail(format!("{text}: {mend}")),
            fit if limit < needed => {
                Warn(format!("{text}: {mend}, or set MUSTER_MAX_WORKERS={fit}"))
            }
            _ => Fine(text),
        })
    }

    async fn buckets(&self) -> Result<Verdict, FleetError> {
        let mut faults = Vec::new();
        for bucket in &self.buckets {
            let name = bucket.bucket();
            match bucket.head().await {
                // One that does not exist is made when it is needed.
                Ok(200 | 404) => {}
                Ok(301 | 307) => faults.push(format!("{name} is in another region")),
                Ok(400) => faults.push(format!("{name} is not a name for a bucket")),
                Ok(403) => faults.push(format!(
                    "{name} is another account's, or s3:ListBucket is denied"
                )),
                Ok(status) => faults.push(format!("S3 answers {status} for {name}")),
                Err(error) => faults.push(format!("{name}: {error}")),
            }
        }
        let names: Vec<_> = self.buckets.iter().map(Objects::bucket).collect();
        Ok(if faults.is_empty() {
            Fine(format!("{} can be used", names.join(", ")))
        } else {
            Fail(format!(
                "{}: choose another MUSTER_PREFIX",
                faults.join("; ")
            ))
        })
    }
}

/// Returns whether the type counts toward the quotas of standard instances (A, C, D, H, I, M, R, T, Z).
fn is_standard(instance_type: &str) -> bool {
    let letters: String = instance_type
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .collect();
    letters.starts_with(['a', 'c', 'd', 'h', 'i', 'm', 'r', 't', 'z'])
        && !["dl", "hpc", "inf", "mac", "trn"].contains(&letters.as_str())
}
