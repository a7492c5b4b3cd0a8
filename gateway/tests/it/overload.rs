use crate::photos::photo;
use crate::stack::Stack;
use crate::worker::Worker;

#[tokio::test]
async fn more_requests_than_the_limit_are_told_to_come_back() {
    let stack = Stack::configured(|front, _| front.max_in_flight = 2).await;
    let (first, second, third) = (photo(1), photo(2), photo(3));
    let mut worker = None;
    let late_comer = async {
        stack.until_demand(|demand| demand.unanswered == 2).await;
        let refused = stack.post("c.jpg", &third).await;
        refused.assert_refused(429, "too many requests");
        assert_eq!(refused.header("retry-after"), "2");
        worker = Some(Worker::recognizing(&stack).await);
    };
    let (first, second, ()) = tokio::join!(
        stack.post("a.jpg", &first),
        stack.post("b.jpg", &second),
        late_comer
    );
    first.assert_recognized("a:somebody");
    second.assert_recognized("b:somebody");
    stack.assert_left_behind(&["a.jpg", "b.jpg"]).await;
    // There is room again.
    stack
        .post("c.jpg", &third)
        .await
        .assert_recognized("c:somebody");
    drop(worker);
}

#[tokio::test]
async fn photos_beyond_the_byte_budget_are_refused() {
    let stack = Stack::configured(|_, http| http.max_buffered_bytes = 100).await;
    stack
        .post("a.jpg", &photo(1))
        .await
        .assert_refused(429, "too many photos");
    let stack = Stack::configured(|front, _| front.max_buffered_bytes = 100).await;
    stack
        .post("a.jpg", &photo(1))
        .await
        .assert_refused(429, "too many photos");
    stack.assert_left_behind(&[]).await;
}

#[tokio::test]
async fn demand_is_sent_at_once_and_as_a_heartbeat() {
    let stack = Stack::start().await;
    let mut client = proto::v1::demand_client::DemandClient::new(stack.front.clone());
    let request = proto::v1::WatchDemandRequest {};
    let mut updates = client.watch_demand(request).await.unwrap().into_inner();
    let begun = std::time::Instant::now();
    for _ in 0..3 {
        let update = updates.message().await.unwrap().unwrap();
        assert_eq!(
            (
                update.unanswered,
                update.accepted_total,
                update.answered_total
            ),
            (0, 0, 0)
        );
    }
    let took = begun.elapsed().as_secs_f64();
    assert!(
        (1.5..5.0).contains(&took),
        "the first at once, then one a second: {took}"
    );
}
