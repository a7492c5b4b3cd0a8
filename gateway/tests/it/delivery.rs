use std::time::Duration;

use gateway::front::{self, Deployment};
use gateway::http;
use proto::v1::FailureCode;
use serde_json::json;

use crate::photos::photo;
use crate::stack::Stack;
use crate::worker::{Behavior, Worker, recognize, recognized};
use testkit::eventually;

const LATE_REPLIES: &str = "muster_front_late_replies_total";

#[tokio::test]
async fn a_hundred_concurrent_requests_are_answered_once_each() {
    let stack = Stack::start().await;
    let late = stack.metric(LATE_REPLIES).await;
    // Each job gets two replies, as at-least-once delivery allows.
    let worker = Worker::start(&stack, |job| {
        let answer = recognized(job, &format!("owner of {}", job.object_key));
        Behavior::Send(vec![answer.clone(), answer])
    })
    .await;
    let uploads = (0..100u8).map(|number| {
        let stack = &stack;
        async move {
            stack
                .post(&format!("test_{number:02}.jpg"), &photo(number))
                .await
        }
    });
    let answers = futures::future::join_all(uploads).await;
    for (number, answer) in answers.iter().enumerate() {
        answer.assert_recognized(&format!("test_{number:02}:owner of test_{number:02}.jpg"));
    }
    let ids: std::collections::HashSet<_> = answers
        .iter()
        .map(|answer| answer.header("x-request-id"))
        .collect();
    assert_eq!(ids.len(), 100);
    assert_eq!(worker.jobs(), 100);
    assert_eq!(stack.photos().await.len(), 100);
    let demand = stack.until_demand(|demand| demand.unanswered == 0).await;
    assert_eq!((demand.accepted_total, demand.answered_total), (100, 100));
    eventually("all duplicates are counted", || async {
        stack.metric(LATE_REPLIES).await >= late + 100.0
    })
    .await;
    let photos = stack.photos().await;
    stack
        .assert_left_behind(&photos.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
}

#[tokio::test]
async fn a_request_fails_at_its_deadline_and_its_late_reply_is_kept() {
    let stack = Stack::configured(|front, _| front.deadline = Duration::from_millis(400)).await;
    let answer = stack.post("a.jpg", &photo(1)).await;
    answer.assert_refused(504, "no worker answered in time");
    let demand = stack.until_demand(|demand| demand.unanswered == 0).await;
    assert_eq!(demand.answered_total, 1);

    let late = stack.metric(LATE_REPLIES).await;
    let worker = Worker::recognizing(&stack).await;
    eventually("the late reply is counted", || async {
        stack.metric(LATE_REPLIES).await > late
    })
    .await;
    assert_eq!(worker.jobs(), 1);
    let Deployment { aws, names } = &stack.deployment;
    let results = aws.objects(names.out_bucket());
    let id = answer.header("x-request-id");
    eventually("the result is kept", || async {
        results.keys().await.unwrap() == [format!("results/{id}")]
    })
    .await;
}

#[tokio::test]
async fn undecodable_replies_are_dropped() {
    let stack = Stack::start().await;
    let before = stack.metric("muster_front_undecodable_replies_total").await;
    let _worker = Worker::start(&stack, |job| {
        let unknown = proto::v1::RecognitionJob {
            job_id: "unknown".to_owned(),
            ..job.clone()
        };
        let bodies = [
            "hello".to_owned(),
            "{}".to_owned(),
            recognized(&unknown, "x"),
            recognized(job, "somebody"),
        ];
        Behavior::Send(bodies.to_vec())
    })
    .await;
    recognize(&stack, "a.jpg", 1).await;
    stack.assert_left_behind(&["a.jpg"]).await;
    assert!(stack.metric("muster_front_undecodable_replies_total").await >= before + 3.0);
}

#[tokio::test]
async fn a_job_that_kills_its_workers_fails_from_the_dead_letter_queue() {
    let stack = Stack::start().await;
    let worker = Worker::start(&stack, |job| match job.object_key.as_str() {
        "poison.jpg" => Behavior::Fail,
        _ => Behavior::Send(vec![recognized(job, "somebody")]),
    })
    .await;
    let poison = photo(1);
    let (poisoned, healthy) = tokio::join!(
        stack.post("poison.jpg", &poison),
        stack.post("a.jpg", &poison)
    );
    poisoned.assert_refused(500, "gave up after 5 attempts");
    healthy.assert_recognized("a:somebody");
    assert_eq!(worker.jobs(), 6, "five times the poison");
    let names = &stack.deployment.names;
    let letters = stack
        .queue(names.dead_letter_queue())
        .await
        .counters()
        .await
        .unwrap();
    assert_eq!(
        letters.visible + letters.in_flight,
        1,
        "the letter stays for the operator"
    );
}

/// Dead letters stay for the operator, and there may be hundreds.
#[tokio::test]
async fn a_dead_letter_behind_hundreds_of_others_is_found() {
    let stack = Stack::start().await;
    let names = &stack.deployment.names;
    let letters = stack.queue(names.dead_letter_queue()).await;
    for _ in 0..30 {
        let old = vec!["an old letter".to_owned(); 10];
        let sent = letters.send_batch(old).await;
        assert!(sent.iter().all(Result::is_ok));
    }
    let _worker = Worker::start(&stack, |_| Behavior::Fail).await;
    let answer = stack.post("poison.jpg", &photo(1)).await;
    answer.assert_refused(500, "gave up after 5 attempts");
}

/// One receive after the other, a scan took longer than the deadline here.
#[tokio::test]
async fn thousands_of_old_dead_letters_delay_a_new_one_little() {
    let faults = fault(json!({"action": "ReceiveMessage", "latency_ms": 50}));
    let change = |front: &mut front::Config, _: &mut http::Config| {
        front.deadline = Duration::from_secs(25);
    };
    let stack = Stack::with_faults(faults, change).await;
    let names = &stack.deployment.names;
    let letters = stack.queue(names.dead_letter_queue()).await;
    for _ in 0..600 {
        let sent = letters.send_batch(vec!["old".to_owned(); 10]).await;
        assert!(sent.iter().all(Result::is_ok));
    }
    let _worker = Worker::start(&stack, |_| Behavior::Fail).await;
    let answer = stack.post("poison.jpg", &photo(1)).await;
    answer.assert_refused(500, "gave up after 5 attempts");
}

#[tokio::test]
async fn deletes_that_hang_delay_no_reply() {
    let faults = fault(json!({"action": "DeleteMessageBatch", "latency_ms": 600_000}));
    let stack = Stack::with_faults(faults, |_, _| {}).await;
    let _worker = Worker::recognizing(&stack).await;
    for number in 0..40 {
        let answer = stack.post(&format!("{number}.jpg"), &photo(1)).await;
        answer.assert_recognized(&format!("{number}:somebody"));
    }
}

/// The SDK retries, and finds the key that its first attempt stored.
#[tokio::test]
async fn a_bad_photo_is_deleted_although_the_reply_to_its_put_was_lost() {
    let lost = json!({"action": "PutObject", "probability": 0.4, "when": "after", "reset": true});
    let stack = Stack::with_faults(fault(lost), |_, _| {}).await;
    let _worker = Worker::failing(&stack, FailureCode::NoFace, "no face found").await;
    let mut refused = Vec::new();
    for number in 0..12 {
        let name = format!("{number}.jpg");
        // 503 when all replies were lost: whether the photo is stored is unknown.
        if stack.post(&name, &photo(number)).await.status == 422 {
            refused.push(name);
        }
    }
    assert!(refused.len() >= 6, "{refused:?}");
    let left = stack.photos().await;
    assert!(refused.iter().all(|name| !left.contains(name)), "{left:?}");
}

/// One injected fault of calls.
fn fault(call: serde_json::Value) -> localcloud::Faults {
    serde_json::from_value(json!({ "call": [call] })).unwrap()
}

#[tokio::test]
async fn a_job_continues_when_its_client_disconnects() {
    let stack = Stack::start().await;
    {
        let content = photo(1);
        let upload = stack.post("a.jpg", &content);
        tokio::select! {
            _ = upload => panic!("no worker runs"),
            _ = stack.until_demand(|demand| demand.unanswered == 1) => {}
        }
    }
    let worker = Worker::recognizing(&stack).await;
    stack
        .until_demand(|demand| demand.unanswered == 0 && demand.accepted_total == 1)
        .await;
    assert_eq!(worker.jobs(), 1);
    let Deployment { aws, names } = &stack.deployment;
    let results = aws.objects(names.out_bucket());
    eventually("the result is kept", || async {
        let keys = results.keys().await.unwrap();
        keys.len() == 1 && keys[0].starts_with("results/")
    })
    .await;
    assert_eq!(stack.photos().await, ["a.jpg"]);
}

#[tokio::test]
async fn shutdown_waits_for_requests_in_flight() {
    let mut stack = Stack::start().await;
    let (first, second) = (photo(1), photo(2));
    let mut worker = None;
    {
        let meanwhile = async {
            stack.until_demand(|demand| demand.unanswered == 1).await;
            stack.stop_front.cancel();
            let answer = stack.post("b.jpg", &second).await;
            answer.assert_refused(503, "shutting down");
            worker = Some(Worker::recognizing(&stack).await);
        };
        let (answer, ()) = tokio::join!(stack.post("a.jpg", &first), meanwhile);
        answer.assert_recognized("a:somebody");
    }
    let ended = tokio::time::timeout(Duration::from_secs(10), &mut stack.front_ended).await;
    ended.expect("front ends").unwrap().unwrap();
    drop(worker);
}

#[tokio::test]
async fn shutdown_ends_with_a_request_in_flight() {
    let mut stack =
        Stack::configured(|front, _| front.drain_deadline = Duration::from_millis(100)).await;
    let mut recognizer = stack.recognizer();
    let request = proto::v1::RecognizeRequest {
        file_name: "a.jpg".to_owned(),
        image: photo(1).into(),
    };
    let unanswered = tokio::spawn(async move { recognizer.recognize(request).await });
    stack.until_demand(|demand| demand.unanswered == 1).await;
    stack.stop_front.cancel();
    // The drain deadline and three seconds more.
    let ended = tokio::time::timeout(Duration::from_millis(4500), &mut stack.front_ended).await;
    ended.expect("front ends").unwrap().unwrap();
    unanswered.abort();
}
