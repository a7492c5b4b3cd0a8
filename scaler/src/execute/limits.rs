//! EC2's request limits, kept from this side: a call that EC2 would throttle is not made.
//!
//! EC2 has a bucket of tokens for the requests of each action, and for some actions another one for the instances that
//! they concern. They are published at
//! <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html> and hold for an account and a region. EC2
//! refills them once a second, at a moment that is not known here, so the buckets below, which refill steadily, stay
//! behind by what a second refills.

use std::str::FromStr;

use crate::plan::Timestamp;
use crate::plan::throttle::TokenBucket;

/// An action with limits of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Start,
    Launch,
    Stop,
    Terminate,
    Rename,
}

/// Which limits to keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RequestLimits {
    /// The published ones times a factor: below 1 when others in the account call EC2, too, above 1 when AWS has raised
    /// the account's.
    Aws(f64),
    /// None, for clouds that do not throttle.
    None,
}

/// The buckets of all actions.
#[derive(Debug, Clone)]
pub struct Limits {
    /// In the order of [`Action`]; none when no limits are kept.
    buckets: Vec<Buckets>,
}

#[derive(Debug, Clone)]
struct Buckets {
    requests: TokenBucket,
    instances: Option<TokenBucket>,
}

/// Requests: bucket size and refill a second; instances: the same.
type Published = ((f64, f64), Option<(f64, f64)>);

const PUBLISHED: [Published; 5] = [
    ((5.0, 2.0), Some((1000.0, 2.0))),
    ((5.0, 2.0), Some((1000.0, 2.0))),
    ((50.0, 5.0), Some((1000.0, 20.0))),
    ((50.0, 5.0), Some((1000.0, 20.0))),
    ((100.0, 10.0), None),
];
/// How much of a bucket is there at the start. A scaler that ran until a moment ago may have used the most of it, but it
/// has left what a second refills, as this one does.
const FIRST_SHARE: f64 = 0.1;

impl Limits {
    #[must_use]
    pub fn new(limits: RequestLimits) -> Self {
        let buckets = match limits {
            RequestLimits::None => Vec::new(),
            RequestLimits::Aws(factor) => PUBLISHED
                .iter()
                .map(|&(requests, instances)| Buckets {
                    requests: bucket(requests, factor),
                    instances: instances.map(|instances| bucket(instances, factor)),
                })
                .collect(),
        };
        Self { buckets }
    }

    /// Lets the time since the last call count; to be called often from the start on.
    pub fn refill(&mut self, now: Timestamp) {
        for buckets in &mut self.buckets {
            buckets.requests.refill(now);
            if let Some(instances) = &mut buckets.instances {
                instances.refill(now);
            }
        }
    }

    /// Takes what one call needs that concerns up to `wanted` instances; answers for how many it may be made, 0 when it
    /// may not.
    #[must_use]
    pub fn take(&mut self, action: Action, wanted: u32, now: Timestamp) -> u32 {
        self.refill(now);
        let Some(buckets) = self.buckets.get_mut(action as usize) else {
            return wanted;
        };
        let most = buckets
            .instances
            .as_ref()
            .map_or(u32::MAX, TokenBucket::available);
        let taken = wanted.min(most);
        if taken == 0 || buckets.requests.available() == 0 {
            return 0;
        }
        buckets.requests.spend(1);
        if let Some(instances) = &mut buckets.instances {
            instances.spend(taken);
        }
        taken
    }

    /// As [`Limits::take`], but only if the call may be made for all of them.
    #[must_use]
    pub fn take_all(&mut self, action: Action, wanted: u32, now: Timestamp) -> bool {
        self.refill(now);
        let instances = self.buckets.get(action as usize);
        let instances = instances.and_then(|buckets| buckets.instances.as_ref());
        let there = instances.map_or(u32::MAX, TokenBucket::available);
        there >= wanted && self.take(action, wanted, now) == wanted
    }

    /// Takes as many calls as may be made now, up to `wanted`.
    #[must_use]
    pub fn take_calls(&mut self, action: Action, wanted: u32, now: Timestamp) -> u32 {
        let mut taken = 0;
        while taken < wanted && self.take(action, 1, now) == 1 {
            taken += 1;
        }
        taken
    }

    /// Accounts for calls that were made without asking.
    pub fn spend(&mut self, action: Action, calls: u32) {
        if let Some(buckets) = self.buckets.get_mut(action as usize) {
            buckets.requests.spend(calls);
        }
    }

    /// EC2 has throttled the action all the same: somebody else uses the account, or its limits are lower.
    pub fn throttled(&mut self, action: Action, now: Timestamp) {
        self.refill(now);
        if let Some(buckets) = self.buckets.get_mut(action as usize) {
            buckets.requests.drain();
        }
    }

    /// Until when the action is held back; absent when a call may be made.
    #[must_use]
    pub fn held_until(&self, action: Action) -> Option<Timestamp> {
        let buckets = self.buckets.get(action as usize)?;
        let instances = buckets.instances.as_ref().and_then(TokenBucket::ready_at);
        buckets.requests.ready_at().max(instances)
    }
}

/// A bucket that stays behind EC2's by what a second refills.
fn bucket((size, refill): (f64, f64), factor: f64) -> TokenBucket {
    // At least one token, or no call would ever be made.
    let most = ((size - refill) * factor).max(1.0);
    TokenBucket::new(most, refill * factor, (most * FIRST_SHARE).max(1.0))
}

impl FromStr for RequestLimits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "aws" => Ok(Self::Aws(1.0)),
            "none" => Ok(Self::None),
            _ => match text.parse() {
                Ok(factor) if (0.01..=1000.0).contains(&factor) => Ok(Self::Aws(factor)),
                _ => Err("expected aws, none, or a factor of AWS's limits from 0.01 on".to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// EC2's side: refilled once a second, at `phase` within it.
    struct Theirs {
        tokens: f64,
        size: f64,
        refill: f64,
        phase: u64,
        refills: u64,
    }

    impl Theirs {
        fn full((size, refill): (f64, f64), phase: u64) -> Self {
            Self {
                tokens: size,
                size,
                refill,
                phase,
                refills: 0,
            }
        }

        /// Whether EC2 takes a call for this many tokens.
        fn takes(&mut self, tokens: u32, now: u64) -> bool {
            let refills = (now + self.phase) / 1000;
            let added = (refills - self.refills) as f64 * self.refill;
            (self.tokens, self.refills) = ((self.tokens + added).min(self.size), refills);
            self.tokens -= f64::from(tokens);
            self.tokens >= 0.0
        }
    }

    fn at(milliseconds: u64) -> Timestamp {
        Timestamp::after_epoch(Duration::from_millis(1_000_000 + milliseconds))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A thousand bursts of calls at random times, as soon as they may be made; the scaler is restarted in between.
        #[test]
        fn ec2_never_throttles(
            phase in 0_u64..1000,
            bursts in proptest::collection::vec((0_u64..1500, 1_u32..8, 1_u32..30, 0..50), 1000),
        ) {
            let mut limits = Limits::new(RequestLimits::Aws(1.0));
            let mut requests = Theirs::full(PUBLISHED[0].0, phase);
            let mut instances = Theirs::full(PUBLISHED[0].1.unwrap(), phase);
            let (mut now, mut restarted_at) = (0, 0);
            for (pause, calls, count, luck) in bursts {
                now += pause;
                // A supervisor does not restart a service more often than that.
                if luck == 0 && now > restarted_at + 1000 {
                    (limits, restarted_at) = (Limits::new(RequestLimits::Aws(1.0)), now);
                    // The instances' bucket cannot be guessed: whoever uses it up must not restart.
                    instances = Theirs::full(PUBLISHED[0].1.unwrap(), phase);
                    instances.refills = (now + phase) / 1000;
                }
                for _ in 0..calls {
                    let taken = limits.take(Action::Start, count, at(now));
                    if taken > 0 {
                        prop_assert!(requests.takes(1, now), "throttled at {now}");
                        prop_assert!(instances.takes(taken, now), "too many instances at {now}");
                    } else {
                        let held = limits.held_until(Action::Start).expect("it says until when");
                        prop_assert!(held > at(now));
                    }
                }
            }
        }

        /// No lost wake-up: when a call is held back until a moment, it may be made at that moment.
        #[test]
        fn what_was_held_back_may_be_done_then(counts in proptest::collection::vec(1_u32..400, 1..60)) {
            let mut limits = Limits::new(RequestLimits::Aws(1.0));
            let mut now = at(0);
            for count in counts {
                let mut left = count;
                let mut turns = 0;
                while left > 0 {
                    let taken = limits.take(Action::Launch, left, now);
                    left -= taken;
                    if taken == 0 {
                        now = limits.held_until(Action::Launch).expect("it says until when");
                        prop_assert!(limits.take(Action::Launch, 1, now) == 1);
                        left -= 1;
                    }
                    turns += 1;
                    prop_assert!(turns <= 2 * count + 2);
                }
            }
        }
    }

    #[test]
    fn a_fresh_scaler_may_start_and_launch_at_once_but_does_not_believe_in_full_buckets() {
        let mut limits = Limits::new(RequestLimits::Aws(1.0));
        assert_eq!(limits.take(Action::Start, 15, at(0)), 15);
        assert_eq!(limits.take(Action::Launch, 15, at(0)), 15);
        assert_eq!(limits.take(Action::Start, 15, at(0)), 0);
        let held = limits.held_until(Action::Start);
        assert_eq!(held, Some(at(501)));
        assert_eq!(limits.take(Action::Start, 15, at(501)), 15);
    }

    #[test]
    fn a_rested_scaler_has_three_calls_at_once() {
        let mut limits = Limits::new(RequestLimits::Aws(1.0));
        limits.refill(at(0));
        assert_eq!(limits.take_calls(Action::Start, 10, at(60_000)), 3);
        assert_eq!(limits.take_calls(Action::Rename, 1000, at(60_000)), 90);
    }

    #[test]
    fn a_large_start_is_cut_to_what_the_bucket_holds() {
        let mut limits = Limits::new(RequestLimits::Aws(1.0));
        assert_eq!(limits.take(Action::Start, 400, at(0)), 99);
    }

    #[test]
    fn what_ec2_throttles_waits() {
        let mut limits = Limits::new(RequestLimits::Aws(1.0));
        limits.throttled(Action::Start, at(0));
        assert_eq!(limits.take(Action::Start, 1, at(0)), 0);
        assert_eq!(limits.held_until(Action::Start), Some(at(501)));
    }

    #[test]
    fn limits_can_be_scaled_and_switched_off() {
        let mut limits = Limits::new("none".parse().unwrap());
        assert_eq!(limits.take(Action::Start, 5000, at(0)), 5000);
        assert_eq!(limits.held_until(Action::Start), None);
        let mut limits = Limits::new("10".parse().unwrap());
        limits.refill(at(0));
        assert_eq!(limits.take_calls(Action::Start, 100, at(60_000)), 30);
        for wrong in ["", "0", "-1", "much", "NaN"] {
            assert!(wrong.parse::<RequestLimits>().is_err(), "{wrong:?}");
        }
    }
}
