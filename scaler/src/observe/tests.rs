use std::slice::from_ref;
use std::time::Duration;

use platform::fleet::{FleetInstance, PowerState};
use proto::names::worker_instance;
use proto::v1::{Interruption, WorkerReport, WorkerState};
use tokio::sync::watch;

use super::pace::{count_interval, describe_interval};
use super::*;
use crate::attend::Session;
use crate::clock::Clock;
use crate::plan::FailedBoots;
use crate::plan::fixtures::Fleet;

const TICK: Duration = Duration::from_millis(500);

fn at(milliseconds: u64) -> Timestamp {
    Timestamp::after_epoch(Duration::from_millis(milliseconds))
}

fn world() -> World {
    World::new(watch::channel(None).1, Attendance::new(Clock::start()))
}

fn found(id: &str, name: &str, state: PowerState) -> FleetInstance {
    FleetInstance {
        id: id.to_owned(),
        name: name.to_owned(),
        state,
        launched_at: None,
        age: None,
        instance_type: "c7i.large".to_owned(),
        zone: "us-east-1a".to_owned(),
        spot: false,
    }
}

fn states(world: &mut World, now: Timestamp) -> Vec<(Option<u32>, State)> {
    let observation = world.observe(now, CallBackoff::default());
    observation
        .instances
        .iter()
        .map(|it| (it.number, it.state))
        .collect()
}

#[test]
fn a_started_instance_is_pending_however_far_ec2_lags_behind() {
    let (mut world, id) = (world(), InstanceId::from("i-1"));
    let stopped = || vec![found("i-1", "app-tier-instance-1", PowerState::Stopped)];
    world.described(stopped(), at(0));
    world.starting(&[id], at(100));
    assert_eq!(states(&mut world, at(100)), [(Some(1), State::Pending)]);
    world.described(stopped(), at(200));
    assert_eq!(states(&mut world, at(300)), [(Some(1), State::Pending)]);
    world.described(
        vec![found("i-1", "app-tier-instance-1", PowerState::Running)],
        at(400),
    );
    assert_eq!(states(&mut world, at(400)), [(Some(1), State::Booting)]);
    // Once it was seen to run, being stopped means that it has stopped.
    world.described(stopped(), at(500));
    assert_eq!(states(&mut world, at(500)), [(Some(1), State::Stopped)]);
}

#[test]
fn a_start_that_comes_to_nothing_is_noticed_in_the_end() {
    let (mut world, id) = (world(), InstanceId::from("i-1"));
    world.starting(&[id], at(0));
    world.described(
        vec![found("i-1", "app-tier-instance-1", PowerState::Stopped)],
        at(9_000),
    );
    assert_eq!(states(&mut world, at(9_999)), [(Some(1), State::Pending)]);
    assert_eq!(states(&mut world, at(10_000)), [(Some(1), State::Stopped)]);
}

#[test]
fn a_launched_instance_counts_before_ec2_lists_it() {
    let mut world = world();
    world.starting(&["i-1".into()], at(0));
    world.described(vec![], at(100));
    let observation = world.observe(at(100), CallBackoff::default());
    assert_eq!(observation.count(State::Pending), 1);
    assert!(!observation.instances[0].listed);
    world.described(
        vec![found("i-1", "app-tier-instance", PowerState::Pending)],
        at(200),
    );
    assert_eq!(states(&mut world, at(200)), [(None, State::Pending)]);
}

/// It was forgotten after 10 s, and launched again, over the maximum.
#[test]
fn a_launched_instance_that_is_not_listed_for_minutes_still_counts() {
    let (mut world, id) = (world(), InstanceId::from("i-1"));
    world.launched(from_ref(&id), at(0));
    for second in 0..300 {
        world.described(vec![], at(second * 1_000));
        assert_eq!(
            states(&mut world, at(second * 1_000)),
            [(None, State::Pending)]
        );
    }
    world.described(vec![], at(300_000));
    assert_eq!(states(&mut world, at(300_000)), []);
}

/// EC2 does not list what it terminated, as it does when a launch fails, so it is asked.
#[test]
fn a_launched_instance_that_was_terminated_before_it_was_listed_does_not_count() {
    let (mut world, id) = (world(), InstanceId::from("i-1"));
    world.launched(from_ref(&id), at(0));
    world.described(vec![], at(9_000));
    assert_eq!(world.overdue(at(9_999)), []);
    assert_eq!(world.overdue(at(10_000)), from_ref(&id));
    world.terminated(from_ref(&id));
    world.described(vec![], at(10_000));
    assert_eq!(states(&mut world, at(10_100)), []);
    assert_eq!(world.overdue(at(10_100)), []);
}

#[test]
fn when_an_instance_was_started_does_not_depend_on_ec2s_clock() {
    let mut world = world();
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
            world.described(running(age), now);
            world.observe(now, CallBackoff::default()).instances[0].started_at
        };
        let expected = Some(now.before(seconds(30)));
        assert_eq!(started_at(seconds(30), now), expected);
        // EC2 tells its time to the second.
        assert_eq!(started_at(seconds(31), now.after(seconds(2))), expected);
    }
}

#[test]
fn a_stopped_instance_is_stopping_however_far_ec2_lags_behind() {
    let (mut world, id) = (world(), InstanceId::from("i-1"));
    let running = || vec![found("i-1", "app-tier-instance-1", PowerState::Running)];
    world.described(running(), at(0));
    world.stopping(from_ref(&id), at(50));
    world.stop_called(&[id], at(100));
    world.described(running(), at(200));
    assert_eq!(states(&mut world, at(200)), [(Some(1), State::Stopping)]);
    // An order that had no effect for so long is given up, and may be given again.
    assert_eq!(states(&mut world, at(10_100)), [(Some(1), State::Booting)]);
}

#[test]
fn an_instance_is_stopping_for_as_long_as_the_call_to_stop_it_may_take_effect() {
    let (mut world, id) = (world(), InstanceId::from("i-1"));
    let is = |state| vec![found("i-1", "app-tier-instance-1", state)];
    let seen = |world: &mut World, now| states(world, now)[0].1;
    world.described(is(PowerState::Running), at(0));
    world.stopping(from_ref(&id), at(100));
    // Even if one attempt has come true: another one may follow, and would stop the instance once it runs again.
    for power in [PowerState::Running, PowerState::Stopped] {
        world.described(is(power), at(50_000));
        assert_eq!(seen(&mut world, at(59_000)), State::Stopping);
    }
    world.stop_called(&[id], at(60_000));
    world.described(is(PowerState::Running), at(59_900));
    assert_eq!(seen(&mut world, at(69_999)), State::Stopping);
    assert_eq!(seen(&mut world, at(70_000)), State::Booting);
}

#[test]
fn a_start_that_fails_late_does_not_call_off_the_stop_that_was_ordered_since() {
    let (mut world, id) = (world(), InstanceId::from("i-1"));
    world.starting(from_ref(&id), at(0));
    let running = vec![found("i-1", "app-tier-instance-1", PowerState::Running)];
    world.described(running, at(1_000));
    world.stopping(from_ref(&id), at(2_000));
    world.not_starting(&[id]);
    assert_eq!(states(&mut world, at(2_000)), [(Some(1), State::Stopping)]);
}

/// Starts the instances, sees them run, and sees them stopped.
fn start_and_die(world: &mut World, ids: &[&str], from: u64) -> Option<FailedBoots> {
    let started: Vec<_> = ids.iter().map(|&id| InstanceId::from(id)).collect();
    let are = |state| {
        let numbered = ids.iter().zip(1..);
        let found = numbered.map(|(id, number)| found(id, &worker_instance(number), state));
        found.collect::<Vec<_>>()
    };
    world.starting(&started, at(from));
    world.described(are(PowerState::Running), at(from + 100));
    world.observe(at(from + 100), CallBackoff::default());
    world.described(are(PowerState::Stopped), at(from + 200));
    world
        .observe(at(from + 200), CallBackoff::default())
        .failed_boots
}

#[test]
fn starts_are_held_back_ever_longer_while_instances_stop_before_their_worker_is_ready() {
    let mut world = world();
    let holds: Vec<_> = (1..=8)
        .map(|round| {
            let ids = [1, 2, 3].map(|number| format!("i-{round}-{number}"));
            let ids = ids.each_ref().map(String::as_str);
            let failed = start_and_die(&mut world, &ids, round * 100_000);
            let failed = failed.expect("it is noticed");
            let hold = failed.held_until.since(at(round * 100_000 + 200)).as_secs();
            (failed.in_a_row, hold)
        })
        .collect();
    let expected = [1, 2, 4, 8, 16, 32, 60, 60];
    assert_eq!(holds, (1..=8).zip(expected).collect::<Vec<_>>());
}

#[test]
fn a_worker_that_attends_before_the_launch_is_answered_is_not_forgotten() {
    let attendance = Attendance::new(Clock::start());
    let mut world = World::new(watch::channel(None).1, attendance.clone());
    let id = InstanceId::from("i-1");
    // EC2 lists it first.
    attendance.admit(from_ref(&id));
    let session = attendance.join(&id, watch::channel(None).0).unwrap();
    let report = WorkerReport {
        instance_id: id.to_string(),
        state: WorkerState::Busy.into(),
        ..WorkerReport::default()
    };
    assert!(session.report(&report));
    world.launched(&[id], at(100));
    assert_eq!(states(&mut world, at(100)), [(None, State::Busy)]);
    assert!(session.report(&report));
}

/// Whoever has the token may name any instance, and there are many.
#[test]
fn instances_that_are_none_of_the_fleet_are_not_kept_in_mind() {
    let attendance = Attendance::new(Clock::start());
    let mut world = World::new(watch::channel(None).1, attendance.clone());
    let joins = |id: &str| {
        attendance
            .join(&id.into(), watch::channel(None).0)
            .is_some()
    };
    let id = InstanceId::from("i-1");
    for id in ["i-1", "i-2", ""] {
        assert!(!joins(id));
        assert_eq!(attendance.get(&id.into()), None);
    }
    // Launched and not listed yet.
    world.launched(from_ref(&id), at(100));
    world.described(vec![], at(200));
    assert!(joins("i-1") && !joins("i-2"));
    let both = |state| {
        let of = |id: &str, number| found(id, &worker_instance(number), state);
        vec![of("i-1", 1), of("i-2", 2)]
    };
    world.described(both(PowerState::Running), at(300));
    assert!(joins("i-1") && joins("i-2"));
    world.described(both(PowerState::Running).split_off(1), at(400));
    assert!(!joins("i-1") && joins("i-2"));
}

/// Launches an instance whose worker attends at once. It is gone thereafter.
fn start_and_attend(world: &mut World, id: &str, from: u64) -> Session {
    world.launched(&[id.into()], at(from));
    let session = world.attendance.join(&id.into(), watch::channel(None).0);
    let session = session.unwrap();
    let report = WorkerReport {
        instance_id: id.to_owned(),
        state: WorkerState::Idle.into(),
        ..WorkerReport::default()
    };
    assert!(session.report(&report));
    world.observe(at(from + 100), CallBackoff::default());
    world.terminated(&[id.into()]);
    session
}

#[test]
fn an_instance_that_fails_to_boot_three_times_in_a_row_leaves_the_pool() {
    let mut world = world();
    let id = InstanceId::from("i-1");
    start_and_die(&mut world, &["i-1"], 100_000);
    let _session = start_and_attend(&mut world, "i-2", 150_000);
    start_and_die(&mut world, &["i-1"], 200_000);
    assert_eq!(world.hopeless(), []);
    assert!(world.fails_again(&id));
    start_and_die(&mut world, &["i-1"], 300_000);
    assert_eq!(world.hopeless(), [id]);
    assert_eq!(states(&mut world, at(301_000)), []);
    // A scaler that may not terminate it makes do with it.
    world.keep_hopeless();
    assert_eq!(world.hopeless(), []);
    assert_eq!(states(&mut world, at(302_000)), [(Some(1), State::Stopped)]);
}

/// Such as a broken image, or a queue that cannot be reached.
#[test]
fn a_fault_that_all_instances_have_in_common_does_not_destroy_the_pool() {
    let mut world = world();
    // That one came up before it broke says nothing.
    let _session = start_and_attend(&mut world, "i-9", 1_000);
    let pool = ["i-1", "i-2", "i-3"];
    for round in 1..=6 {
        start_and_die(&mut world, &pool, round * 100_000);
        assert_eq!(world.hopeless(), []);
        assert!(!world.fails_again(&pool[0].into()));
    }
    assert_eq!(states(&mut world, at(700_000)).len(), 3);
}

/// They keep on running, so the scaler stops them.
#[test]
fn starts_are_held_back_ever_longer_while_no_worker_ever_attends() {
    let mut world = world();
    let is = |state| {
        let pair =
            [1, 2].map(|number| found(&format!("i-{number}"), &worker_instance(number), state));
        pair.to_vec()
    };
    let ids = ["i-1", "i-2"].map(InstanceId::from);
    let give_up_both = |world: &mut World, from: u64| {
        world.starting(&ids, at(from));
        world.described(is(PowerState::Running), at(from + 100));
        world.observe(at(from + 100), CallBackoff::default());
        for (id, later) in ids.iter().zip([0, 500]) {
            world.giving_up(id);
            world.stopping(from_ref(id), at(from + 200 + later));
            world.observe(at(from + 200 + later), CallBackoff::default());
            world.stop_called(from_ref(id), at(from + 300 + later));
            world.boot_failed(id, at(from + 300 + later));
        }
        world.described(is(PowerState::Stopped), at(from + 900));
        let failed = world
            .observe(at(from + 900), CallBackoff::default())
            .failed_boots;
        let failed = failed.expect("it is noticed");
        let hold = failed.held_until.since(at(from + 300)).as_secs();
        (failed.in_a_row, hold)
    };
    let holds: Vec<_> = (1..=4)
        .map(|round| give_up_both(&mut world, round * 100_000))
        .collect();
    assert_eq!(holds, [(1, 1), (2, 2), (3, 4), (4, 8)]);
    let _session = start_and_attend(&mut world, "i-3", 600_000);
    assert_eq!(
        world
            .observe(at(601_000), CallBackoff::default())
            .failed_boots,
        None
    );
}

/// The answer to the call that stops it may be lost.
#[test]
fn an_instance_that_was_given_up_has_failed_once_it_is_seen_stopped() {
    let (mut world, id) = (world(), InstanceId::from("i-1"));
    world.starting(from_ref(&id), at(0));
    let is = |state| vec![found("i-1", "app-tier-instance-1", state)];
    world.described(is(PowerState::Running), at(100));
    world.giving_up(&id);
    world.stopping(from_ref(&id), at(200));
    world.observe(at(200), CallBackoff::default());
    world.stop_called(from_ref(&id), at(300));
    world.described(is(PowerState::Stopped), at(400));
    let failed = world.observe(at(400), CallBackoff::default()).failed_boots;
    assert_eq!(failed.map(|failed| failed.in_a_row), Some(1));
}

#[test]
fn stopped_instances_without_capacity_are_left_out_for_a_while_with_those_alike() {
    let mut world = world();
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
    world.described(pool(), at(0));
    world.cannot_start(&[InstanceId::from("i-1")], at(0));
    assert_eq!(states(&mut world, at(100)), [(Some(3), State::Stopped)]);
    world.described(pool(), at(120_000));
    assert_eq!(states(&mut world, at(120_000)).len(), 3);
}

#[test]
fn a_worker_that_is_ready_ends_the_holding_back_of_starts() {
    let attendance = Attendance::new(Clock::start());
    let mut world = World::new(watch::channel(None).1, attendance.clone());
    assert!(start_and_die(&mut world, &["i-1"], 1_000).is_some());
    let id = InstanceId::from("i-1");
    world.starting(from_ref(&id), at(5_000));
    let session = attendance.join(&id, watch::channel(None).0).unwrap();
    let report = WorkerReport {
        instance_id: id.to_string(),
        state: WorkerState::Idle.into(),
        ..WorkerReport::default()
    };
    assert!(session.report(&report));
    let running = found("i-1", "app-tier-instance-1", PowerState::Running);
    world.described(vec![running], at(5_100));
    let observation = world.observe(at(5_100), CallBackoff::default());
    assert_eq!(observation.failed_boots, None);
}

/// EC2 takes Spot instances away whatever their worker does.
#[test]
fn a_leaving_instance_is_told_apart_and_has_not_failed_to_boot() {
    let attendance = Attendance::new(Clock::start());
    let mut world = World::new(watch::channel(None).1, attendance.clone());
    let id = InstanceId::from("i-1");
    let is = |state| vec![found("i-1", "app-tier-instance-1", state)];
    world.starting(from_ref(&id), at(0));
    let session = attendance.join(&id, watch::channel(None).0).unwrap();
    let report = WorkerReport {
        instance_id: id.to_string(),
        state: WorkerState::Booting.into(),
        interruption: Some(Interruption::default()),
        ..WorkerReport::default()
    };
    assert!(session.report(&report));
    world.described(is(PowerState::Running), at(100));
    let observation = world.observe(at(100), CallBackoff::default());
    assert!(observation.instances[0].leaving);
    assert_eq!(observation.count(State::Draining), 1);
    world.described(is(PowerState::Stopped), at(200));
    let observation = world.observe(at(200), CallBackoff::default());
    assert!(!observation.instances[0].leaving);
    assert_eq!(observation.failed_boots, None);
}

#[test]
fn an_instance_that_was_ordered_to_stop_while_booting_has_not_failed() {
    let (mut world, id) = (world(), InstanceId::from("i-1"));
    let is = |state| vec![found("i-1", "app-tier-instance-1", state)];
    world.starting(from_ref(&id), at(0));
    world.described(is(PowerState::Running), at(100));
    world.stopping(from_ref(&id), at(200));
    states(&mut world, at(200));
    world.stop_called(&[id], at(300));
    world.described(is(PowerState::Stopped), at(400));
    let observation = world.observe(at(400), CallBackoff::default());
    assert_eq!(observation.count(State::Stopped), 1);
    assert_eq!(observation.failed_boots, None);
}

#[test]
fn a_name_that_was_given_counts_before_ec2_tells_it() {
    let mut world = world();
    let unnamed = || vec![found("i-1", "app-tier-instance", PowerState::Running)];
    world.described(unnamed(), at(0));
    world.renamed(&"i-1".into(), 7, at(100));
    world.described(unnamed(), at(200));
    assert_eq!(states(&mut world, at(200)), [(Some(7), State::Booting)]);
}

#[test]
fn other_peoples_instances_are_left_alone() {
    let mut world = world();
    let others = [
        "app-tier-instances-1",
        "app-tier-instance-blue",
        "app-tier-instance-",
    ];
    world.described(
        others
            .iter()
            .map(|name| found(name, name, PowerState::Running))
            .collect(),
        at(0),
    );
    world.described(
        vec![found(
            "i-1",
            "app-tier-instance-1",
            PowerState::ShuttingDown,
        )],
        at(1),
    );
    assert_eq!(states(&mut world, at(1)), []);
}

#[test]
fn ec2_and_the_queue_are_asked_seldom_while_nothing_goes_on() {
    let pace = |fleet: &Fleet| {
        let observation = &fleet.observation;
        (
            describe_interval(observation, TICK).as_millis(),
            count_interval(observation, TICK).as_millis(),
        )
    };
    let quiet = Fleet::of(3);
    assert_eq!(pace(&quiet), (2_000, 2_000));
    assert_eq!(pace(&quiet.clone().with_front_unreachable()), (500, 500));
    assert_eq!(pace(&quiet.with_backlog(1)), (500, 500));
    assert_eq!(pace(&Fleet::of(1).stopping().for_ms(0)), (100, 500));
    assert_eq!(pace(&Fleet::of(1).stopping().for_ms(4_000)), (500, 500));
    let ended = Fleet::of(1).idle();
    assert_eq!(pace(&ended), (500, 500));
    assert_eq!(pace(&ended.clone().with_messages(1)), (500, 100));
    assert_eq!(pace(&ended.with_queue_last_asked_ms_ago(1)), (500, 100));
}

/// Each is looked up by its id: if all were searched for each, this would take minutes.
#[test]
fn a_large_fleet_is_compared_in_a_time_that_grows_with_its_size_only() {
    let many = 100_000;
    let mut world = world();
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
    world.described(are(PowerState::Stopped), at(0));
    world.starting(&ids, at(100));
    world.described(are(PowerState::Stopped), at(200));
    world.described(are(PowerState::Running), at(300));
    assert!(!ids.iter().any(|id| world.is_spot(id)));
    world.described(are(PowerState::Stopped), at(400));
    world.cannot_start(&ids, at(500));
    assert_eq!(states(&mut world, at(600)), []);
    assert!(begun.elapsed() < Duration::from_secs(20));
}
