//! Launches, and launches whose reply was lost.

use super::*;
use crate::plan::fixtures::Fleet as PlannedFleet;
use crate::plan::{Memory, Timestamped, plan};

#[tokio::test]
async fn a_launch_whose_reply_was_lost_is_repeated_with_the_same_token() {
    let mut fixture = Fixture::new().await;
    let token = fixture.lose_launch();
    assert_eq!(fixture.next_token(3, at(11)), Some((3, token)));
}

#[tokio::test]
async fn no_other_launch_comes_on_top_of_one_whose_reply_was_lost() {
    let codes = ["InternalError", "Unavailable"].map(refused_with);
    for error in codes.into_iter().chain([unavailable()]) {
        let mut fixture = Fixture::new().await;
        let token = fixture.fail_launch(error);
        // A smaller launch would come on top of it.
        assert_eq!(fixture.next_token(2, at(3)), None);
        // A larger one repeats it first. The next plan asks for the rest.
        assert_eq!(fixture.next_token(5, at(4)), Some((3, token)));
        assert_eq!(
            fixture.next_token(2, at(5)).map(|(count, _)| count),
            Some(2)
        );
    }
}

#[tokio::test]
async fn a_launch_that_is_put_off_is_held_back() {
    let mut fixture = Fixture::new().await;
    fixture.lose_launch();
    let plan = Plan {
        launch: 2,
        ..Plan::default()
    };
    fixture.executor.execute(&plan, &mut fixture.view, at(5));
    assert_eq!(fixture.view.launching, 0);
    assert!(fixture.executor.call_backoff().launch > Some(at(5)));
}

/// A killed leader may have launched instances that EC2 does not list yet.
#[tokio::test]
async fn launches_wait_for_those_of_a_former_leader_and_starts_do_not() {
    let mut fixture = Fixture::new().await;
    fixture.executor.hold_launches(at(12));
    let held = fixture.executor.call_backoff();
    assert_eq!((held.launch, held.start), (Some(at(12)), None));
    // The plan keeps to it.
    let mut fleet = PlannedFleet::of(1).with_backlog(3);
    fleet.observation.call_backoff = held;
    for (now, launch) in [(at(11), 0), (at(12), 2)] {
        let mut observation = fleet.observation.clone();
        observation.now = now;
        observation.described_at = Some(now);
        observation.front = observation.front.map(|it| Timestamped { at: now, ..it });
        let (plan, _) = plan(&fleet.policy, &observation, Memory::default());
        assert_eq!((plan.start.len(), plan.launch), (1, launch));
    }
}

#[tokio::test]
async fn a_throttled_repetition_leaves_the_launch_unconfirmed() {
    let mut fixture = Fixture::new().await;
    let token = fixture.lose_launch();
    let repetition = fixture.next(3, at(4)).unwrap();
    let throttled = refused_with("RequestLimitExceeded");
    fixture.finish(
        Call::Launch(repetition, Vec::new()),
        throttled,
        at(4),
        at(5),
    );
    assert_eq!(fixture.next_token(2, at(6)), None);
    assert_eq!(fixture.next_token(3, at(6)), Some((3, token)));
}

#[tokio::test]
async fn a_launch_token_is_not_used_again_after_ec2s_lag() {
    let mut fixture = Fixture::new().await;
    let token = fixture.lose_launch();
    // EC2's list may lag by a minute.
    assert_eq!(fixture.next_token(3, at(62)), Some((3, token.clone())));
    fixture.lose_launch();
    assert_ne!(
        fixture.next_token(3, at(77)).expect("it may be launched").1,
        token
    );
}

#[tokio::test]
async fn a_launch_token_is_not_used_again_once_its_instances_were_seen() {
    let mut fixture = Fixture::new().await;
    let token = fixture.lose_launch();
    fixture.describe(&["i-1", "i-2", "i-3", "i-4"], at(3));
    assert_ne!(
        fixture.next_token(3, at(4)).expect("it may be launched").1,
        token
    );
}

#[tokio::test]
async fn a_launch_without_capacity_goes_to_the_next_pool_without_delay() {
    let mut fixture = Fixture::new().await;
    let lack = "InsufficientInstanceCapacity";
    assert_eq!(fixture.refuse_launch(lack, at(1)), "");
    assert_eq!(fixture.executor.launch.until(), None);
    assert_eq!(fixture.refuse_launch(lack, at(2)), "m7i.large");
    // Now all pools lack capacity.
    assert!(fixture.executor.launch.until() > Some(at(2)));
}

#[tokio::test]
async fn a_launch_whose_reply_was_lost_is_repeated_in_the_same_pool() {
    let mut fixture = Fixture::new().await;
    fixture.lose_launch();
    let first = fixture.executor.pools.choose(at(1));
    fixture
        .executor
        .pools
        .refused(&first, "InsufficientInstanceCapacity", at(3));
    let next = fixture.next(3, at(4)).expect("it may be launched");
    assert_eq!((next.token.as_str(), next.pool), ("unconfirmed", first));
}
