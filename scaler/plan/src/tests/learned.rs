//! Times that a former scaler measured.

use std::time::Duration;

use crate::fixtures::Fleet;
use crate::{Estimates, Learned, Memory, PolicyKind, Smoothed, Source, plan};

fn learned(mean: f64) -> Smoothed {
    Smoothed {
        mean,
        spread: mean / 10.0,
        samples: 1_000_000,
        learned: 0,
    }
}

fn hundred_requests(kind: PolicyKind, times: Learned) -> Fleet {
    let mut fleet = Fleet::of(15).with_backlog(100).bounded(0, 15);
    fleet.policy.kind = kind;
    fleet.observation.learned = times;
    fleet
}

#[test]
fn a_hundred_requests_start_as_many_as_the_learned_time_needs() {
    let times = Learned {
        service: Some(learned(0.08)),
        boot: Some(learned(8.0)),
        frame: None,
    };
    let wanted = |kind, times| hundred_requests(kind, times).plan().start.len();
    // 99 requests of 80 ms within 2 s less 80 ms: 4.1 workers.
    assert_eq!(wanted(PolicyKind::Latency, times), 5);
    assert_eq!(wanted(PolicyKind::Latency, Learned::default()), 15);
    assert_eq!(wanted(PolicyKind::Step, times), 15);

    let reason = |times| hundred_requests(PolicyKind::Latency, times).plan().reason;
    assert_eq!(
        reason(times),
        "100 requests unanswered, 80 ms (learned before) each, so 5 wanted, 0 there: start 5; a boot takes 8.0 s \
         (learned before)"
    );
    assert_eq!(
        reason(Learned::default()),
        "100 requests unanswered, 500 ms (assumed) each, so 15 wanted, the maximum, 0 there: start 15; a boot takes \
         20.0 s (assumed)"
    );
}

#[test]
fn new_samples_outweigh_what_was_learned_before() {
    let mut time = learned(8.0).learned_before();
    assert_eq!((time.source(), time.measured()), (Source::Learned, 0));
    time.add(2.0);
    assert_eq!((time.source(), time.mean), (Source::Measured, 5.0));
    (0..6).for_each(|_| time.add(2.0));
    // The mean of the old value and the seven new ones.
    assert!((time.mean - 2.75).abs() < 1e-9, "{time:?}");
    // From then on it is smoothed as a value without a past.
    let mut other = Smoothed { learned: 0, ..time };
    time.add(4.0);
    other.add(4.0);
    assert_eq!((time.mean, time.spread), (other.mean, other.spread));
}

#[test]
fn what_this_scaler_measured_is_not_replaced_by_what_was_learned() {
    let times = |mean| Learned {
        service: Some(learned(mean)),
        ..Learned::default()
    };
    let mut fleet = hundred_requests(PolicyKind::Latency, times(0.08));
    let (_, mut memory) = plan(&fleet.policy, &fleet.observation, Memory::default());
    // A standby that begins to lead has read the object again.
    fleet.observation.learned = times(0.2);
    (_, memory) = plan(&fleet.policy, &fleet.observation, memory);
    let mean = |memory: &Memory| memory.estimates.service.unwrap().mean;
    assert_eq!(mean(&memory), 0.2);
    memory.estimates.service.as_mut().unwrap().add(0.1);
    fleet.observation.learned = times(0.3);
    (_, memory) = plan(&fleet.policy, &fleet.observation, memory);
    assert!((mean(&memory) - 0.15).abs() < 1e-9);
}

#[test]
fn only_measured_times_are_kept() {
    let before = Learned {
        service: Some(learned(0.3)),
        boot: Some(learned(20.0)),
        frame: None,
    };
    let mut service = learned(0.3).learned_before();
    let estimates = |service, boot| {
        let mut estimates = Estimates::default();
        (estimates.service, estimates.boot) = (Some(service), Some(boot));
        estimates
    };
    let assumed = Smoothed::assumed(Duration::from_secs(5));
    assert_eq!(before.updated_by(&estimates(service, assumed)), before);
    service.add(0.32);
    let slightly = before.updated_by(&estimates(service, assumed));
    assert_ne!(slightly, before);
    assert!(!slightly.differs_notably_from(&before));
    service.add(0.6);
    let notably = before.updated_by(&estimates(service, assumed));
    assert!(notably.differs_notably_from(&before));
    assert_eq!(notably.boot, before.boot);
    assert!(before.differs_notably_from(&Learned::default()));
}

#[test]
fn implausible_times_are_left_out() {
    let times = |service, boot| Learned {
        service: Some(learned(service)),
        boot: Some(learned(boot)),
        frame: Some(learned(0.1)),
    };
    let good = times(0.3, 20.0);
    assert_eq!(good.plausible(), (good, vec![]));
    for absurd in [f64::NAN, f64::INFINITY, -1.0, 0.0, 7_200.0] {
        let (rest, names) = times(absurd, absurd).plausible();
        assert_eq!(names, ["service", "boot"], "{absurd}");
        assert_eq!(
            (rest.service, rest.boot, rest.frame),
            (None, None, good.frame)
        );
    }
    let mut scattered = good;
    scattered.frame.as_mut().unwrap().spread = f64::NAN;
    assert_eq!(scattered.plausible().0.frame, None);
}
