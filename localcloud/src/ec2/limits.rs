//! EC2's API rate limits: token buckets, as AWS describes them in "Request throttling for the Amazon EC2 API".

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::Ec2Error;
use crate::clock::Millis;
use crate::faults::{Bucket, Limits};
use crate::token_bucket::TokenBucket;

/// The actions that are limited by the number of their instances as well.
pub const RESOURCE_ACTIONS: [&str; 4] = [
    "RunInstances",
    "StartInstances",
    "StopInstances",
    "TerminateInstances",
];

/// The actions that are limited otherwise when they are asked for everything at once.
pub const UNFILTERED_ACTIONS: [&str; 2] = ["DescribeInstanceStatus", "DescribeInstances"];

/// The buckets of one account.
#[derive(Debug)]
pub struct Limiter {
    requests: BTreeMap<String, TokenBucket>,
    unfiltered: BTreeMap<String, TokenBucket>,
    resources: BTreeMap<String, TokenBucket>,
}

impl Limiter {
    pub fn new(limits: &Limits, now: Millis) -> Self {
        let fill = |buckets: &BTreeMap<String, Bucket>| {
            buckets
                .iter()
                .map(|(action, bucket)| (action.clone(), TokenBucket::full(*bucket, now)))
                .collect()
        };
        Self {
            requests: fill(&limits.requests),
            unfiltered: fill(&limits.unfiltered),
            resources: fill(&limits.resources),
        }
    }

    /// Takes the tokens of a call for so many instances; whether it is `unfiltered` decides which bucket its own token
    /// comes from. That token is gone also when there are too few for the instances: the call was made.
    ///
    /// # Errors
    /// `RequestLimitExceeded` when there are too few tokens, which a call for more instances than the bucket holds
    /// always gets.
    pub fn admit(
        &mut self,
        action: &str,
        unfiltered: bool,
        instances: u64,
        now: Millis,
    ) -> Result<(), Ec2Error> {
        let take = |bucket: Option<&mut TokenBucket>, tokens| {
            bucket.is_none_or(|bucket| bucket.take(tokens, now))
        };
        let request_bucket = match self.unfiltered.get_mut(action).filter(|_| unfiltered) {
            Some(bucket) => Some(bucket),
            None => self.requests.get_mut(action),
        };
        let admitted = take(request_bucket, 1) && take(self.resources.get_mut(action), instances);
        if admitted {
            Ok(())
        } else {
            Err(Ec2Error::RequestLimitExceeded)
        }
    }
}
