//! Keeps EC2's request limits from this side: a call that EC2 would throttle is not made.
//!
//! EC2 has a token bucket for the requests of each action, and for some actions another one for the instances that they
//! concern. The sizes are published at <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html> and hold
//! for an account and a region. EC2 refills its buckets once a second, at a time within the second that is not known
//! here. The buckets below refill steadily, so they are smaller by one second's refill.

use std::str::FromStr;
use std::time::Duration;

use crate::plan::Moment;

/// An action with limits of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Start,
    Launch,
    Stop,
    Terminate,
    Rename,
}

/// Which request limits to keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RequestLimits {
    /// The published limits times a factor: below 1 when others in the account call EC2 as well, above 1 when AWS has
    /// raised the account's limits.
    Aws(f64),
    /// No limits, for clouds that do not throttle.
    None,
}

impl Action {
    /// The name of EC2's action.
    pub fn call_name(self) -> &'static str {
        match self {
            Self::Start => "StartInstances",
            Self::Launch => "RunInstances",
            Self::Stop => "StopInstances",
            Self::Terminate => "TerminateInstances",
            Self::Rename => "CreateTags",
        }
    }
}

/// The token buckets of all actions.
#[derive(Debug, Clone)]
pub struct Throttle {
    /// In the order of [`Action`]; empty when no limits are kept.
    buckets: Vec<Buckets>,
}

#[derive(Debug, Clone)]
struct Buckets {
    requests: Bucket,
    instances: Option<Bucket>,
}

/// A token bucket that refills steadily.
#[derive(Debug, Clone)]
struct Bucket {
    most: f64,
    per_second: f64,
    tokens: f64,
    /// When `tokens` was computed; `None` before the first use.
    at: Option<Moment>,
}

/// Bucket size and refill per second, of requests and of instances.
type Published = ((f64, f64), Option<(f64, f64)>);

const PUBLISHED: [Published; 5] = [
    ((5.0, 2.0), Some((1000.0, 2.0))),
    ((5.0, 2.0), Some((1000.0, 2.0))),
    ((50.0, 5.0), Some((1000.0, 20.0))),
    ((50.0, 5.0), Some((1000.0, 20.0))),
    ((100.0, 10.0), None),
];
/// How full a bucket is at the start. An earlier scaler may have used most of it just before, but it left one second's
/// refill, as this one does.
const FIRST_SHARE: f64 = 0.1;

impl Throttle {
    #[must_use]
    pub fn new(limits: RequestLimits) -> Self {
        let buckets = match limits {
            RequestLimits::None => Vec::new(),
            RequestLimits::Aws(factor) => PUBLISHED
                .iter()
                .map(|&(requests, instances)| Buckets {
                    requests: Bucket::new(requests, factor),
                    instances: instances.map(|instances| Bucket::new(instances, factor)),
                })
                .collect(),
        };
        Self { buckets }
    }

    /// Refills all buckets. Call it often from the start on.
    pub fn refill(&mut self, now: Moment) {
        for buckets in &mut self.buckets {
            buckets.requests.refill(now);
            if let Some(instances) = &mut buckets.instances {
                instances.refill(now);
            }
        }
    }

    /// Takes the tokens of one call that concerns up to `wanted` instances. Returns for how many it may be made; 0 when it
    /// may not be made.
    #[must_use]
    pub fn take(&mut self, action: Action, wanted: u32, now: Moment) -> u32 {
        self.refill(now);
        let Some(buckets) = self.buckets.get_mut(action as usize) else {
            return wanted;
        };
        let most = buckets
            .instances
            .as_ref()
            .map_or(u32::MAX, Bucket::available);
        let taken = wanted.min(most);
        if taken == 0 || buckets.requests.available() == 0 {
            return 0;
        }
        buckets.requests.tokens -= 1.0;
        if let Some(instances) = &mut buckets.instances {
            instances.tokens -= f64::from(taken);
        }
        taken
    }

    /// Like [`take`](Self::take), but only if the call may be made for all of them.
    #[must_use]
    pub fn take_all(&mut self, action: Action, wanted: u32, now: Moment) -> bool {
        self.refill(now);
        let instances = self.buckets.get(action as usize);
        let instances = instances.and_then(|buckets| buckets.instances.as_ref());
        let there = instances.map_or(u32::MAX, Bucket::available);
        there >= wanted && self.take(action, wanted, now) == wanted
    }

    /// Takes the tokens of up to `wanted` calls about one instance each. Returns how many may be made.
    #[must_use]
    pub fn take_calls(&mut self, action: Action, wanted: u32, now: Moment) -> u32 {
        let mut taken = 0;
        while taken < wanted && self.take(action, 1, now) == 1 {
            taken += 1;
        }
        taken
    }

    /// Takes the tokens of calls that were already made.
    pub fn spend(&mut self, action: Action, calls: u32) {
        if let Some(buckets) = self.buckets.get_mut(action as usize) {
            buckets.requests.tokens -= f64::from(calls);
        }
    }

    /// Empties the action's bucket after EC2 throttled it all the same: others use the account, or its limits are lower.
    pub fn throttled(&mut self, action: Action, now: Moment) {
        self.refill(now);
        if let Some(buckets) = self.buckets.get_mut(action as usize) {
            buckets.requests.tokens = buckets.requests.tokens.min(0.0);
        }
    }

    /// Returns until when the action is held back; `None` when a call may be made.
    #[must_use]
    pub fn held_until(&self, action: Action) -> Option<Moment> {
        let buckets = self.buckets.get(action as usize)?;
        let instances = buckets.instances.as_ref().and_then(Bucket::ready_at);
        buckets.requests.ready_at().max(instances)
    }
}

impl Bucket {
    fn new((size, refill): (f64, f64), factor: f64) -> Self {
        // At least one token, or no call would ever be made.
        let most = ((size - refill) * factor).max(1.0);
        Self {
            most,
            per_second: refill * factor,
            tokens: (most * FIRST_SHARE).max(1.0),
            at: None,
        }
    }

    fn refill(&mut self, now: Moment) {
        let elapsed = now.since(self.at.unwrap_or(now)).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.most);
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
    }

    fn available(&self) -> u32 {
        // Saturates at 0: tokens may be negative.
        self.tokens.floor() as u32
    }

    fn ready_at(&self) -> Option<Moment> {
        let missing = 1.0 - self.tokens;
        // A millisecond more, so that rounding does not leave the bucket short by a fraction of a token.
        (missing > 0.0).then(|| {
            let wait = Duration::from_secs_f64(missing / self.per_second);
            let from = self.at.unwrap_or_default();
            from.after(wait + Duration::from_millis(1))
        })
    }
}

impl FromStr for RequestLimits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "aws" => Ok(Self::Aws(1.0)),
            "none" => Ok(Self::None),
            _ => match text.parse() {
                Ok(factor) if (0.01..=1000.0).contains(&factor) => Ok(Self::Aws(factor)),
                _ => Err(
                    "expected aws, none, or a factor of AWS's limits from 0.01 to 1000".to_owned(),
                ),
            },
        }
    }
}

#[cfg(test)]
mod tests {
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
}
