//! Faults of any call: latency, errors and connection resets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{FaultRng, FaultsError, Latency, check_probability};
use crate::clock::Millis;
use crate::protocol::AwsService;
use crate::token_bucket::{RateLimit, TokenBucket};
use crate::wildcard::Pattern;

/// One rule. It applies to each call that it matches with its probability, and has all the effects that it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallFault {
    /// The service; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<AwsService>,
    /// The action, with `*` and `?`; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The probability that the rule applies to a matching call.
    #[serde(default = "certain")]
    pub probability: f64,
    /// The time before anything else happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Latency>,
    /// A token bucket. Only calls that exceed it get the error or reset; the default error is the service's own for
    /// throttling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<RateLimit>,
    /// The error that replaces the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CallError>,
    /// Whether the connection is reset instead of a reply.
    #[serde(default)]
    pub reset: bool,
    /// Whether error and reset come before the call has its effect, or after it, when only the reply is lost.
    #[serde(default)]
    pub when: When,
}

/// An error that replaces a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallError {
    /// As AWS spells it, such as `InternalError`.
    pub code: String,
    /// The HTTP status. The default is AWS's for a known code, else 400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// When a fault replaces the reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    #[default]
    Before,
    After,
}

/// The fault that one call meets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InjectedFault {
    /// The time that the call waits first.
    pub latency: Duration,
    /// What replaces the reply, and when.
    pub outcome: Option<(When, FaultOutcome)>,
}

/// What replaces a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultOutcome {
    Error {
        code: String,
        status: u16,
        message: String,
    },
    Reset,
}

/// The rules with the states of their random generators and buckets.
#[derive(Debug)]
pub struct CallFaults {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    fault: CallFault,
    rng: FaultRng,
    bucket: Option<TokenBucket>,
}

impl CallFaults {
    /// Returns the rules with full buckets and random generators that were not drawn from yet.
    pub fn new(faults: &[CallFault], seed: u64, now: Millis) -> Self {
        let rules = faults.iter().enumerate().map(|(index, fault)| Rule {
            rng: FaultRng::new(seed, &format!("call.{index}")),
            bucket: fault.limit.map(|limit| TokenBucket::full(limit, now)),
            fault: fault.clone(),
        });
        Self {
            rules: rules.collect(),
        }
    }

    /// Draws the fault of one call. Latencies add up; of several outcomes the first rule's counts.
    pub fn draw(&mut self, service: AwsService, action: &str, now: Millis) -> InjectedFault {
        let mut fault = InjectedFault::default();
        for rule in &mut self.rules {
            if !rule.fault.matches(service, action) || !rule.rng.random_bool(rule.fault.probability)
            {
                continue;
            }
            if let Some(latency) = rule.fault.latency_ms {
                fault.latency += latency.draw(&mut rule.rng);
            }
            let applies = match &mut rule.bucket {
                Some(bucket) => !bucket.take(1, now),
                None => rule.fault.error.is_some() || rule.fault.reset,
            };
            let outcome = applies.then(|| match rule.fault.reset {
                true => FaultOutcome::Reset,
                false => rule.fault.outcome(service),
            });
            if fault.outcome.is_none() {
                fault.outcome = outcome.map(|outcome| (rule.fault.when, outcome));
            }
        }
        fault
    }
}

impl CallFault {
    fn matches(&self, service: AwsService, action: &str) -> bool {
        self.service.is_none_or(|wanted| wanted == service)
            && self
                .action
                .as_ref()
                .is_none_or(|pattern| Pattern::new(pattern).matches(action))
    }

    fn outcome(&self, service: AwsService) -> FaultOutcome {
        let (code, status) = match &self.error {
            Some(error) => (error.code.as_str(), error.status),
            None => (throttling_code(service), None),
        };
        let message = self.error.as_ref().and_then(|error| error.message.clone());
        FaultOutcome::Error {
            code: code.to_owned(),
            status: status.unwrap_or_else(|| status_of(code)),
            message: message.unwrap_or_else(|| message_of(code).to_owned()),
        }
    }

    pub(super) fn check(&self, index: usize) -> Result<(), FaultsError> {
        let name = |field: &str| format!("call[{index}]{field}");
        check_probability(&name(".probability"), self.probability)?;
        if let Some(latency) = self.latency_ms {
            latency.check(&name(".latency_ms"))?;
        }
        if self.limit.is_some_and(|limit| !limit.is_valid()) {
            return Err(FaultsError::RateLimit(name(".limit")));
        }
        if let Some(status) = self.error.as_ref().and_then(|error| error.status)
            && !(400..=599).contains(&status)
        {
            return Err(FaultsError::Status(name(".error.status")));
        }
        let has_effect =
            self.latency_ms.is_some() || self.limit.is_some() || self.error.is_some() || self.reset;
        if has_effect {
            Ok(())
        } else {
            Err(FaultsError::NoEffect(name("")))
        }
    }
}

fn certain() -> f64 {
    1.0
}

/// Returns the service's code for throttling.
fn throttling_code(service: AwsService) -> &'static str {
    match service {
        AwsService::S3 => "SlowDown",
        AwsService::Sqs => "RequestThrottled",
        AwsService::Ec2 => "RequestLimitExceeded",
        AwsService::Iam | AwsService::Sts | AwsService::CloudWatch => "Throttling",
        AwsService::Logs => "ThrottlingException",
        AwsService::Lambda => "TooManyRequestsException",
    }
}

/// Returns the status of a code in AWS's lists of common errors.
fn status_of(code: &str) -> u16 {
    match code {
        "InternalError" | "InternalFailure" | "InsufficientInstanceCapacity" => 500,
        "RequestLimitExceeded" | "ServiceUnavailable" | "SlowDown" | "Unavailable" => 503,
        "AccessDenied" | "RequestTimeTooSkewed" => 403,
        _ => 400,
    }
}

fn message_of(code: &str) -> &'static str {
    match code {
        "InternalError" | "InternalFailure" => {
            "We encountered an internal error. Please try again."
        }
        "RequestLimitExceeded" => "Request limit exceeded.",
        "RequestThrottled" => "Rate exceeded",
        "ServiceUnavailable" | "Unavailable" => "Service is unable to handle request.",
        "SlowDown" => "Please reduce your request rate.",
        _ => "This error is injected by localcloud's faults.",
    }
}
