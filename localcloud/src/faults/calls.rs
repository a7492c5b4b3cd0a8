//! What may happen to any call: it takes long, is refused, or its connection is reset.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Bucket, Dice, FaultsError, Latency, check_probability};
use crate::clock::Millis;
use crate::token_bucket::TokenBucket;
use crate::wildcard::Pattern;

/// A service as the faults name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    S3,
    Sqs,
    Ec2,
}

/// One rule. It applies to the calls that it matches, to each with its probability, and does all that it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallFault {
    /// Whose calls; of all services, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Which action, with `*` and `?`; all, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// How likely a matching call is to meet the rule.
    #[serde(default = "certain")]
    pub probability: f64,
    /// What is added to the time that the call takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Latency>,
    /// A token bucket: only calls beyond it get the error, by default the service's own for throttling, or the reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Bucket>,
    /// What the call is answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<CallError>,
    /// The connection is reset instead of an answer.
    #[serde(default)]
    pub reset: bool,
    /// Whether error and reset come before the call is carried out or after it, when only its answer is lost.
    #[serde(default)]
    pub when: When,
}

/// An error to answer with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallError {
    /// As AWS spells it, such as `InternalError`.
    pub code: String,
    /// HTTP status; by default AWS's for the code where that is known, else 400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    #[default]
    Before,
    After,
}

/// What happens to one call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// How long it waits before anything else.
    pub latency: Duration,
    /// What it meets instead of its own answer, and when.
    pub outcome: Option<(When, Outcome)>,
}

/// What a call is answered instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Error {
        code: String,
        status: u16,
        message: String,
    },
    Reset,
}

/// The rules with the state of their dice and buckets.
#[derive(Debug)]
pub struct CallFaults {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    fault: CallFault,
    dice: Dice,
    bucket: Option<TokenBucket>,
}

impl CallFaults {
    /// Rules at their beginning: dice unrolled, buckets full.
    pub fn new(faults: &[CallFault], seed: u64, now: Millis) -> Self {
        let rules = faults.iter().enumerate().map(|(index, fault)| Rule {
            dice: Dice::new(seed, &format!("call.{index}")),
            bucket: fault.limit.map(|limit| TokenBucket::full(limit, now)),
            fault: fault.clone(),
        });
        Self {
            rules: rules.collect(),
        }
    }

    /// Judges one call. Latencies add up; of several outcomes the first rule's counts.
    pub fn judge(&mut self, service: Service, action: &str, now: Millis) -> Verdict {
        let mut verdict = Verdict::default();
        for rule in &mut self.rules {
            if !rule.fault.matches(service, action) || !rule.dice.roll(rule.fault.probability) {
                continue;
            }
            if let Some(latency) = rule.fault.latency_ms {
                verdict.latency += latency.draw(&mut rule.dice);
            }
            let strikes = match &mut rule.bucket {
                Some(bucket) => !bucket.take(1, now),
                None => rule.fault.error.is_some() || rule.fault.reset,
            };
            let outcome = strikes.then(|| match rule.fault.reset {
                true => Outcome::Reset,
                false => rule.fault.outcome(service),
            });
            if verdict.outcome.is_none() {
                verdict.outcome = outcome.map(|outcome| (rule.fault.when, outcome));
            }
        }
        verdict
    }
}

impl CallFault {
    fn matches(&self, service: Service, action: &str) -> bool {
        self.service.is_none_or(|wanted| wanted == service)
            && self
                .action
                .as_ref()
                .is_none_or(|pattern| Pattern::of(pattern).matches(action))
    }

    fn outcome(&self, service: Service) -> Outcome {
        let (code, status) = match &self.error {
            Some(error) => (error.code.as_str(), error.status),
            None => (throttling_code(service), None),
        };
        let message = self.error.as_ref().and_then(|error| error.message.clone());
        Outcome::Error {
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
        if let Some(limit) = self.limit {
            limit.check(name(".limit"))?;
        }
        if let Some(status) = self.error.as_ref().and_then(|error| error.status)
            && !(400..=599).contains(&status)
        {
            return Err(FaultsError::Status(name(".error.status")));
        }
        let does_something =
            self.latency_ms.is_some() || self.limit.is_some() || self.error.is_some() || self.reset;
        if does_something {
            Ok(())
        } else {
            Err(FaultsError::NoEffect(name("")))
        }
    }
}

fn certain() -> f64 {
    1.0
}

/// What a service calls too many calls.
fn throttling_code(service: Service) -> &'static str {
    match service {
        Service::S3 => "SlowDown",
        Service::Sqs => "RequestThrottled",
        Service::Ec2 => "RequestLimitExceeded",
    }
}

/// The statuses that AWS's lists of common errors give these codes.
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
        _ => "This error was asked for in localcloud's faults.",
    }
}
