use proto::v1::{Alternative, Billing, FrontCounters, QueueCounters, Stats};

use super::*;

fn after(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn lasting(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn status() -> ScalerStatus {
    let instance = |number: u32, state: InstanceState| Instance {
        instance_id: format!("i-{number}"),
        name: format!("app-tier-instance-{number}"),
        state: state.into(),
        since: after(990),
        started_at: after(900),
        heard: after(999).filter(|_| state == InstanceState::Busy),
        ..Instance::default()
    };
    ScalerStatus {
        at: after(1_000),
        sequence: 9,
        observation: Some(Observation {
            front: Some(FrontCounters {
                unanswered: 4,
                accepted_total: 20,
                answered_total: 16,
                waiting_frames: 300,
                frames_done_total: 40,
                at: after(1_000),
                age: lasting(0),
            }),
            unanswered: Some(4),
            queue: Some(QueueCounters {
                visible: 1,
                in_flight: 3,
                ..QueueCounters::default()
            }),
            instances: vec![
                instance(1, InstanceState::Busy),
                instance(2, InstanceState::Stopped),
            ],
            billing: Some(Billing {
                spent: 0.0123,
                still_paid: 1,
                paid_off_at: after(1_010),
            }),
            ..Observation::default()
        }),
        plan: Some(Plan {
            policy: "latency".to_owned(),
            desired_workers: 1,
            reason: "4 requests unanswered, so 1 wanted, 1 there: nothing to do".to_owned(),
            rejected: vec![Alternative {
                workers: 2,
                reason: "would not be ready in time".to_owned(),
            }],
            completes_in: lasting(3),
            ..Plan::default()
        }),
        bounds: Some(Bounds {
            max_workers: 15,
            budget_per_hour: Some(0.5),
            ..Bounds::default()
        }),
        estimates: Some(Estimates {
            service: Some(Estimate {
                mean_seconds: 0.4,
                spread_seconds: 0.02,
                samples: 7,
                learned: 6,
            }),
            boot: Some(Estimate {
                mean_seconds: 20.0,
                spread_seconds: 10.0,
                samples: 0,
                learned: 0,
            }),
            arrival_rate: 1.5,
            arrival_trend: 0.0,
            frame: Some(Estimate {
                mean_seconds: 0.25,
                spread_seconds: 0.01,
                samples: 9,
                learned: 0,
            }),
        }),
        policy: Some(Policy {
            price_per_hour: 0.1,
            latency_target: lasting(2),
            ..Policy::default()
        }),
        paused_by: Some("ops".to_owned()),
        totals: Some(Totals {
            started: 2,
            launched: 5,
            stopped: 4,
            silent_workers_stopped: 3,
            never_attended_stopped: 2,
            terminated: 1,
            ..Totals::default()
        }),
        tally: Some(Stats {
            answered: 16,
            cost_per_thousand: Some(0.76875),
            last_busy_lasted: lasting(12),
            last_busy_predicted: lasting(10),
            ..Stats::default()
        }),
        ..ScalerStatus::default()
    }
}

#[test]
fn the_table_shows_what_is_known_and_the_reason() {
    let expected = "\
policy    latency, 0 to 15 workers, at most $0.5000 an hour, answers within 2.0 s
paused    by ops
demand    4 unanswered; 20 accepted, 16 answered since front started; 300 frames of clips, after photos
queue     1 visible, 3 in flight, 0 delayed
measured  1.5 requests a second; 400 ms ± 20 ms a request; 250 ms ± 10 ms a frame; 20.0 s (assumed) to boot
workers   1 wanted; 1 busy, 1 stopped
decision  4 requests unanswered, so 1 wanted, 1 there: nothing to do
          not 2: would not be ready in time
forecast  all answered in 3.0 s; last time busy for 12.0 s, 10.0 s expected
cost      $0.0123 since the start, $0.1000 an hour now, $0.7688 for 1,000 answers; 1 paid for and not up
so far    2 started, 5 launched, 4 stopped (1 silent, 2 never attended, 0 busy), 1 terminated

NAME                     INSTANCE             STATE          FOR    HEARD       UP
app-tier-instance-1      i-1                  busy        10.0 s    1.0 s  100.0 s
app-tier-instance-2      i-2                  stopped     10.0 s        -        -
";
    assert_eq!(table(&status(), Paint::plain()), expected);
}

#[test]
fn an_interrupted_instance_is_marked() {
    let mut status = status();
    let observation = status.observation.as_mut().unwrap();
    observation.instances[0].leaving = true;
    let text = table(&status, Paint::plain());
    let marked: Vec<_> = text
        .lines()
        .filter(|line| line.ends_with("AWS takes it away"))
        .collect();
    assert_eq!(marked.len(), 1, "{text}");
    assert!(marked[0].contains("app-tier-instance-1"), "{text}");
}

#[test]
fn an_outdated_instance_is_marked() {
    let mut status = status();
    let observation = status.observation.as_mut().unwrap();
    observation.instances[1].outdated = true;
    let text = table(&status, Paint::plain());
    let mut marked = text.lines().filter(|line| line.ends_with("  outdated"));
    assert!(marked.next().unwrap().contains("app-tier-instance-2"));
    assert_eq!(marked.next(), None, "{text}");
}

#[test]
fn times_that_a_former_scaler_measured_are_marked() {
    let mut status = status();
    let service = &mut status.estimates.as_mut().unwrap().service;
    service.as_mut().unwrap().learned = 7;
    let text = table(&status, Paint::plain());
    assert!(
        text.contains("; 400 ms (learned before) a request;"),
        "{text}"
    );
}

#[test]
fn a_stopped_instance_that_ec2_refuses_to_start_is_shown_with_the_reason() {
    let mut status = status();
    let observation = status.observation.as_mut().unwrap();
    observation.instances.clear();
    observation.left_out = vec![LeftOutInstance {
        instance_id: "i-3".to_owned(),
        name: "app-tier-instance-3".to_owned(),
        reason: "EC2 refuses to start it: InsufficientInstanceCapacity".to_owned(),
        until: after(1_060),
    }];
    let text = table(&status, Paint::plain());
    assert!(
        text.contains("\nworkers   1 wanted; 1 left out\n"),
        "{text}"
    );
    let row = "\
app-tier-instance-3      i-3                  stopped          -        -        -  EC2 refuses to start it: \
InsufficientInstanceCapacity; counts again in 60.0 s
";
    assert!(text.ends_with(row), "{text}");
}

#[test]
fn colors_leave_the_text_unchanged() {
    let colored = table(&status(), Paint::colored());
    assert!(colored.contains('\u{1b}'));
    let mut plain = String::new();
    let mut rest = colored.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        plain += before;
        rest = after.split_once('m').unwrap().1;
    }
    assert_eq!(plain + rest, table(&status(), Paint::plain()));
}
