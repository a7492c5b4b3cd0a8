//! The file of faults: what it can contain, and errors for the rest.

use std::time::Duration;

use localcloud::{Capacity, Ec2Faults, Faults, RateLimit, RateLimits};

fn read(text: &str) -> Result<Faults, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faults.toml");
    std::fs::write(&file, text).unwrap();
    Faults::read(&file).map_err(|error| error.to_string())
}

#[test]
fn a_file_of_faults_is_read_and_checked() {
    let ec2 = read(
        r#"
        seed = 7
        [ec2]
        describe_lag_ms = 1500
        boot_delay_ms = 250
        fail_boot_every = 5
        [ec2.limits]
        preset = "aws"
        [ec2.limits.requests]
        StartInstances = { size = 3, refill_per_second = 0.5 }
        [ec2.limits.resources]
        RunInstances = { size = 10, refill_per_second = 1 }
        [[ec2.capacity]]
        instance_type = "c5.large"
        subnet = "subnet-1"
        instances = 4
        [[ec2.capacity]]
        instances = 9
        "#,
    )
    .unwrap()
    .ec2;
    assert_eq!(ec2.describe_lag, Duration::from_millis(1500));
    assert_eq!(ec2.boot_delay, Duration::from_millis(250));
    assert_eq!(ec2.fail_boot_every, 5);
    let limit = |size, refill_per_second| RateLimit {
        size,
        refill_per_second,
    };
    let mut limits = RateLimits::aws();
    limits
        .requests
        .insert("StartInstances".to_owned(), limit(3, 0.5));
    limits
        .resources
        .insert("RunInstances".to_owned(), limit(10, 1.0));
    assert_eq!(ec2.limits, limits);
    let narrow = Capacity {
        instance_type: Some("c5.large".to_owned()),
        subnet: Some("subnet-1".to_owned()),
        instances: 4,
    };
    let wide = Capacity {
        instance_type: None,
        subnet: None,
        instances: 9,
    };
    assert_eq!(ec2.capacity, [narrow, wide]);
    assert_eq!(
        read("").unwrap().ec2,
        Ec2Faults::default(),
        "the default has no faults"
    );

    let start = "[ec2.limits.requests]\nStartInstances";
    for (text, complaint) in [
        ("[ec2]\nlag = 1".to_owned(), "unknown field"),
        ("[ec2.limits]\npreset = 'gcp'".to_owned(), "unknown variant"),
        (
            format!("{start}s = {{ size = 1, refill_per_second = 1 }}"),
            "no such action",
        ),
        (
            format!("{start} = {{ size = 0, refill_per_second = 1 }}"),
            "at least 1 token",
        ),
        (
            format!("{start} = {{ size = 1, refill_per_second = -1 }}"),
            "0 to 1e9",
        ),
        (
            format!("{start} = {{ size = 1, refill_per_second = nan }}"),
            "0 to 1e9",
        ),
        (
            "[ec2.limits.resources]\nCreateTags = { size = 1, refill_per_second = 1 }".to_owned(),
            "no such action",
        ),
        (
            "[[ec2.capacity]]\ninstances = 1\n[[ec2.capacity]]\ninstances = 2".to_owned(),
            "two capacities",
        ),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.contains(complaint), "{text}\n{error}");
    }
}
