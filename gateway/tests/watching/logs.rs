use std::collections::BTreeSet;

use serde_json::Value;
use testkit::eventually;

use crate::collector::Collector;
use crate::stack::{Service, Stack, photo};

/// Waits until a service has logged a line with this message for the request, and returns it.
async fn line_of(service: &Service, message: &str, request_id: &str) -> Value {
    let mut found = None;
    eventually(message, async || {
        let lines = service.lines(message);
        found = lines.into_iter().find(|it| it["request_id"] == request_id);
        found.is_some()
    })
    .await;
    found.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_services_name_the_request_in_their_lines() {
    let (_collector, endpoint) = Collector::start().await;
    let stack = Stack::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    let worker = stack.worker("i-0001").await;
    let good = stack.post("a.jpg", photo(), None).await;
    let sky = include_bytes!("../../../loadgen/tests/end_to_end/sky.png");
    let no_face = stack.post("sky.png", sky.to_vec(), None).await;
    let no_photo = stack.post("text.jpg", b"hello".to_vec(), None).await;
    assert_eq!(
        [good.status, no_face.status, no_photo.status],
        [200, 422, 415]
    );

    for (answer, of_gateway, of_worker) in [
        (&good, "answered", "recognized"),
        (&no_face, "refused or failed", "replied with an error"),
    ] {
        let lines = [
            line_of(&stack.gateway, of_gateway, answer.request_id()).await,
            line_of(&stack.front, "answered", answer.request_id()).await,
            line_of(&worker, of_worker, answer.request_id()).await,
        ];
        let traces: BTreeSet<_> = lines.iter().map(|it| it["trace_id"].as_str()).collect();
        assert_eq!(traces.len(), 1, "{lines:?}");
        assert_eq!(traces.first().unwrap().unwrap().len(), 32, "{lines:?}");
    }
    let refused = line_of(&stack.gateway, "refused or failed", no_photo.request_id()).await;
    assert_eq!(refused["fields"]["code"], "not_an_image");
}
