use std::time::Duration;

use platform::fleet::{FleetInstance, PowerState};
use tokio::sync::watch;

use super::pace::{count_interval, describe_interval};
use super::*;
use crate::clock::Clock;
use crate::plan::fixtures::Fleet;

const TICK: Duration = Duration::from_millis(500);

fn at(milliseconds: u64) -> Moment {
    Moment::after_start(Duration::from_millis(milliseconds))
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
    }
}

fn states(world: &mut World, now: Moment) -> Vec<(Option<u32>, State)> {
    let observation = world.observe(now, Held::default());
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
    let observation = world.observe(at(100), Held::default());
    assert_eq!(observation.count(State::Pending), 1);
    assert!(!observation.instances[0].listed);
    world.described(
        vec![found("i-1", "app-tier-instance", PowerState::Pending)],
        at(200),
    );
    assert_eq!(states(&mut world, at(200)), [(None, State::Pending)]);
}

#[test]
fn a_stopped_instance_is_stopping_however_far_ec2_lags_behind() {
    let (mut world, id) = (world(), InstanceId::from("i-1"));
    let running = || vec![found("i-1", "app-tier-instance-1", PowerState::Running)];
    world.described(running(), at(0));
    world.stopping(&[id], at(100));
    world.described(running(), at(200));
    assert_eq!(states(&mut world, at(200)), [(Some(1), State::Stopping)]);
    // An order that had no effect for so long is given up, and may be given again.
    assert_eq!(states(&mut world, at(10_100)), [(Some(1), State::Booting)]);
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
