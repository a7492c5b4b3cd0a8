use std::time::Duration;

use super::super::{Outcome, Record, Timeline};
use super::*;

const DEMANDS: Demands = Demands {
    max_workers: 15,
    max_mean: 0.61,
    max_first_answer: 5.0,
    max_scale_out: 5.0,
    max_scale_in: 2.0,
    max_failed: 0.1,
    ignore_time_limits: false,
};

struct Case {
    summary: Summary,
    measured: Measured,
    stored: Stored,
    demands: Demands,
}

type Spoil = fn(&mut Case);

impl Case {
    fn good() -> Self {
        Self::of(100)
    }

    fn of(requests: usize) -> Self {
        let record = Record {
            file_name: "a.jpg".into(),
            sent_at: Duration::ZERO,
            ended_at: Duration::from_secs(3),
            retries: 0,
            outcome: Outcome::Correct,
        };
        Self {
            summary: Summary::of(&vec![record; requests]),
            measured: Measured {
                duplicate_replies: Some(0),
                busy_workers_stopped: Some(0),
                workers_ordered: Some(15),
                scale_in_s: Some(0.7),
                aws_calls: None,
                workers: workers(15, 1.0),
            },
            stored: Stored {
                photos: requests as u64,
                results: requests as u64,
                ..Stored::default()
            },
            demands: DEMANDS,
        }
    }

    fn spoilt(spoil: Spoil) -> Self {
        let mut case = Self::good();
        spoil(&mut case);
        case
    }

    fn checks(&self) -> Vec<Check> {
        checks(&self.summary, &self.measured, &self.stored, &self.demands)
    }

    /// Name and text of those against a pass.
    fn faults(&self) -> Vec<(&'static str, String)> {
        let checks = self.checks().into_iter();
        let failing = checks.filter(Check::fails);
        failing.map(|check| (check.name, check.text)).collect()
    }
}

/// So many run from `since` on, and none three seconds later.
fn workers(most: usize, since: f64) -> Timeline {
    let mut workers = Timeline::default();
    workers.record(Duration::from_secs_f64(since), most);
    workers.record(Duration::from_secs_f64(since + 3.0), 0);
    workers
}

const PASS: [(&str, String); 0] = [];

#[test]
fn a_good_run_passes_and_tells_each_number_with_its_limit() {
    let case = Case::good();
    assert_eq!(case.faults(), PASS);
    let lines: Vec<_> = case.checks().iter().map(Check::to_string).collect();
    let expected = [
        "ok    failed requests        0 of 100 (0 %), less than 0.1 % demanded",
        "ok    right names            100 of 100, all demanded",
        "ok    mean, wall / requests  0.03 s, at most 0.61 s demanded",
        "ok    first answer           3.00 s, at most 5 s demanded",
        "ok    all workers running    15 of 15 after 1.00 s, at most 5 s demanded",
        "ok    no worker running      0.70 s, at most 2 s demanded",
        "ok    workers at most        15, at most 15 demanded",
        "ok    answered twice         0 duplicate replies, none demanded",
        "ok    busy workers stopped   0 busy workers stopped, none demanded",
        "ok    photos stored          100 objects in the in-bucket, exactly 100 demanded",
        "ok    results stored         100 objects in the out-bucket, exactly 100 demanded",
        "ok    queues at the end      0 messages left, none demanded",
    ];
    assert_eq!(lines, expected);
}

/// Each of them, and only it, is then against a pass, whether times are judged or not.
#[test]
fn what_is_no_matter_of_speed_fails_in_any_case() {
    let faults: [(Spoil, &str, &str); 12] = [
        (
            |case| case.summary.failed = 1,
            "failed requests",
            "1 of 100 (1 %), less than 0.1 % demanded",
        ),
        (
            |case| (case.summary.correct, case.summary.wrong) = (98, 2),
            "right names",
            "98 of 100, all demanded",
        ),
        (
            |case| case.measured.duplicate_replies = Some(3),
            "answered twice",
            "3 duplicate replies, none demanded",
        ),
        (
            |case| case.measured.busy_workers_stopped = Some(1),
            "busy workers stopped",
            "1 busy workers stopped, none demanded",
        ),
        (
            |case| case.measured.busy_workers_stopped = None,
            "busy workers stopped",
            "busy workers stopped were not measured, none demanded",
        ),
        (
            |case| case.measured.workers = workers(16, 1.0),
            "workers at most",
            "16, at most 15 demanded",
        ),
        (
            |case| case.measured.scale_in_s = None,
            "no worker running",
            "workers still ran at the end, at most 2 s demanded",
        ),
        (
            |case| {
                case.measured.workers = workers(9, 1.0);
                case.measured.workers_ordered = Some(9);
            },
            "all workers running",
            "9 of 15 ran and 9 were ordered, at most 5 s demanded",
        ),
        (
            |case| case.stored.photos = 101,
            "photos stored",
            "101 objects in the in-bucket, exactly 100 demanded",
        ),
        (
            |case| case.stored.results = 99,
            "results stored",
            "99 objects in the out-bucket, exactly 100 demanded",
        ),
        (
            |case| case.stored.messages = 1,
            "queues at the end",
            "1 messages left, none demanded",
        ),
        (
            |case| case.summary.first_answer_s = None,
            "first answer",
            "nothing was answered, at most 5 s demanded",
        ),
    ];
    for (spoil, name, text) in faults {
        let mut case = Case::spoilt(spoil);
        assert_eq!(case.faults(), [(name, text.to_owned())]);
        case.demands.ignore_time_limits = true;
        assert_eq!(case.faults(), [(name, text.to_owned())]);
    }
}

#[test]
fn a_machine_that_is_too_slow_learns_by_how_much() {
    let faults: [(Spoil, &str, &str); 5] = [
        (
            |case| case.summary.wall_s = 70.0,
            "mean, wall / requests",
            "0.70 s, at most 0.61 s demanded: 0.09 s too slow",
        ),
        (
            |case| case.summary.first_answer_s = Some(7.0),
            "first answer",
            "7.00 s, at most 5 s demanded: 2.00 s too slow",
        ),
        (
            |case| case.measured.workers = workers(15, 5.5),
            "all workers running",
            "15 of 15 after 5.50 s, at most 5 s demanded: 0.50 s too slow",
        ),
        (
            |case| case.measured.workers = workers(9, 1.0),
            "all workers running",
            "9 of 15 ran and 15 were ordered, at most 5 s demanded",
        ),
        (
            |case| case.measured.scale_in_s = Some(2.5),
            "no worker running",
            "2.50 s, at most 2 s demanded: 0.50 s too slow",
        ),
    ];
    for (spoil, name, text) in faults {
        let mut case = Case::spoilt(spoil);
        assert_eq!(case.faults(), [(name, text.to_owned())]);
        case.demands.ignore_time_limits = true;
        assert_eq!(case.faults(), PASS);
        let told = format!("told  {name:22} {text}");
        let lines = case.checks().into_iter().map(|check| check.to_string());
        assert_eq!(lines.filter(|line| *line == told).count(), 1, "{told}");
    }
}

#[test]
fn each_number_may_be_at_its_limit() {
    let mut case = Case::good();
    case.summary.wall_s = 61.0;
    case.summary.first_answer_s = Some(5.0);
    case.measured.workers = workers(15, 5.0);
    case.measured.scale_in_s = Some(2.0);
    assert_eq!(case.faults(), PASS);
}

#[test]
fn of_many_requests_one_may_fail_but_no_name_may_be_wrong() {
    let mut case = Case::of(2_000);
    case.summary.failed = 1;
    assert_eq!(case.faults(), PASS);
    case.summary.failed = 2;
    assert_eq!(case.faults().len(), 1, "0.1 % is not below 0.1 %");
    case.summary.failed = 0;
    case.summary.correct = 1_999;
    assert_eq!(case.faults().len(), 1);
}

#[test]
fn the_mean_of_a_few_requests_is_told_and_not_judged() {
    let mut case = Case::of(3);
    case.summary.wall_s = 3.0;
    assert_eq!(
        case.faults(),
        PASS,
        "the first answer is what takes the time"
    );
    let mut case = Case::of(10);
    case.summary.wall_s = 7.0;
    assert_eq!(case.faults().len(), 1);
}

#[test]
fn duplicate_replies_that_nobody_measured_are_not_held_against_it() {
    let mut case = Case::good();
    case.measured.duplicate_replies = None;
    assert_eq!(case.faults(), PASS);
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
    assert_eq!(case.faults(), PASS);
    case.stored.results = 99;
    assert_eq!(case.faults().len(), 1);
}

#[test]
fn a_run_that_sent_nothing_fails() {
    let mut case = Case::good();
    case.summary = Summary::of(&[]);
    let faults = case.faults();
    assert!(faults.iter().any(|(_, text)| text == "nothing was sent"));
}
