//! The time to describe 1,000 instances.

use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Map, Value};

use crate::rates::{median, rounded};
use crate::servers::Server;

/// No instance gets a process, which would disturb the measurement.
pub const FAULTS: &str = "[ec2]\nfail_boot_every = 1\n";

const INSTANCES: usize = 1000;
const CALLS: usize = 60;

/// Measures one DescribeInstances of all instances in milliseconds. The SDK parses the reply.
pub async fn measure(server: &Server) -> anyhow::Result<Map<String, Value>> {
    let ec2 = server.ec2();
    let count = INSTANCES as i32;
    ec2.run_instances()
        .image_id("ami-bench")
        .min_count(count)
        .max_count(count)
        .send()
        .await?;
    let mut times = Vec::new();
    for _ in 0..CALLS {
        let started = Instant::now();
        let described = ec2.describe_instances().send().await?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
        let instances: usize = described
            .reservations()
            .iter()
            .map(|reservation| reservation.instances().len())
            .sum();
        ensure!(instances == INSTANCES, "{instances} instances described");
    }
    let fastest = times.iter().copied().reduce(f64::min).context("no calls")?;
    Ok(Map::from_iter([
        ("describe_1000_ms".to_owned(), rounded(median(times))),
        ("describe_1000_fastest_ms".to_owned(), rounded(fastest)),
    ]))
}
