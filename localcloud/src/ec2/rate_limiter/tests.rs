use super::*;

const NOW: Millis = 1_800_000_000_000;

#[test]
fn awss_limits_apply_by_action_and_by_instance() {
    let mut limiter = RateLimiter::new(&RateLimits::aws(), NOW);
    let mut admit = |action: &str, instances, now| limiter.admit(action, false, instances, now);
    assert!((0..5).all(|_| admit("StartInstances", 1, NOW).is_ok()));
    let exceeded = Err(Ec2Error::RequestLimitExceeded);
    assert_eq!(admit("StartInstances", 1, NOW), exceeded);
    assert!(
        admit("RunInstances", 1000, NOW).is_ok(),
        "each action has a bucket of its own"
    );
    assert_eq!(
        admit("RunInstances", 1, NOW),
        exceeded,
        "all tokens for instances are taken"
    );
    assert!(admit("RunInstances", 1, NOW + 500).is_ok());
    for (action, size) in [
        ("RebootInstances", 50),
        ("CreateTags", 100),
        ("TerminateInstances", 100),
        ("DescribeInstances", 100),
    ] {
        assert!((0..size).all(|_| admit(action, 0, NOW).is_ok()));
        assert!(admit(action, 0, NOW).is_err(), "{action}");
    }
    assert!(admit("StopInstances", 1000, NOW).is_ok());
    assert!(admit("StopInstances", 21, NOW + 1000).is_err());
    assert!(admit("StopInstances", 20, NOW + 1000).is_ok());
}

#[test]
fn an_unfiltered_call_takes_its_token_from_another_bucket() {
    let mut limiter = RateLimiter::new(&RateLimits::aws(), NOW);
    let mut admitted = |action: &str, is_unfiltered: fn(&u32) -> bool| {
        (0..200)
            .take_while(|call| limiter.admit(action, is_unfiltered(call), 0, NOW).is_ok())
            .count()
    };
    assert_eq!(admitted("DescribeInstances", |_| true), 50);
    assert_eq!(admitted("DescribeInstances", |_| false), 100);
    // Most actions have one bucket for all their calls.
    assert_eq!(admitted("DescribeImages", |call| call % 2 == 0), 100);
}
