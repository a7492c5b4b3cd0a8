//! Starts of stopped instances, and renames.

use super::*;

#[tokio::test]
async fn starts_without_capacity_become_smaller_and_then_leave_the_pool() {
    let mut fixture = Fixture::new().await;
    fixture.describe_pool();
    let lack = "InsufficientInstanceCapacity";
    for ids in [&["i-1", "i-2", "i-3", "i-4"][..], &["i-1", "i-2"]] {
        fixture.refuse_start(ids, lack, at(2));
        assert_eq!(fixture.executor.held().start, None);
        assert_eq!(fixture.startable(at(3)).len(), 4);
    }
    fixture.refuse_start(&["i-1"], lack, at(2));
    assert_eq!(fixture.startable(at(3)).len(), 0);
}

#[tokio::test]
async fn a_stopped_instance_that_cannot_be_started_does_not_block_the_others_of_the_pool() {
    let broken = [
        "InvalidInstanceID.NotFound",
        "IncorrectInstanceState",
        "InvalidVolume.NotFound",
    ];
    for code in broken {
        let mut fixture = Fixture::new().await;
        fixture.describe_pool();
        for ids in [&["i-1", "i-2", "i-3", "i-4"][..], &["i-1", "i-2"]] {
            fixture.refuse_start(ids, code, at(2));
            let held = fixture.executor.start.until().expect("it is held back");
            assert!(held < at(4), "{code}: {held:?}");
            assert_eq!(fixture.startable(at(3)).len(), 4, "{code}");
        }
        fixture.refuse_start(&["i-1"], code, at(2));
        assert_eq!(fixture.startable(at(3)), ["i-2", "i-3", "i-4"], "{code}");
        assert_eq!(fixture.startable(at(122)).len(), 4, "{code}");
    }
}

#[tokio::test]
async fn a_start_that_was_throttled_or_lost_leaves_its_instance_startable() {
    for code in ["RequestLimitExceeded", "InternalError"] {
        let mut fixture = Fixture::new().await;
        fixture.describe_pool();
        fixture.refuse_start(&["i-1"], code, at(2));
        assert_eq!(fixture.startable(at(3)).len(), 4, "{code}");
    }
}

#[tokio::test]
async fn throttled_calls_are_held_back() {
    let mut fixture = Fixture::new().await;
    fixture.refuse_start(&["i-1"], "RequestLimitExceeded", at(2));
    let held = fixture.executor.held().start.expect("it is held back");
    assert!(held > at(2) && held < at(3), "{held:?}");
}

#[tokio::test]
async fn an_instance_that_ec2_does_not_know_yet_is_renamed_a_little_later() {
    let mut fixture = Fixture::new().await;
    let plan = Plan {
        rename: vec![(fixture.worker.clone(), 7)],
        ..Plan::default()
    };
    fixture.executor.execute(&plan, &mut fixture.view, at(1));
    let number = |fixture: &mut Fixture| {
        let observation = fixture.view.observe(at(2), Held::default());
        observation.instances[0].number
    };
    assert_eq!(number(&mut fixture), Some(7));
    let call = Call::Rename {
        id: fixture.worker.clone(),
        number: 7,
    };
    fixture.finish(
        call,
        refused_with("InvalidInstanceID.NotFound"),
        at(1),
        at(2),
    );
    assert_eq!(number(&mut fixture), Some(1));
    let held = fixture.executor.held().rename.expect("it waits a little");
    assert!(held.since(at(2)) <= Duration::from_millis(200), "{held:?}");
}
