//! How many calls were answered, by service, action and status.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use http::StatusCode;

/// The counter. Actions are names from the services' own lists, so that clients cannot make it grow.
#[derive(Debug, Default)]
pub struct Calls {
    counts: Mutex<BTreeMap<Call, u64>>,
}

/// Service, action, and the HTTP status; none where a fault reset the connection instead.
type Call = (&'static str, &'static str, Option<u16>);

impl Calls {
    /// Counts one call.
    pub fn count(&self, service: &'static str, action: &'static str, status: StatusCode) {
        self.add((service, action, Some(status.as_u16())));
    }

    /// Counts one call whose connection was reset.
    pub fn count_reset(&self, service: &'static str, action: &'static str) {
        self.add((service, action, None));
    }

    fn add(&self, call: Call) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(call).or_default() += 1;
    }

    /// The counts in the Prometheus text format, and their sum as `localcloud_aws_calls_total`.
    pub fn prometheus(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from(
            "# HELP localcloud_calls_total AWS calls answered, by service, action and HTTP status.\n\
             # TYPE localcloud_calls_total counter\n",
        );
        for ((service, action, status), count) in counts.iter() {
            let status = status.map_or("reset".to_owned(), |status| status.to_string());
            let _ = writeln!(
                text,
                "localcloud_calls_total{{service=\"{service}\",action=\"{action}\",status=\"{status}\"}} {count}"
            );
        }
        let sum: u64 = counts.values().sum();
        let _ = write!(
            text,
            "# HELP localcloud_aws_calls_total AWS calls answered, of all services.\n\
             # TYPE localcloud_aws_calls_total counter\n\
             localcloud_aws_calls_total {sum}\n"
        );
        text
    }
}

/// The name of an action as the list of its service spells it, or `Unknown`.
pub fn known_action(actions: &'static [&'static str], name: &str) -> &'static str {
    actions
        .iter()
        .copied()
        .find(|action| *action == name)
        .unwrap_or("Unknown")
}
