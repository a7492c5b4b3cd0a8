#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::clock::Clock;
use crate::config::Authentication;
use crate::config::Image;
use crate::ec2::state::InstanceState;
use crate::ec2::{Ec2Config, Params};
use crate::faults::{Ec2Faults, FaultRng};
use crate::iam::Iam;

const SEED: u64 = 7;

fn cloud(folder: &std::path::Path) -> Arc<Ec2> {
    let faults = Ec2Faults {
        // No instance gets a process, which this test does not need.
        fail_boot_every: 1,
        spot_interruption: 0.5,
        spot_interruption_after: Duration::ZERO,
        spot_notice: Duration::ZERO,
        ..Ec2Faults::default()
    };
    let image = Image {
        id: "ami-test".to_owned(),
        name: None,
        command: vec!["true".to_owned()],
        env: Default::default(),
        user_data_env: Vec::new(),
    };
    let config = Ec2Config {
        region: "us-east-1",
        images: vec![image],
        instances_folder: folder,
        stop_grace: Duration::ZERO,
        max_instances: 100,
        start_interval: Duration::ZERO,
        faults,
        seed: SEED,
    };
    let iam = Iam::without_roles(Clock::start(), Authentication::Any);
    Ec2::new(Clock::start(), iam, config).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seed_decides_which_instances_are_interrupted() {
    let mut rng = FaultRng::new(SEED, "ec2.spot_interruption");
    let expected: Vec<bool> = (0..60).map(|_| rng.random_bool(0.5)).collect();
    let folder = tempfile::tempdir().unwrap();
    let ec2 = cloud(folder.path());
    let form = b"Action=RunInstances&ImageId=ami-test&MinCount=60&MaxCount=60&InstanceMarketOptions.MarketType=spot";
    let params = Params::parse(form).unwrap();
    ec2.call("RunInstances", &params, "request").unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let interrupted: Vec<bool> = ec2
            .lock()
            .instances
            .all_visible(ec2.clock.now())
            .map(|instance| instance.state == InstanceState::Terminated)
            .collect();
        if interrupted == expected {
            break;
        }
        assert!(Instant::now() < deadline, "{interrupted:?}\n{expected:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ec2.close().await;
}
