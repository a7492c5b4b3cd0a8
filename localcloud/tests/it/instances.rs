//! Calls of EC2 that many tests make.

use std::path::Path;
use std::time::Duration;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::SdkError;
use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::operation::start_instances::{StartInstancesError, StartInstancesOutput};
use aws_sdk_ec2::operation::stop_instances::{StopInstancesError, StopInstancesOutput};
use aws_sdk_ec2::operation::terminate_instances::{
    TerminateInstancesError, TerminateInstancesOutput,
};
use aws_sdk_ec2::types::{
    Filter, Instance, InstanceStateName, ResourceType, Tag, TagSpecification,
};
use localcloud::Ec2Faults;

use crate::cloud::{Cloud, eventually};

pub type Called<T, E> = Result<T, SdkError<E, HttpResponse>>;

/// A script that runs until it is stopped.
pub const SLEEPER: &str = "exec sleep 1000";
/// A script that logs its process id and that of a background process, and runs until it is stopped.
pub const PARENT: &str = "sleep 1000 & echo ids $$ $!; wait";
/// An identifier that no instance has.
pub const ABSENT: &str = "i-0123456789abcdef0";
/// Longer than any test takes.
pub const FOREVER: Duration = Duration::from_secs(600);

/// Starts a localcloud with faults of EC2, whose image runs `PARENT`.
pub async fn faulty_cloud(inject: impl FnOnce(&mut Ec2Faults)) -> Cloud {
    let mut faults = Ec2Faults::default();
    inject(&mut faults);
    Cloud::with_ec2_faults(PARENT, faults).await
}

pub fn filter(name: &str, values: &[&str]) -> Filter {
    let values = values.iter().map(|value| (*value).to_owned());
    Filter::builder()
        .name(name)
        .set_values(Some(values.collect()))
        .build()
}

pub fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// Returns tags for the instances of a launch.
pub fn instance_tag(key: &str, value: &str) -> TagSpecification {
    tag_specification(ResourceType::Instance, key, value)
}

pub fn tag_specification(kind: ResourceType, key: &str, value: &str) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(kind)
        .tags(tag(key, value))
        .build()
}

/// Returns a launch of `count` instances of `ami-test`.
pub fn run(ec2: &Client, count: i32) -> RunInstancesFluentBuilder {
    ec2.run_instances()
        .image_id("ami-test")
        .min_count(count)
        .max_count(count)
}

/// Launches instances and returns their identifiers.
pub async fn launched(request: RunInstancesFluentBuilder) -> Vec<String> {
    let launched = request.send().await.unwrap();
    let instances = launched.instances().iter();
    instances
        .map(|instance| instance.instance_id().unwrap().to_owned())
        .collect()
}

/// Launches one instance of `ami-test`.
pub async fn launch(ec2: &Client) -> String {
    launched(run(ec2, 1)).await.remove(0)
}

pub async fn start(ec2: &Client, id: &str) -> Called<StartInstancesOutput, StartInstancesError> {
    ec2.start_instances().instance_ids(id).send().await
}

pub async fn stop(ec2: &Client, id: &str) -> Called<StopInstancesOutput, StopInstancesError> {
    ec2.stop_instances().instance_ids(id).send().await
}

pub async fn terminate(
    ec2: &Client,
    id: &str,
) -> Called<TerminateInstancesOutput, TerminateInstancesError> {
    ec2.terminate_instances().instance_ids(id).send().await
}

pub async fn described(ec2: &Client, filters: Vec<Filter>) -> Vec<Instance> {
    let described = ec2.describe_instances().set_filters(Some(filters));
    let reservations = described.send().await.unwrap().reservations;
    reservations
        .unwrap_or_default()
        .into_iter()
        .flat_map(|one| one.instances.unwrap_or_default())
        .collect()
}

pub async fn describe(ec2: &Client, id: &str) -> Instance {
    let described = ec2.describe_instances().instance_ids(id).send().await;
    described.unwrap().reservations()[0].instances()[0].clone()
}

/// Waits until `count` instances run.
pub async fn running(ec2: &Client, count: usize) {
    eventually("all run", || async {
        let filters = vec![filter("instance-state-name", &["running"])];
        (described(ec2, filters).await.len() == count).then_some(())
    })
    .await;
}

/// Waits until an instance is in a state.
pub async fn in_state(ec2: &Client, id: &str, state: InstanceStateName) -> Instance {
    eventually(&format!("{id} is {state}"), || async {
        let instance = describe(ec2, id).await;
        (instance.state()?.name() == Some(&state)).then_some(instance)
    })
    .await
}

/// Waits for the two process ids that a script like `PARENT` logs.
pub async fn process_ids(console_log: &Path) -> Vec<u32> {
    eventually("the script logs its process ids", || async {
        let log = std::fs::read_to_string(console_log).ok()?;
        let mut lines = log.lines().rev();
        let ids = lines.find_map(|line| line.strip_prefix("ids "))?;
        let ids: Vec<u32> = ids.split(' ').map(|id| id.parse().unwrap()).collect();
        (ids.len() == 2).then_some(ids)
    })
    .await
}

/// Returns whether a process runs. A zombie does not.
pub fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X']))
}

pub fn any_alive(processes: &[u32]) -> bool {
    processes.iter().copied().any(is_alive)
}
