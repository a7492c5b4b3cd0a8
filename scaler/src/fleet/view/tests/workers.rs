//! Workers' reports and EC2's list.

use std::slice::from_ref;

use proto::v1::Interruption;

use super::*;
use crate::plan::StopCause;

#[test]
fn a_worker_that_attends_before_the_reply_to_its_launch_is_not_forgotten() {
    let registry = WorkerRegistry::new(Clock::start());
    let mut view = view_of(&registry);
    let id = InstanceId::from("i-1");
    // EC2 lists it first.
    registry.admit(from_ref(&id));
    let session = attend(&registry, &id, WorkerState::Busy);
    view.launched(from_ref(&id), at(100));
    assert_eq!(states(&mut view, at(100)), [(None, InstanceState::Busy)]);
    assert!(session.report(&report(&id, WorkerState::Busy)));
}

/// A caller with the token may name any number of instances.
#[test]
fn instances_outside_the_fleet_are_not_remembered() {
    let registry = WorkerRegistry::new(Clock::start());
    let mut view = view_of(&registry);
    let joins = |id: &str| registry.join(&id.into(), watch::channel(None).0).is_some();
    let id = InstanceId::from("i-1");
    for id in ["i-1", "i-2", ""] {
        assert!(!joins(id));
        assert_eq!(registry.get(&id.into()), None);
    }
    // Launched and not listed yet.
    view.launched(from_ref(&id), at(100));
    view.described(vec![], at(200));
    assert!(joins("i-1") && !joins("i-2"));
    let both = |state| {
        let of = |id: &str, number| found(id, &worker_instance(number), state);
        vec![of("i-1", 1), of("i-2", 2)]
    };
    view.described(both(PowerState::Running), at(300));
    assert!(joins("i-1") && joins("i-2"));
    view.described(both(PowerState::Running).split_off(1), at(400));
    assert!(!joins("i-1") && joins("i-2"));
}

#[test]
fn an_interrupted_instance_is_leaving_and_has_not_failed_to_boot() {
    let registry = WorkerRegistry::new(Clock::start());
    let mut view = view_of(&registry);
    let id = InstanceId::from("i-1");
    let is = |state| vec![found("i-1", "app-tier-instance-1", state)];
    view.starting(from_ref(&id), at(0));
    let session = registry.join(&id, watch::channel(None).0).unwrap();
    let report = WorkerReport {
        interruption: Some(Interruption::default()),
        ..report(&id, WorkerState::Booting)
    };
    assert!(session.report(&report));
    view.described(is(PowerState::Running), at(100));
    let observation = view.observe(at(100), CallBackoff::default());
    assert!(observation.instances[0].leaving);
    assert_eq!(observation.count(InstanceState::Draining), 1);
    view.described(is(PowerState::Stopped), at(200));
    let observation = view.observe(at(200), CallBackoff::default());
    assert!(!observation.instances[0].leaving);
    assert_eq!(observation.failed_boots, None);
}

/// Such as an operator, or another scaler that leads for a while. Its worker once counted as stopping forever.
#[test]
fn an_instance_started_by_another_between_two_lists_counts() {
    let registry = WorkerRegistry::new(Clock::start());
    let mut view = view_of(&registry);
    let id = InstanceId::from("i-1");
    let is = |state, launched_s, age_s| {
        let mut found = found("i-1", "app-tier-instance-1", state);
        found.launched_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(launched_s));
        found.age = Some(Duration::from_secs(age_s));
        vec![found]
    };
    view.described(is(PowerState::Running, 0, 100), at(100_000));
    assert!(registry.mark_stopping(&id, StopCause::NeverAttended, at(100_000)));
    view.stopping(from_ref(&id), at(100_000));
    view.stop_called(from_ref(&id), at(101_000));
    view.described(is(PowerState::Stopping, 0, 102), at(102_000));
    assert_eq!(
        states(&mut view, at(102_000)),
        [(Some(1), InstanceState::Stopping)]
    );
    view.described(is(PowerState::Running, 190, 10), at(200_000));
    assert_eq!(
        states(&mut view, at(200_000)),
        [(Some(1), InstanceState::Booting)]
    );
    let _session = attend(&registry, &id, WorkerState::Idle);
    let observation = view.observe(at(201_000), CallBackoff::default());
    assert_eq!(observation.count(InstanceState::Idle), 1);
    assert_eq!(observation.instances[0].started_at, Some(at(190_000)));
    // The same between two lists that both show it running.
    view.described(is(PowerState::Running, 290, 10), at(300_000));
    let observation = view.observe(at(300_000), CallBackoff::default());
    assert_eq!(observation.instances[0].running_since, Some(at(300_000)));
}
