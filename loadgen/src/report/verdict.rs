use super::Summary;
use super::grade::Measured;

/// What a pass demands.
#[derive(Debug, Clone, Copy, PartialEq, clap::Args)]
#[command(next_help_heading = "What a pass demands")]
pub struct Demands {
    /// Workers at the peak; the requests are the limit where they are fewer
    #[arg(
        long,
        env = "MUSTER_MAX_WORKERS",
        value_name = "N",
        default_value_t = 15
    )]
    pub max_workers: usize,
    /// Longest time from the last answer to no worker running
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub max_scale_in: f64,
    /// Longest time from the first request to the first answer
    #[arg(long, value_name = "SECONDS", default_value_t = 6.0)]
    pub max_first_answer: f64,
}

/// What the buckets and queues held at the end, and the buckets at the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    pub photos_before: u64,
    pub results_before: u64,
    pub photos: u64,
    pub results: u64,
    pub messages: u64,
}

/// The reasons against a pass; none is a pass.
#[must_use]
pub fn reasons(
    summary: &Summary,
    measured: &Measured,
    stored: &Stored,
    demands: &Demands,
) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut unless = |holds: bool, reason: String| {
        if !holds {
            reasons.push(reason);
        }
    };
    unless(summary.requests > 0, "nothing was sent".to_owned());
    unless(
        summary.failed == 0,
        format!("{} of {} requests failed", summary.failed, summary.requests),
    );
    unless(
        summary.wrong == 0,
        format!("{} of {} names are wrong", summary.wrong, summary.succeeded),
    );
    let duplicates = measured.duplicate_replies.unwrap_or(0);
    unless(duplicates == 0, format!("{duplicates} duplicate replies"));
    match measured.busy_workers_stopped {
        Some(busy) => unless(busy == 0, format!("{busy} busy workers were stopped")),
        None => unless(
            false,
            "the scaler did not say whether it stopped busy workers".to_owned(),
        ),
    }
    let (most, wanted) = (
        measured.workers.most(),
        demands.max_workers.min(summary.requests),
    );
    // Work may be done before the last of the workers has booted; that they were ordered is enough then.
    let ordered = measured.workers_ordered.unwrap_or(0);
    unless(
        most <= demands.max_workers,
        format!("{most} workers ran, more than {}", demands.max_workers),
    );
    unless(
        most >= wanted || ordered >= wanted as u64,
        format!("{most} workers ran at most and {ordered} were ordered, not {wanted}"),
    );
    match measured.scale_in_s {
        Some(scale_in) => unless(
            scale_in <= demands.max_scale_in,
            format!(
                "no worker running {scale_in:.2} s after the last answer, not within {} s",
                demands.max_scale_in
            ),
        ),
        None => unless(false, "workers still ran at the end".to_owned()),
    }
    if let Some(first_answer) = summary.first_answer_s {
        unless(
            first_answer <= demands.max_first_answer,
            format!(
                "first answer after {first_answer:.2} s, not within {} s",
                demands.max_first_answer
            ),
        );
    }
    for (bucket, before, after) in [
        ("in-bucket", stored.photos_before, stored.photos),
        ("out-bucket", stored.results_before, stored.results),
    ] {
        // A bucket that was not empty may have held the same photos before.
        let expected = summary.requests as u64;
        let is_right = if before == 0 {
            after == expected
        } else {
            after >= expected
        };
        unless(
            is_right,
            format!("{after} objects in the {bucket}, not {expected}"),
        );
    }
    unless(
        stored.messages == 0,
        format!("{} messages are left on the queues", stored.messages),
    );
    reasons
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Outcome, Record, Timeline};
    use super::*;

    const DEMANDS: Demands = Demands {
        max_workers: 15,
        max_scale_in: 2.0,
        max_first_answer: 6.0,
    };

    struct Case {
        summary: Summary,
        measured: Measured,
        stored: Stored,
    }

    impl Case {
        fn good() -> Self {
            let record = Record {
                file_name: "a.jpg".into(),
                sent_at: Duration::ZERO,
                ended_at: Duration::from_secs(3),
                retries: 0,
                outcome: Outcome::Correct,
            };
            Self {
                summary: Summary::of(&vec![record; 100]),
                measured: Measured {
                    duplicate_replies: Some(0),
                    busy_workers_stopped: Some(0),
                    workers_ordered: Some(15),
                    scale_in_s: Some(0.7),
                    aws_calls: None,
                    workers: workers(15),
                },
                stored: Stored {
                    photos: 100,
                    results: 100,
                    ..Stored::default()
                },
            }
        }

        fn reasons(&self) -> Vec<String> {
            reasons(&self.summary, &self.measured, &self.stored, &DEMANDS)
        }
    }

    fn workers(most: usize) -> Timeline {
        let mut workers = Timeline::default();
        workers.record(Duration::from_secs(1), most);
        workers.record(Duration::from_secs(4), 0);
        workers
    }

    #[test]
    fn a_good_run_passes() {
        assert_eq!(Case::good().reasons(), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_a_reason() {
        type Spoil = fn(&mut Case);
        let faults: [(Spoil, &str); 13] = [
            (|case| case.summary.failed = 1, "1 of 100 requests failed"),
            (|case| case.summary.wrong = 2, "2 of 100 names are wrong"),
            (
                |case| case.measured.duplicate_replies = Some(3),
                "3 duplicate replies",
            ),
            (
                |case| case.measured.busy_workers_stopped = Some(1),
                "1 busy workers were stopped",
            ),
            (
                |case| case.measured.busy_workers_stopped = None,
                "the scaler did not say whether it stopped busy workers",
            ),
            (
                |case| case.measured.workers = workers(16),
                "16 workers ran, more than 15",
            ),
            (
                |case| case.measured.scale_in_s = Some(2.5),
                "no worker running 2.50 s after the last answer, not within 2 s",
            ),
            (
                |case| case.measured.scale_in_s = None,
                "workers still ran at the end",
            ),
            (
                |case| case.summary.first_answer_s = Some(7.0),
                "first answer after 7.00 s, not within 6 s",
            ),
            (
                |case| case.stored.photos = 101,
                "101 objects in the in-bucket, not 100",
            ),
            (
                |case| case.stored.results = 99,
                "99 objects in the out-bucket, not 100",
            ),
            (
                |case| case.stored.messages = 1,
                "1 messages are left on the queues",
            ),
            (
                |case| {
                    case.measured.workers = workers(9);
                    case.measured.workers_ordered = Some(9);
                },
                "9 workers ran at most and 9 were ordered, not 15",
            ),
        ];
        for (spoil, reason) in faults {
            let mut case = Case::good();
            spoil(&mut case);
            assert_eq!(case.reasons(), [reason]);
        }
    }

    #[test]
    fn workers_that_were_ordered_but_came_too_late_are_tolerated() {
        let mut case = Case::good();
        case.measured.workers = workers(9);
        assert_eq!(case.reasons(), Vec::<String>::new());
    }

    #[test]
    fn duplicate_replies_that_nobody_measured_are_not_held_against_it() {
        let mut case = Case::good();
        case.measured.duplicate_replies = None;
        assert_eq!(case.reasons(), Vec::<String>::new());
    }

    #[test]
    fn buckets_that_were_not_empty_may_hold_more() {
        let mut case = Case::good();
        case.stored = Stored {
            photos_before: 40,
            results_before: 40,
            photos: 120,
            results: 120,
            messages: 0,
        };
        assert_eq!(case.reasons(), Vec::<String>::new());
    }
}
