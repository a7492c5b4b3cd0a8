//! Keeps EC2's request limits from this side: a call that EC2 would throttle is not made.
//!
//! EC2 has a token bucket for the requests of each action, and for some actions another one for the instances that they
//! concern. The sizes are published at <https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html> and hold
//! for an account and a region. EC2 refills its buckets once a second, at a time within the second that is not known
//! here. The buckets below refill steadily, so they are smaller by one second's refill.

#[cfg(test)]
mod tests;

use std::str::FromStr;

use crate::plan::Moment;
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
    requests: TokenBucket,
    instances: Option<TokenBucket>,
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
                    requests: bucket(requests, factor),
                    instances: instances.map(|instances| bucket(instances, factor)),
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

    /// Like [`take`](Self::take), but only if the call may be made for all of them.
    #[must_use]
    pub fn take_all(&mut self, action: Action, wanted: u32, now: Moment) -> bool {
        self.refill(now);
        let instances = self.buckets.get(action as usize);
        let instances = instances.and_then(|buckets| buckets.instances.as_ref());
        let there = instances.map_or(u32::MAX, TokenBucket::available);
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
            buckets.requests.spend(calls);
        }
    }

    /// Empties the action's bucket after EC2 throttled it all the same: others use the account, or its limits are lower.
    pub fn throttled(&mut self, action: Action, now: Moment) {
        self.refill(now);
        if let Some(buckets) = self.buckets.get_mut(action as usize) {
            buckets.requests.drain();
        }
    }

    /// Returns until when the action is held back; `None` when a call may be made.
    #[must_use]
    pub fn held_until(&self, action: Action) -> Option<Moment> {
        let buckets = self.buckets.get(action as usize)?;
        let instances = buckets.instances.as_ref().and_then(TokenBucket::ready_at);
        buckets.requests.ready_at().max(instances)
    }
}

/// Returns a bucket that is smaller than EC2's by one second's refill.
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
                _ => Err(
                    "expected aws, none, or a factor of AWS's limits from 0.01 to 1000".to_owned(),
                ),
            },
        }
    }
}
