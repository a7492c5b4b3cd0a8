//! EC2's API rate limits, after AWS's "Request throttling for the Amazon EC2 API".

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::Ec2Error;
use super::error::Ec2Result;
use crate::clock::Millis;
use crate::faults::RateLimits;
use crate::token_bucket::{RateLimit, TokenBucket};

/// The token buckets of one account.
#[derive(Debug)]
pub struct RateLimiter {
    requests: BTreeMap<String, TokenBucket>,
    unfiltered: BTreeMap<String, TokenBucket>,
    resources: BTreeMap<String, TokenBucket>,
}

impl RateLimiter {
    pub fn new(limits: &RateLimits, now: Millis) -> Self {
        let fill = |limits: &BTreeMap<String, RateLimit>| {
            limits
                .iter()
                .map(|(action, limit)| (action.clone(), TokenBucket::full(*limit, now)))
                .collect()
        };
        Self {
            requests: fill(&limits.requests),
            unfiltered: fill(&limits.unfiltered),
            resources: fill(&limits.resources),
        }
    }

    /// Takes one token for a call, and one for each of its instances.
    ///
    /// A call `is_unfiltered` takes its own token from another bucket, if its action has one. That token is spent also
    /// when there are too few for the instances: the call was made.
    ///
    /// # Errors
    /// `RequestLimitExceeded` when there are too few tokens. A call for more instances than the bucket holds always fails.
    pub fn admit(
        &mut self,
        action: &str,
        is_unfiltered: bool,
        instances: u64,
        now: Millis,
    ) -> Ec2Result {
        let take = |bucket: Option<&mut TokenBucket>, tokens| {
            bucket.is_none_or(|bucket| bucket.take(tokens, now))
        };
        let request_bucket = match self.unfiltered.get_mut(action).filter(|_| is_unfiltered) {
            Some(bucket) => Some(bucket),
            None => self.requests.get_mut(action),
        };
        if take(request_bucket, 1) && take(self.resources.get_mut(action), instances) {
            Ok(())
        } else {
            Err(Ec2Error::RequestLimitExceeded)
        }
    }
}
