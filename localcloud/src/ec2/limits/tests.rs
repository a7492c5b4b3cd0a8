#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const NOW: Millis = 1_800_000_000_000;

fn bucket(size: u32, refill_per_second: f64) -> TokenBucket {
    TokenBucket::full(
        Bucket {
            size,
            refill_per_second,
        },
        NOW,
    )
}

#[test]
fn a_bucket_gives_what_it_holds_and_then_what_is_refilled() {
    let mut bucket = bucket(5, 2.0);
    assert!((0..5).all(|_| bucket.take(1, NOW)));
    assert!(!bucket.take(1, NOW));
    assert!(!bucket.take(1, NOW + 499));
    assert!(bucket.take(1, NOW + 500), "half a second refills a token");
    assert!(!bucket.take(1, NOW + 500));
    assert!(
        (0..5).all(|_| bucket.take(1, NOW + 3_600_000)),
        "it is full again after an hour"
    );
    assert!(
        !bucket.take(1, NOW + 3_600_000),
        "and holds no more than its size"
    );
}

#[test]
fn a_bucket_with_too_few_tokens_gives_none_of_them() {
    let mut bucket = bucket(10, 0.0);
    assert!(!bucket.take(11, NOW));
    assert!(bucket.take(10, NOW));
}

#[test]
fn a_bucket_refilled_with_fractions_gets_them_all() {
    let mut bucket = bucket(1, 0.1);
    assert!(bucket.take(1, NOW));
    let given = (1..=1_000_000)
        .step_by(7)
        .filter(|passed| bucket.take(1, NOW + passed))
        .count();
    assert!((99..=100).contains(&given), "a token in 10 s: {given}");
}

#[test]
fn awss_limits_are_kept_by_action_and_by_instance() {
    let mut limiter = Limiter::new(&Limits::aws(), NOW);
    assert!((0..5).all(|_| limiter.admit("StartInstances", false, 1, NOW).is_ok()));
    assert_eq!(
        limiter.admit("StartInstances", false, 1, NOW),
        Err(Ec2Error::RequestLimitExceeded)
    );
    assert!(
        limiter.admit("RunInstances", false, 1000, NOW).is_ok(),
        "each action has a bucket of its own"
    );
    assert_eq!(
        limiter.admit("RunInstances", false, 1, NOW),
        Err(Ec2Error::RequestLimitExceeded),
        "all instances of the bucket are launched"
    );
    assert!(limiter.admit("RunInstances", false, 1, NOW + 500).is_ok());
    for (action, size) in [
        ("RebootInstances", 50),
        ("CreateTags", 100),
        ("TerminateInstances", 100),
    ] {
        assert!((0..size).all(|_| limiter.admit(action, false, 0, NOW).is_ok()));
        assert!(limiter.admit(action, false, 0, NOW).is_err(), "{action}");
    }
    assert!((0..100).all(|_| limiter.admit("DescribeInstances", false, 0, NOW).is_ok()));
    assert!(limiter.admit("DescribeInstances", false, 0, NOW).is_err());
    assert!(limiter.admit("StopInstances", false, 1000, NOW).is_ok());
    assert!(
        limiter
            .admit("StopInstances", false, 21, NOW + 1000)
            .is_err()
    );
    assert!(
        limiter
            .admit("StopInstances", false, 20, NOW + 1000)
            .is_ok()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Also when the clock stands still or calls come late, and wherever the window begins.
    #[test]
    fn no_window_gets_more_than_the_size_and_its_refill(
        size in 1_u32..20,
        refill_per_second in 0_u32..50,
        calls in proptest::collection::vec((0_u64..400, 1_u64..6), 1..80),
    ) {
        let mut bucket = bucket(size, f64::from(refill_per_second));
        let mut now = NOW;
        let mut given = Vec::new();
        for (pause, tokens) in calls {
            now += pause;
            if bucket.take(tokens, now) {
                given.push((now, tokens));
            }
        }
        for (first, (from, _)) in given.iter().enumerate() {
            let mut taken = 0;
            for (at, tokens) in &given[first..] {
                taken += tokens;
                let refilled = (at - from) * u64::from(refill_per_second);
                prop_assert!(taken * 1000 <= u64::from(size) * 1000 + refilled);
            }
        }
    }

    /// Nothing is held back from a caller that asks often enough for the bucket never to overflow.
    #[test]
    fn a_patient_caller_gets_every_token(size in 2_u32..20, refill_per_second in 1_u32..50, seconds in 1_u64..20) {
        let mut bucket = bucket(size, f64::from(refill_per_second));
        let given = (0..=seconds * 1000).filter(|passed| bucket.take(1, NOW + passed)).count();
        let granted = u64::from(size) + seconds * u64::from(refill_per_second);
        prop_assert_eq!(given as u64, granted);
    }
}

#[test]
fn a_call_for_everything_takes_its_token_elsewhere() {
    let mut limiter = Limiter::new(&Limits::aws(), NOW);
    let mut calls = |unfiltered: bool| {
        (0..200)
            .take_while(|_| {
                limiter
                    .admit("DescribeInstances", unfiltered, 0, NOW)
                    .is_ok()
            })
            .count()
    };
    assert_eq!((calls(true), calls(false)), (50, 100));
    // Others have one bucket for all their calls.
    let images = (0..200).take_while(|call| {
        limiter
            .admit("DescribeImages", call % 2 == 0, 0, NOW)
            .is_ok()
    });
    assert_eq!(images.count(), 100);
}
