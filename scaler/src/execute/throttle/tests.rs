use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// EC2's own bucket: refilled once a second, at `phase` within it.
struct Ec2Bucket {
    tokens: f64,
    size: f64,
    refill: f64,
    phase: u64,
    refills: u64,
}

impl Ec2Bucket {
    fn full((size, refill): (f64, f64), phase: u64) -> Self {
        Self {
            tokens: size,
            size,
            refill,
            phase,
            refills: 0,
        }
    }

    /// Takes tokens, and returns whether EC2 would accept the call.
    fn takes(&mut self, tokens: u32, now: u64) -> bool {
        let refills = (now + self.phase) / 1000;
        let added = (refills - self.refills) as f64 * self.refill;
        (self.tokens, self.refills) = ((self.tokens + added).min(self.size), refills);
        self.tokens -= f64::from(tokens);
        self.tokens >= 0.0
    }
}

fn at(milliseconds: u64) -> Moment {
    Moment::after_epoch(Duration::from_millis(1_000_000 + milliseconds))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Makes a thousand bursts of calls at random times, each as soon as it is allowed, with scaler restarts in between.
    #[test]
    fn ec2_never_throttles(
        phase in 0_u64..1000,
        bursts in proptest::collection::vec((0_u64..1500, 1_u32..8, 1_u32..30, 0..50), 1000),
    ) {
        let mut throttle = Throttle::new(RequestLimits::Aws(1.0));
        let mut requests = Ec2Bucket::full(PUBLISHED[0].0, phase);
        let mut instances = Ec2Bucket::full(PUBLISHED[0].1.unwrap(), phase);
        let (mut now, mut restarted_at) = (0, 0);
        for (pause, calls, count, luck) in bursts {
            now += pause;
            // A supervisor restarts a service at most once a second.
            if luck == 0 && now > restarted_at + 1000 {
                (throttle, restarted_at) = (Throttle::new(RequestLimits::Aws(1.0)), now);
                // A new scaler cannot know the instances' bucket, so here EC2's is full again.
                instances = Ec2Bucket::full(PUBLISHED[0].1.unwrap(), phase);
                instances.refills = (now + phase) / 1000;
            }
            for _ in 0..calls {
                let taken = throttle.take(Action::Start, count, at(now));
                if taken > 0 {
                    prop_assert!(requests.takes(1, now), "throttled at {now}");
                    prop_assert!(instances.takes(taken, now), "too many instances at {now}");
                } else {
                    let held = throttle.held_until(Action::Start).expect("it is held back");
                    prop_assert!(held > at(now));
                }
            }
        }
    }

    #[test]
    fn a_call_may_be_made_at_the_time_until_which_it_was_held_back(counts in proptest::collection::vec(1_u32..400, 1..60)) {
        let mut throttle = Throttle::new(RequestLimits::Aws(1.0));
        let mut now = at(0);
        for count in counts {
            let mut left = count;
            let mut tries = 0;
            while left > 0 {
                let taken = throttle.take(Action::Launch, left, now);
                left -= taken;
                if taken == 0 {
                    now = throttle.held_until(Action::Launch).expect("it is held back");
                    prop_assert!(throttle.take(Action::Launch, 1, now) == 1);
                    left -= 1;
                }
                tries += 1;
                prop_assert!(tries <= 2 * count + 2);
            }
        }
    }
}

#[test]
fn a_new_scaler_may_start_and_launch_at_once_but_does_not_assume_full_buckets() {
    let mut throttle = Throttle::new(RequestLimits::Aws(1.0));
    assert_eq!(throttle.take(Action::Start, 15, at(0)), 15);
    assert_eq!(throttle.take(Action::Launch, 15, at(0)), 15);
    assert_eq!(throttle.take(Action::Start, 15, at(0)), 0);
    let held = throttle.held_until(Action::Start);
    assert_eq!(held, Some(at(501)));
    assert_eq!(throttle.take(Action::Start, 15, at(501)), 15);
}

#[test]
fn full_buckets_allow_three_start_calls_at_once() {
    let mut throttle = Throttle::new(RequestLimits::Aws(1.0));
    throttle.refill(at(0));
    assert_eq!(throttle.take_calls(Action::Start, 10, at(60_000)), 3);
    assert_eq!(throttle.take_calls(Action::Rename, 1000, at(60_000)), 90);
}

#[test]
fn a_large_start_is_cut_to_the_bucket() {
    let mut throttle = Throttle::new(RequestLimits::Aws(1.0));
    assert_eq!(throttle.take(Action::Start, 400, at(0)), 99);
}

#[test]
fn an_action_that_ec2_throttled_waits() {
    let mut throttle = Throttle::new(RequestLimits::Aws(1.0));
    throttle.throttled(Action::Start, at(0));
    assert_eq!(throttle.take(Action::Start, 1, at(0)), 0);
    assert_eq!(throttle.held_until(Action::Start), Some(at(501)));
}

#[test]
fn limits_can_be_scaled_and_switched_off() {
    let mut throttle = Throttle::new("none".parse().unwrap());
    assert_eq!(throttle.take(Action::Start, 5000, at(0)), 5000);
    assert_eq!(throttle.held_until(Action::Start), None);
    let mut throttle = Throttle::new("10".parse().unwrap());
    throttle.refill(at(0));
    assert_eq!(throttle.take_calls(Action::Start, 100, at(60_000)), 30);
    for wrong in ["", "0", "-1", "much", "NaN"] {
        assert!(wrong.parse::<RequestLimits>().is_err(), "{wrong:?}");
    }
}
