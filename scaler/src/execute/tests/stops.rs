//! Stops, and what their worker counts as meanwhile.

use super::*;
use crate::execute::stop::{End, end_with_splits};

#[tokio::test]
async fn a_worker_is_not_uncordoned_while_the_call_to_stop_it_is_in_flight() {
    let mut fixture = Fixture::new().await;
    fixture.stop(at(1));
    fixture.describe(&["i-1"], at(40));
    assert_eq!(fixture.state(at(40)), State::Stopping);
    let worker = fixture.registry.get(&fixture.worker).unwrap();
    assert_eq!(worker.state, Some(State::Stopping));
}

#[tokio::test]
async fn a_worker_whose_stop_may_have_happened_is_not_uncordoned_before_ec2s_lag_is_over() {
    let mut fixture = Fixture::new().await;
    fixture.stop(at(1));
    fixture.finish(Call::Stop(fixture.stops()), unavailable(), at(1), at(40));
    fixture.describe(&["i-1"], at(41));
    assert_eq!(fixture.state(at(49)), State::Stopping);
    assert_eq!(fixture.state(at(50)), State::Cordoned);
}

#[tokio::test]
async fn a_worker_is_not_uncordoned_after_an_internal_error_of_ec2() {
    for code in ["InternalError", "ServiceUnavailable"] {
        let mut fixture = Fixture::new().await;
        fixture.stop(at(1));
        fixture.finish(
            Call::Stop(fixture.stops()),
            refused_with(code),
            at(1),
            at(2),
        );
        assert_eq!(fixture.state(at(3)), State::Stopping, "{code}");
    }
}

#[tokio::test]
async fn a_worker_whose_stop_was_refused_may_be_uncordoned_at_once() {
    let mut fixture = Fixture::new().await;
    fixture.stop(at(1));
    fixture.finish(Call::Stop(fixture.stops()), refused(), at(1), at(2));
    assert_eq!(fixture.state(at(2)), State::Cordoned);
}

/// Otherwise its calls could outlast the lease.
#[tokio::test]
async fn an_order_of_several_calls_ends_once_the_scaler_no_longer_acts() {
    let mut fixture = Fixture::new().await;
    assert!(fixture.executor.permit().is_valid());
    let (leadership, _guard) = crate::lease::disabled(Clock::start());
    fixture.executor = fixture.executor.with_leadership(leadership);
    let permit = fixture.executor.permit();
    assert!(permit.is_valid());
    fixture.executor.close().await;
    assert!(!permit.is_valid());
    let (fleet, stops) = (&fixture.executor.fleet, fixture.stops());
    let ended = end_with_splits(fleet, &permit, End::Stop, stops, at(1)).await;
    let error = ended[0].error.as_ref().expect("no call was made");
    assert_eq!((ended.len(), ended[0].further_calls), (1, 0));
    assert!(!error.may_have_happened(), "{error}");
}
