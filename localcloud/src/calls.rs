//! How many calls were answered, by service, action and status.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use http::StatusCode;

/// The counter. Actions are names from the services' own lists, so that clients cannot make it grow.
#[derive(Debug, Default)]
pub struct Calls {
    counts: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
}

impl Calls {
    /// Counts one call.
    pub fn count(&self, service: &'static str, action: &'static str, status: StatusCode) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts
            .entry((service, action, status.as_u16()))
            .or_default() += 1;
    }

    /// The counts in the Prometheus text format, and their sum as `localcloud_aws_calls_total`.
    pub fn prometheus(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from(
            "# HELP localcloud_calls_total AWS calls answered, by service, action and HTTP status.\n\
             # TYPE localcloud_calls_total counter\n",
        );
        for ((service, action, status), count) in counts.iter() {
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
