use super::super::rubric::DEFAULT;
use super::*;

fn rubric() -> Rubric {
    Rubric::parse(DEFAULT).unwrap()
}

fn ready() -> Start {
    let queues = Queues {
        requests: 0,
        replies: 0,
        request_bytes: 1024,
        reply_bytes: 1024,
    };
    Start {
        instances: Ok((1, 0)),
        buckets: Ok((0, 0)),
        queues: Ok(queues),
    }
}

/// Samples with these numbers of waiting requests, waiting replies and running workers.
fn samples(rows: &[(u64, u64, usize)]) -> Vec<Sample> {
    let rows = rows.iter().enumerate();
    rows.map(|(index, (requests, replies, running))| Sample {
        t_s: 2.0 * index as f64,
        requests: *requests,
        replies: *replies,
        running: *running,
        photos: 0,
        results: 0,
    })
    .collect()
}

fn perfect() -> Run {
    Run {
        requests: 100,
        answered: 100,
        right: 100,
        wall: Duration::from_secs(30),
        in_time: true,
        scale_in: (Some(0), Duration::from_millis(10)),
        samples: samples(&[(0, 0, 0), (100, 0, 0), (85, 0, 15), (0, 3, 15), (0, 0, 0)]),
        stored: Some((100, 100)),
    }
}

fn graded(start: &Start, run: &Run) -> Points {
    Points::of(&rubric(), start, run)
}

#[test]
fn a_perfect_run_has_all_points_and_no_comment() {
    let points = graded(&ready(), &perfect());
    assert_eq!((points.total, points.of), (100.0, 100.0));
    assert_eq!(points.comments(), "");
    assert_eq!(points.cases.len(), 9);
}

#[test]
fn a_system_that_is_not_ready_loses_points_before_the_run() {
    type Change = fn(&mut Start);
    let cases: [(&str, Change, f64); 8] = [
        ("web-instance", |start| start.instances = Ok((0, 0)), 100.0),
        ("web-instance", |start| start.instances = Ok((2, 0)), 100.0),
        ("no-worker", |start| start.instances = Ok((1, 3)), 70.0),
        ("empty-buckets", |start| start.buckets = Ok((0, 1)), 5.0),
        (
            "empty-buckets",
            |start| start.buckets = Err("no bucket".into()),
            5.0,
        ),
        (
            "request-message-size",
            |start| queues(start).request_bytes = 262_144,
            20.0,
        ),
        (
            "reply-message-size",
            |start| queues(start).reply_bytes = 262_144,
            0.0,
        ),
        ("empty-queues", |start| queues(start).replies = 2, 5.0),
    ];
    for (check, change, lost) in cases {
        let mut start = ready();
        change(&mut start);
        let points = graded(&start, &perfect());
        assert_eq!(points.total, 100.0 - lost, "{check}");
        let failing: Vec<_> = points.deductions.iter().filter(|it| !it.met).collect();
        let failing: Vec<_> = failing.iter().map(|it| it.check.as_str()).collect();
        assert_eq!(failing, [check]);
        assert!(points.comments().starts_with(check));
    }
    let mut start = ready();
    start.queues = Err("no queue \"x-req-queue\"".into());
    let points = graded(&start, &perfect());
    assert_eq!(points.total, 75.0, "size of the requests and emptiness");
    assert!(points.comments().contains("no queue \"x-req-queue\""));
}

fn queues(start: &mut Start) -> &mut Queues {
    start.queues.as_mut().unwrap()
}

#[test]
fn each_case_loses_its_own_points() {
    type Change = fn(&mut Run);
    let cases: [(&str, Change, f64); 20] = [
        (
            "scale-in",
            |run| run.scale_in = (None, Duration::from_secs(5)),
            0.0,
        ),
        (
            "scale-in",
            |run| run.scale_in = (Some(0), Duration::from_millis(2_000)),
            5.0,
        ),
        (
            "scale-in",
            |run| run.scale_in = (Some(0), Duration::from_millis(5_000)),
            0.0,
        ),
        (
            "scale-in",
            |run| run.scale_in = (Some(2), Duration::from_millis(5_010)),
            0.0,
        ),
        ("in-bucket", |run| run.stored = Some((99, 100)), 4.95),
        ("in-bucket", |run| run.stored = Some((120, 100)), 5.0),
        ("out-bucket", |run| run.stored = Some((100, 0)), 0.0),
        ("names", |run| run.right = 33, 3.3),
        (
            "latency",
            |run| run.wall = Duration::from_millis(119_900),
            40.0,
        ),
        (
            "latency",
            |run| run.wall = Duration::from_millis(120_000),
            20.0,
        ),
        (
            "latency",
            |run| run.wall = Duration::from_millis(209_900),
            20.0,
        ),
        (
            "latency",
            |run| run.wall = Duration::from_millis(299_900),
            10.0,
        ),
        (
            "latency",
            |run| run.wall = Duration::from_millis(300_000),
            0.0,
        ),
        ("latency", |run| run.answered = 99, 0.0),
        ("scale-out", |run| run.samples[2].running = 16, 0.0),
        ("back-to-zero", |run| run.samples[4].running = 1, 0.0),
        ("request-queue", |run| run.samples[0].requests = 1, 0.0),
        ("request-queue", |run| run.samples[4].requests = 1, 0.0),
        ("reply-queue", |run| run.samples[4].replies = 1, 0.0),
        ("reply-queue", |run| run.samples[0].replies = 1, 0.0),
    ];
    for (check, change, earned) in cases {
        let mut run = perfect();
        change(&mut run);
        let points = graded(&ready(), &run);
        let line = points
            .cases
            .iter()
            .find(|line| line.check == check)
            .unwrap();
        assert_eq!(line.points, earned, "{check}: {line:?}");
        assert_eq!(
            earned < line.of,
            points.comments().contains(check),
            "{points:?}"
        );
    }
}

/// The classroom's grader demands exactly the number: 14 is as bad as none.
#[test]
fn too_few_workers_lose_both_cases_of_scaling() {
    for most in [0, 14, 16] {
        let mut run = perfect();
        run.samples[2].running = most;
        run.samples[3].running = most;
        assert_eq!(graded(&ready(), &run).total, 80.0, "{most} workers");
    }
    let mut run = perfect();
    run.samples[0].running = 1;
    assert_eq!(graded(&ready(), &run).total, 80.0, "a worker at the start");
}

/// A fast system empties its queue between two samples.
#[test]
fn a_queue_that_no_sample_sees_loses_its_points() {
    let mut run = perfect();
    run.samples = samples(&[(0, 0, 0), (0, 0, 15), (0, 0, 0)]);
    let points = graded(&ready(), &run);
    assert_eq!(points.total, 95.0);
    assert_eq!(
        points.comments(),
        "request-queue: no sample shows a waiting message"
    );
}

#[test]
fn a_workload_that_does_not_end_has_neither_names_nor_latency() {
    let run = Run {
        in_time: false,
        answered: 40,
        right: 40,
        stored: Some((100, 40)),
        ..perfect()
    };
    assert_eq!(graded(&ready(), &run).total, 10.0 + 5.0 + 2.0 + 30.0);
}

#[test]
fn a_run_without_samples_has_no_points_for_scaling_and_queues() {
    let run = Run {
        samples: Vec::new(),
        stored: None,
        ..perfect()
    };
    assert_eq!(graded(&ready(), &run).total, 60.0);
}

#[test]
fn the_total_is_not_negative_and_thirds_add_up() {
    let mut start = ready();
    start.instances = Ok((0, 4));
    assert_eq!(graded(&start, &perfect()).total, 0.0);
    let run = Run {
        requests: 3,
        answered: 3,
        right: 1,
        wall: Duration::from_secs(3),
        stored: Some((1, 2)),
        ..perfect()
    };
    // 1.67 + 3.33 + 3.33
    assert_eq!(graded(&ready(), &run).total, 88.33);
}

#[test]
fn a_submission_that_cannot_be_graded_has_one_comment() {
    let points = Points::none(&rubric(), "no zip");
    assert_eq!((points.total, points.of), (0.0, 100.0));
    assert_eq!(points.comments(), "not graded: no zip");
}
