//! Stops, and what their worker counts as meanwhile.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::execute::call::End;
use crate::execute::stop::end_with_splits;

#[tokio::test]
async fn a_worker_is_not_uncordoned_while_the_call_to_stop_it_is_in_flight() {
    let mut fixture = Fixture::new().await;
    fixture.stop(at(1));
    fixture.describe(&["i-1"], at(40));
    assert_eq!(fixture.state(at(40)), InstanceState::Stopping);
    let worker = fixture.registry.get(&fixture.worker).unwrap();
    assert_eq!(worker.state, Some(InstanceState::Stopping));
}

#[tokio::test]
async fn a_worker_whose_stop_may_have_happened_is_not_uncordoned_before_ec2s_lag_is_over() {
    let mut fixture = Fixture::new().await;
    fixture.stop(at(1));
    fixture.finish(Call::Stop(fixture.stops()), unavailable(), at(1), at(40));
    fixture.describe(&["i-1"], at(49));
    assert_eq!(fixture.state(at(50)), InstanceState::Stopping);
    fixture.describe(&["i-1"], at(50));
    assert_eq!(fixture.state(at(50)), InstanceState::Cordoned);
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
        assert_eq!(fixture.state(at(3)), InstanceState::Stopping, "{code}");
    }
}

#[tokio::test]
async fn a_worker_whose_stop_was_refused_may_be_uncordoned_at_once() {
    let mut fixture = Fixture::new().await;
    fixture.stop(at(1));
    fixture.finish(Call::Stop(fixture.stops()), refused(), at(1), at(2));
    assert_eq!(fixture.state(at(2)), InstanceState::Cordoned);
}

#[tokio::test]
async fn calls_that_were_not_made_do_not_count_as_failed() {
    let mut fixture = Fixture::new().await;
    fixture.stop(at(1));
    let call = Call::Stop(fixture.stops());
    let outcome = Outcome::new(call, at(1), Some(permit::expired()));
    let events = fixture.executor.finish(outcome, &mut fixture.view, at(2));
    assert_eq!(
        (events, fixture.state(at(2))),
        (vec![], InstanceState::Cordoned)
    );

    // EC2 refuses the first call because of one of the instances, and throttles the next one.
    let ec2 = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fleet = fleet_at(&ec2).await;
    let serving = tokio::spawn(async move {
        for code in ["IncorrectInstanceState", "RequestLimitExceeded"] {
            refuse_next(&ec2, code).await;
        }
    });
    let (permit, stops) = (fixture.executor.permit(), vec![fixture.stops(); 4].concat());
    let ended = end_with_splits(&fleet, &permit, End::Stop, stops, at(3)).await;
    serving.await.unwrap();
    let mut events = Vec::new();
    for outcome in ended {
        events.extend(fixture.executor.finish(outcome, &mut fixture.view, at(4)));
    }
    let call = "StopInstances";
    assert_eq!(events, [ExecutionEvent::CallFailed { call }; 2]);
}

/// Refuses the next call to EC2.
async fn refuse_next(ec2: &TcpListener, code: &str) {
    let (mut connection, _) = ec2.accept().await.unwrap();
    let mut request = [0; 16_384];
    drop(connection.read(&mut request).await);
    let body = format!("<Response><Errors><Error><Code>{code}</Code></Error></Errors></Response>");
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    connection.write_all(answer.as_bytes()).await.unwrap();
    connection.shutdown().await.unwrap();
    // A connection that is dropped with unread data is reset, and the reply may be lost.
    while connection
        .read(&mut request)
        .await
        .is_ok_and(|read| read > 0)
    {}
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
