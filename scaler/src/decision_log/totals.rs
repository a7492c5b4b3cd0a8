use crate::execute::ExecutionEvent;
use crate::plan::{StopCause, Timestamp};

/// What was done since the scaler started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub started: u64,
    pub launched: u64,
    pub stopped: u64,
    /// Workers that reported to be busy after they were ordered to stop as idle; see `muster.v1.Totals`.
    pub busy_workers_stopped: u64,
    /// Instances stopped because their worker fell silent or never attended; see `muster.v1.Totals`.
    pub silent_workers_stopped: u64,
    /// Those of them whose worker never attended.
    pub never_attended_stopped: u64,
    /// Instances that were terminated: spot instances, outdated ones, and those that failed to boot too often.
    pub terminated: u64,
    /// When the first successful call to start or launch instances was sent.
    pub first_start_at: Option<Timestamp>,
}

impl Totals {
    /// Adds what a call to EC2 has brought about.
    pub fn record(&mut self, event: &ExecutionEvent) {
        match *event {
            ExecutionEvent::Started {
                instances,
                ordered_at,
            } => {
                self.started += instances;
                self.first_start_at.get_or_insert(ordered_at);
            }
            ExecutionEvent::Launched {
                instances,
                ordered_at,
            } => {
                self.launched += instances;
                self.first_start_at.get_or_insert(ordered_at);
            }
            ExecutionEvent::Stopped { cause, terminated } => {
                self.stopped += u64::from(cause != StopCause::OutdatedStopped);
                self.terminated += u64::from(terminated);
                self.silent_workers_stopped += u64::from(cause.is_failure());
                self.never_attended_stopped += u64::from(cause == StopCause::NeverAttended);
            }
            ExecutionEvent::Discarded { instances } => self.terminated += instances,
            ExecutionEvent::CallFailed { .. } => {}
        }
    }
}
