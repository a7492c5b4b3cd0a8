//! The number of calls, by service, action and status.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use http::StatusCode;

use crate::route::Operation;

/// Counts calls. Actions are names from the services' own lists, so clients cannot make it grow.
#[derive(Debug, Default)]
pub struct CallMetrics {
    counts: Mutex<BTreeMap<CallLabels, u64>>,
}

/// Service, action, and the HTTP status; no status if a fault reset the connection.
type CallLabels = (&'static str, &'static str, Option<u16>);

impl CallMetrics {
    /// Counts one call; `status` is `None` if its connection was reset.
    pub fn count(&self, operation: Operation, status: Option<StatusCode>) {
        let service = operation.protocol.service().name();
        let call = (service, operation.action, status.map(|it| it.as_u16()));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(call).or_default() += 1;
    }

    /// Returns the counts in the Prometheus text format, and their sum as `localcloud_aws_calls_total`.
    pub fn prometheus(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from(
            "# HELP localcloud_calls_total AWS calls by service, action and HTTP status.\n\
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
            "# HELP localcloud_aws_calls_total AWS calls of all services.\n\
             # TYPE localcloud_aws_calls_total counter\n\
             localcloud_aws_calls_total {sum}\n"
        );
        text
    }
}
