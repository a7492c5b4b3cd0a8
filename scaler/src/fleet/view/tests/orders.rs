//! Orders against EC2's list, which lags.

use std::slice::from_ref;

use super::*;

#[test]
fn a_started_instance_is_pending_while_ec2_lags() {
    let (mut view, id) = (view(), InstanceId::from("i-1"));
    let stopped = || vec![found("i-1", "app-tier-instance-1", PowerState::Stopped)];
    view.described(stopped(), at(0));
    view.starting(&[id], at(100));
    assert_eq!(
        states(&mut view, at(100)),
        [(Some(1), InstanceState::Pending)]
    );
    view.described(stopped(), at(200));
    assert_eq!(
        states(&mut view, at(300)),
        [(Some(1), InstanceState::Pending)]
    );
    view.described(
        vec![found("i-1", "app-tier-instance-1", PowerState::Running)],
        at(400),
    );
    assert_eq!(
        states(&mut view, at(400)),
        [(Some(1), InstanceState::Booting)]
    );
    // After it was listed as running, a stopped instance has stopped.
    view.described(stopped(), at(500));
    assert_eq!(
        states(&mut view, at(500)),
        [(Some(1), InstanceState::Stopped)]
    );
}

#[test]
fn a_start_without_effect_is_dropped_after_the_lag() {
    let (mut view, id) = (view(), InstanceId::from("i-1"));
    let stopped = || vec![found("i-1", "app-tier-instance-1", PowerState::Stopped)];
    view.starting(&[id], at(0));
    view.described(stopped(), at(9_999));
    assert_eq!(
        states(&mut view, at(10_000)),
        [(Some(1), InstanceState::Pending)]
    );
    view.described(stopped(), at(10_000));
    assert_eq!(
        states(&mut view, at(10_100)),
        [(Some(1), InstanceState::Stopped)]
    );
}

#[test]
fn a_launched_instance_counts_before_ec2_lists_it() {
    let mut view = view();
    view.starting(&["i-1".into()], at(0));
    view.described(vec![], at(100));
    let observation = view.observe(at(100), CallBackoff::default());
    assert_eq!(observation.count(InstanceState::Pending), 1);
    assert!(!observation.instances[0].listed);
    view.described(
        vec![found("i-1", "app-tier-instance", PowerState::Pending)],
        at(200),
    );
    assert_eq!(states(&mut view, at(200)), [(None, InstanceState::Pending)]);
}

/// It was once forgotten after 10 s, and another one was launched over the maximum.
#[test]
fn a_launched_instance_that_is_not_listed_for_minutes_still_counts() {
    let (mut view, id) = (view(), InstanceId::from("i-1"));
    view.launched(from_ref(&id), at(0));
    for second in 0..300 {
        view.described(vec![], at(second * 1_000));
        assert_eq!(
            states(&mut view, at(second * 1_000)),
            [(None, InstanceState::Pending)]
        );
    }
    view.described(vec![], at(300_000));
    assert_eq!(states(&mut view, at(300_000)), []);
}

/// EC2 terminates the instances of a failed launch and does not list them.
#[test]
fn a_launched_instance_that_was_terminated_before_it_was_listed_does_not_count() {
    let (mut view, id) = (view(), InstanceId::from("i-1"));
    view.launched(from_ref(&id), at(0));
    view.described(vec![], at(9_000));
    assert_eq!(view.overdue(at(9_999)), []);
    assert_eq!(view.overdue(at(10_000)), from_ref(&id));
    view.terminated(from_ref(&id));
    view.described(vec![], at(10_000));
    assert_eq!(states(&mut view, at(10_100)), []);
    assert_eq!(view.overdue(at(10_100)), []);
}

#[test]
fn the_start_time_does_not_depend_on_ec2s_clock() {
    let mut view = view();
    let hour = Duration::from_secs(3_600);
    let seconds = Duration::from_secs;
    let now = at(100_000_000);
    for ec2s_now in [now, now.after(hour), now.before(hour)] {
        let launched_at = SystemTime::UNIX_EPOCH + ec2s_now.before(seconds(30)).elapsed();
        let running = |age| {
            let mut found = found("i-1", "app-tier-instance-1", PowerState::Running);
            (found.launched_at, found.age) = (Some(launched_at), Some(age));
            vec![found]
        };
        let mut started_at = |age, now| {
            view.described(running(age), now);
            view.observe(now, CallBackoff::default()).instances[0].started_at
        };
        let expected = Some(now.before(seconds(30)));
        assert_eq!(started_at(seconds(30), now), expected);
        // EC2's times are exact to the second.
        assert_eq!(started_at(seconds(31), now.after(seconds(2))), expected);
    }
}

#[test]
fn a_stopped_instance_is_stopping_while_ec2_lags() {
    let (mut view, id) = (view(), InstanceId::from("i-1"));
    let running = || vec![found("i-1", "app-tier-instance-1", PowerState::Running)];
    view.described(running(), at(0));
    view.stopping(from_ref(&id), at(50));
    view.stop_called(&[id], at(100));
    view.described(running(), at(200));
    assert_eq!(
        states(&mut view, at(200)),
        [(Some(1), InstanceState::Stopping)]
    );
    // An order without effect is dropped after the lag, and may be given again.
    view.described(running(), at(10_100));
    assert_eq!(
        states(&mut view, at(10_100)),
        [(Some(1), InstanceState::Booting)]
    );
}

/// A worker that was stopped was once called back, and counted as idle.
#[test]
fn a_stop_is_not_forgotten_while_ec2_does_not_answer() {
    let (mut view, id) = (view(), InstanceId::from("i-1"));
    let is = |state| vec![found("i-1", "app-tier-instance-1", state)];
    view.described(is(PowerState::Running), at(0));
    view.stopping(from_ref(&id), at(50));
    view.stop_called(from_ref(&id), at(100));
    assert_eq!(
        states(&mut view, at(60_000)),
        [(Some(1), InstanceState::Stopping)]
    );
    view.described(is(PowerState::Stopped), at(60_100));
    assert_eq!(
        states(&mut view, at(60_200)),
        [(Some(1), InstanceState::Stopped)]
    );
    // Nor does an instance that was started count as one whose boot failed.
    view.starting(&[id], at(60_300));
    let observation = view.observe(at(120_000), CallBackoff::default());
    assert_eq!(observation.count(InstanceState::Pending), 1);
    assert_eq!(observation.failed_boots, None);
}

#[test]
fn an_instance_is_stopping_while_the_call_to_stop_it_may_take_effect() {
    let (mut view, id) = (view(), InstanceId::from("i-1"));
    let is = |state| vec![found("i-1", "app-tier-instance-1", state)];
    let seen = |view: &mut FleetView, now| states(view, now)[0].1;
    view.described(is(PowerState::Running), at(0));
    view.stopping(from_ref(&id), at(100));
    // Also when it is listed as stopped: another attempt may follow, and would stop the instance once it runs again.
    for power in [PowerState::Running, PowerState::Stopped] {
        view.described(is(power), at(50_000));
        assert_eq!(seen(&mut view, at(59_000)), InstanceState::Stopping);
    }
    view.stop_called(&[id], at(60_000));
    view.described(is(PowerState::Running), at(69_999));
    assert_eq!(seen(&mut view, at(70_000)), InstanceState::Stopping);
    view.described(is(PowerState::Running), at(70_000));
    assert_eq!(seen(&mut view, at(70_100)), InstanceState::Booting);
}

#[test]
fn a_start_that_fails_late_does_not_cancel_a_later_stop() {
    let (mut view, id) = (view(), InstanceId::from("i-1"));
    view.starting(from_ref(&id), at(0));
    let running = vec![found("i-1", "app-tier-instance-1", PowerState::Running)];
    view.described(running, at(1_000));
    view.stopping(from_ref(&id), at(2_000));
    view.not_starting(&[id]);
    assert_eq!(
        states(&mut view, at(2_000)),
        [(Some(1), InstanceState::Stopping)]
    );
}

#[test]
fn stopped_instances_of_a_pool_without_capacity_are_left_out_for_a_while_with_the_reason() {
    let mut view = view();
    let pool = || {
        let mut pool: Vec<_> = (1..=3)
            .map(|number| {
                found(
                    &format!("i-{number}"),
                    &worker_instance(number),
                    PowerState::Stopped,
                )
            })
            .collect();
        pool[2].zone = "us-east-1b".to_owned();
        pool
    };
    view.described(pool(), at(0));
    let lack = "InsufficientInstanceCapacity";
    view.lacks_capacity(&[InstanceId::from("i-1")], lack, at(0));
    assert_eq!(
        states(&mut view, at(100)),
        [(Some(3), InstanceState::Stopped)]
    );
    let left_out = view.observe(at(100), CallBackoff::default()).left_out;
    let told = left_out.iter().map(|it| (it.number, &*it.reason, it.until));
    let reason = "EC2 refuses to start it: InsufficientInstanceCapacity";
    assert_eq!(
        told.collect::<Vec<_>>(),
        [1_u32, 2].map(|number| (Some(number), reason, Some(at(120_000))))
    );
    view.described(pool(), at(120_000));
    assert_eq!(states(&mut view, at(120_000)).len(), 3);
    assert_eq!(
        view.observe(at(120_000), CallBackoff::default()).left_out,
        []
    );
}

#[test]
fn a_new_name_counts_before_ec2_lists_it() {
    let mut view = view();
    let unnamed = || vec![found("i-1", "app-tier-instance", PowerState::Running)];
    view.described(unnamed(), at(0));
    view.renamed(&"i-1".into(), 7, at(100));
    view.described(unnamed(), at(200));
    assert_eq!(
        states(&mut view, at(200)),
        [(Some(7), InstanceState::Booting)]
    );
}

#[test]
fn instances_with_similar_names_are_ignored() {
    let mut view = view();
    let others = [
        "app-tier-instances-1",
        "app-tier-instance-blue",
        "app-tier-instance-",
    ];
    view.described(
        others
            .iter()
            .map(|name| found(name, name, PowerState::Running))
            .collect(),
        at(0),
    );
    view.described(
        vec![found(
            "i-1",
            "app-tier-instance-1",
            PowerState::ShuttingDown,
        )],
        at(1),
    );
    assert_eq!(states(&mut view, at(1)), []);
}

/// A linear search for each instance would take minutes.
#[test]
fn a_large_fleet_takes_time_linear_in_its_size() {
    let many = 100_000;
    let mut view = view();
    let are = |state| -> Vec<_> {
        let numbers = 1..=many;
        let found =
            numbers.map(|number| found(&format!("i-{number}"), &worker_instance(number), state));
        found.collect()
    };
    let ids: Vec<_> = (1..=many)
        .map(|number| InstanceId::from(format!("i-{number}")))
        .collect();
    let begun = std::time::Instant::now();
    view.described(are(PowerState::Stopped), at(0));
    view.starting(&ids, at(100));
    view.described(are(PowerState::Stopped), at(200));
    view.described(are(PowerState::Running), at(300));
    assert!(!ids.iter().any(|id| view.is_spot(id)));
    view.described(are(PowerState::Stopped), at(400));
    view.lacks_capacity(&ids, "InsufficientInstanceCapacity", at(500));
    assert_eq!(states(&mut view, at(600)), []);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn instances_of_another_launch_are_outdated_once_that_of_today_is_known() {
    let mut view = view();
    let mut instances = vec![
        found("i-1", "app-tier-instance-1", PowerState::Stopped),
        found("i-2", "app-tier-instance-2", PowerState::Running),
        found("i-3", "app-tier-instance-3", PowerState::Running),
    ];
    instances[1].launch = Some("today".to_owned());
    instances[2].launch = Some("before".to_owned());
    view.described(instances, at(0));
    let outdated = |view: &mut FleetView| {
        let observation = view.observe(at(0), CallBackoff::default());
        let outdated = observation.instances.iter().filter(|it| it.outdated);
        outdated.filter_map(|it| it.number).collect::<Vec<_>>()
    };
    assert_eq!(outdated(&mut view), [0; 0]);
    view.launch = Some("today".to_owned());
    assert_eq!(outdated(&mut view), [1, 3]);
    view.keep_outdated();
    assert_eq!(outdated(&mut view), [0; 0]);
}
