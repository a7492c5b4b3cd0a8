use std::time::Duration;

use proto::v1::RecognizeRequest;
use tonic::Code;

use crate::photos::{CONTENT_TYPE, photo};
use crate::stack::Stack;
use crate::worker::{Worker, recognize};

const MEGABYTE: usize = 1_000_000;

fn large(name: &str, seed: u8, bytes: usize) -> RecognizeRequest {
    let mut image = photo(seed);
    // Decoders ignore what follows the end of the image.
    image.resize(bytes, 0);
    RecognizeRequest {
        file_name: name.to_owned(),
        image: image.into(),
    }
}

#[tokio::test]
async fn more_requests_than_the_limit_get_429() {
    let stack = Stack::configured(|front, _| front.max_in_flight = 2).await;
    let (first, second, third) = (photo(1), photo(2), photo(3));
    let mut worker = None;
    let third_request = async {
        stack.until_demand(|demand| demand.unanswered == 2).await;
        let refused = stack.post("c.jpg", &third).await;
        refused.assert_refused(429, "too many requests");
        assert_eq!(refused.header("retry-after"), "2");
        worker = Some(Worker::recognizing(&stack).await);
    };
    let (first, second, ()) = tokio::join!(
        stack.post("a.jpg", &first),
        stack.post("b.jpg", &second),
        third_request
    );
    first.assert_recognized("a:somebody");
    second.assert_recognized("b:somebody");
    stack.assert_left_behind(&["a.jpg", "b.jpg"]).await;
    let answer = stack.post("c.jpg", &third).await;
    answer.assert_recognized("c:somebody");
    drop(worker);
}

#[tokio::test]
async fn photos_beyond_the_byte_budget_are_refused() {
    let stack = Stack::configured(|_, http| http.max_buffered_bytes = 100).await;
    let answer = stack.post("a.jpg", &photo(1)).await;
    answer.assert_refused(429, "too many photos");
    let stack = Stack::configured(|front, _| front.max_buffered_bytes = 100).await;
    let answer = stack.post("a.jpg", &photo(1)).await;
    answer.assert_refused(429, "too many photos");
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

#[tokio::test]
async fn a_photo_on_its_way_to_a_worker_leaves_the_gateway_room_for_the_next() {
    let photos = [photo(1), photo(2)];
    // 400 bytes for the multipart headers.
    let room_for_one = photos[0].len().max(photos[1].len()) + 400;
    let stack = Stack::configured(|_, http| http.max_buffered_bytes = room_for_one).await;
    let mut worker = None;
    let second = async {
        stack.until_demand(|demand| demand.unanswered == 1).await;
        loop {
            // Front may have the last byte before the gateway knows that it was sent.
            let answer = stack.post("b.jpg", &photos[1]).await;
            if answer.status != 429 {
                return answer;
            }
        }
    };
    let work = async {
        stack.until_demand(|demand| demand.unanswered == 2).await;
        worker = Some(Worker::recognizing(&stack).await);
    };
    let (first, second, ()) = tokio::join!(stack.post("a.jpg", &photos[0]), second, work);
    first.assert_recognized("a:somebody");
    second.assert_recognized("b:somebody");
    drop(worker);
}

/// HTTP/2 has one window for all calls of a connection. Calls that wait must not use it up.
#[tokio::test]
async fn calls_that_wait_for_memory_do_not_block_their_connection() {
    let stack = Stack::configured(|front, _| front.max_buffered_bytes = 3 * MEGABYTE).await;
    let worker = Worker::recognizing(&stack).await;
    let calls = (0..40u8).map(|seed| {
        let request = large(&format!("{seed}.jpg"), seed, 2 * MEGABYTE);
        let mut recognizer = stack.recognizer();
        async move { recognizer.recognize(request).await }
    });
    let answers = futures::future::join_all(calls);
    let answers = tokio::time::timeout(Duration::from_secs(60), answers).await;
    for (seed, answer) in answers.expect("no call is stuck").into_iter().enumerate() {
        assert_eq!(answer.unwrap().into_inner().stem, seed.to_string());
    }
    assert_eq!(worker.jobs(), 40);
}

#[tokio::test]
async fn large_photos_beyond_the_limit_of_calls_are_refused() {
    let stack = Stack::configured(|front, _| front.max_in_flight = 1).await;
    let mut recognizer = stack.recognizer();
    let first = tokio::spawn(async move { recognizer.recognize(large("a.jpg", 1, 10_000)).await });
    stack.until_demand(|demand| demand.unanswered == 1).await;
    for number in 0..20 {
        let request = large(&format!("{number}.jpg"), 2, 10 * MEGABYTE);
        let status = stack.recognizer().recognize(request).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert_eq!(status.metadata().get("retry-after").unwrap(), "2");
    }
    let _worker = Worker::recognizing(&stack).await;
    assert_eq!(first.await.unwrap().unwrap().into_inner().stem, "a");
    stack.assert_left_behind(&["a.jpg"]).await;
}

/// A body without a boundary is buffered until it ends.
#[tokio::test]
async fn bytes_before_the_first_part_count_against_the_budget() {
    let stack = Stack::configured(|_, http| http.max_buffered_bytes = 100 * 1024).await;
    let endless = vec![b'x'; 200 * 1024];
    let answer = stack.post_raw(CONTENT_TYPE, endless).await;
    answer.assert_refused(429, "too many photos");
    assert_eq!(answer.header("retry-after"), "2");
    stack.assert_left_behind(&[]).await;
}

#[tokio::test]
async fn a_refused_upload_leaves_the_budget_as_it_was() {
    let stack = Stack::configured(|_, http| http.max_buffered_bytes = 100 * 1024).await;
    let _worker = Worker::recognizing(&stack).await;
    for _ in 0..3 {
        let junk = stack.post_raw(CONTENT_TYPE, vec![b'x'; 90 * 1024]).await;
        junk.assert_refused(400, "multipart body is damaged");
        recognize(&stack, "a.jpg", 1).await;
    }
}
