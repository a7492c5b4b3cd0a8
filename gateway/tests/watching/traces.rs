use std::collections::BTreeSet;
use std::time::Duration;

use proto::Names;
use proto::v1::RecognitionJob;
use testkit::eventually;

use crate::collector::{Collector, Span};
use crate::stack::{PREFIX, Stack, photo};

/// A file's name is personal data.
const PERSON: &str = "jane_doe";
const CLIENTS_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENTS_SPAN: &str = "b7ad6b7169203331";

/// The spans of one photo: service, name and kind, each under the span that caused it.
const TREE: [&str; 19] = [
    "muster-front: inspect photo (Internal) < muster-front: muster.v1.Recognizer/Recognize",
    "muster-front: muster.v1.Recognizer/Recognize (Server) < muster-gateway: muster.v1.Recognizer/Recognize",
    "muster-front: send job (Producer) < muster-front: muster.v1.Recognizer/Recognize",
    "muster-front: store photo (Internal) < muster-front: muster.v1.Recognizer/Recognize",
    "muster-front: wait for reply (Internal) < muster-front: muster.v1.Recognizer/Recognize",
    "muster-gateway: POST / (Server) < ",
    "muster-gateway: muster.v1.Recognizer/Recognize (Client) < muster-gateway: POST /",
    "muster-gateway: receive upload (Internal) < muster-gateway: POST /",
    "muster-worker: decode (Internal) < muster-worker: recognize",
    "muster-worker: delete message (Internal) < muster-worker: process job",
    "muster-worker: detect (Internal) < muster-worker: recognize",
    "muster-worker: embed (Internal) < muster-worker: recognize",
    "muster-worker: fetch photo (Internal) < muster-worker: process job",
    "muster-worker: match (Internal) < muster-worker: recognize",
    "muster-worker: process job (Consumer) < muster-front: send job",
    "muster-worker: receive job (Consumer) < muster-front: send job",
    "muster-worker: recognize (Internal) < muster-worker: process job",
    "muster-worker: send reply (Producer) < muster-worker: process job",
    "muster-worker: store result (Internal) < muster-worker: process job",
];

/// The last span of each service to end.
const LAST: [(&str, &str); 3] = [
    ("muster-gateway", "POST /"),
    ("muster-front", "muster.v1.Recognizer/Recognize"),
    ("muster-worker", "process job"),
];

/// Waits for the trace of a request, and returns it.
async fn trace_of(collector: &Collector, request_id: &str) -> Vec<Span> {
    let mut trace = Vec::new();
    eventually("the trace is there", async || {
        let spans = collector.spans();
        let id = |span: &Span| span.attributes.get("muster.request_id").cloned();
        let of_request = |it: &&Span| id(it).as_deref() == Some(request_id);
        let Some(named) = spans.iter().find(of_request) else {
            return false;
        };
        trace = spans.clone();
        trace.retain(|span| span.trace == named.trace);
        LAST.iter().all(|(service, name)| {
            let mut trace = trace.iter();
            trace.any(|span| (span.service.as_str(), span.name.as_str()) == (service, name))
        })
    })
    .await;
    trace
}

fn tree(trace: &[Span]) -> Vec<String> {
    let title = |span: &Span| format!("{}: {}", span.service, span.name);
    let line = |span: &Span| {
        let parent = trace.iter().find(|it| it.id == span.parent);
        let parent = parent.map(title).unwrap_or_default();
        format!("{} ({:?}) < {parent}", title(span), span.kind)
    };
    let mut lines: Vec<_> = trace.iter().map(line).collect();
    lines.sort();
    lines
}

fn find<'a>(trace: &'a [Span], service: &str, name: &str) -> &'a Span {
    let mut spans = trace.iter();
    spans
        .find(|span| span.service == service && span.name == name)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_photo_is_one_trace_in_all_services() {
    let (collector, endpoint) = Collector::start().await;
    let stack = Stack::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    let _worker = stack.worker("i-0001").await;
    let answer = stack.post(&format!("{PERSON}.jpg"), photo(), None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.starts_with(&format!("{PERSON}:")), "{answer:?}");
    let trace = trace_of(&collector, answer.request_id()).await;
    assert_eq!(tree(&trace), TREE);
    let traces: BTreeSet<_> = collector.spans().into_iter().map(|it| it.trace).collect();
    assert_eq!(
        traces.len(),
        1,
        "polls and streams are no traces: {traces:?}"
    );

    let server = find(&trace, "muster-gateway", "POST /");
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/"),
        ("url.scheme", "http"),
        ("http.response.status_code", "200"),
        ("muster.request_id", answer.request_id()),
    ] {
        assert_eq!(server.attributes[name], value, "{name}");
    }
    let call = find(&trace, "muster-front", "muster.v1.Recognizer/Recognize");
    assert_eq!(call.attributes["rpc.system"], "grpc");
    assert_eq!(call.attributes["rpc.grpc.status_code"], "0");
    let process = find(&trace, "muster-worker", "process job");
    for (name, value) in [
        ("messaging.system", "aws_sqs"),
        ("messaging.destination.name", "watched-req-queue"),
        ("host.id", "i-0001"),
        ("muster.request_id", answer.request_id()),
        ("muster.receive_count", "1"),
    ] {
        assert_eq!(process.attributes[name], value, "{name}");
    }
    for span in &trace {
        assert!(span.start <= span.end, "{span:?}");
        let told = format!("{span:?}");
        assert!(!told.contains(PERSON), "{told}");
        assert_eq!(span.events, 0, "log lines stay out: {told}");
    }
    callers_decide(&stack, &collector).await;
}

/// A caller's trace goes on if it is sampled, and is left out if it is not. An invalid one is ignored.
async fn callers_decide(stack: &Stack, collector: &Collector) {
    let parent = format!("00-{CLIENTS_TRACE}-{CLIENTS_SPAN}");
    let unsampled = parent.replace("0af7", "ffff");
    let sent = format!("{unsampled}-00");
    let answer = stack.post("b.jpg", photo(), Some(&sent)).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let sent = format!("{parent}-01");
    let answer = stack.post("c.jpg", photo(), Some(&sent)).await;
    let trace = trace_of(collector, answer.request_id()).await;
    assert_eq!(trace[0].trace, CLIENTS_TRACE);
    let server = find(&trace, "muster-gateway", "POST /");
    assert_eq!(server.parent, CLIENTS_SPAN);
    assert_eq!(trace.len(), TREE.len());

    let answer = stack.post("d.jpg", photo(), Some("00-0-0-01")).await;
    let trace = trace_of(collector, answer.request_id()).await;
    assert_eq!(tree(&trace), TREE);
    let spans = collector.spans();
    let of_unsampled = spans.iter().filter(|it| it.trace.starts_with("ffff"));
    assert_eq!(of_unsampled.count(), 0);
}

/// The job of a worker that dies in the middle of it is in the trace twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_job_has_two_workers_in_its_trace() {
    let (collector, endpoint) = Collector::start().await;
    let stack = Stack::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    let slow = r#"{"call": [{"service": "s3", "action": "GetObject", "latency_ms": 60000}]}"#;
    stack.cloud.inject(slow).await;
    let mut first = stack.worker("i-first").await;
    let (answer, _second) = tokio::join!(stack.post("a.jpg", photo(), None), async {
        eventually("the first worker has the job", async || {
            let spans = collector.spans();
            spans.iter().any(|span| span.name == "receive job")
        })
        .await;
        first.program.kill().await;
        stack.cloud.inject("{}").await;
        stack.worker("i-second").await
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    let trace = trace_of(&collector, answer.request_id()).await;
    let receives = trace.iter().filter(|span| span.name == "receive job");
    let hosts: Vec<_> = receives
        .map(|it| it.attributes["host.id"].clone())
        .collect();
    assert_eq!(hosts, ["i-first", "i-second"]);
    let process = find(&trace, "muster-worker", "process job");
    assert_eq!(process.attributes["host.id"], "i-second");
    assert_eq!(process.attributes["muster.receive_count"], "2");
}

/// With an endpoint, but turned off in OpenTelemetry's own way.
#[tokio::test(flavor = "multi_thread")]
async fn without_traces_nothing_is_sent_and_jobs_name_none() {
    let (collector, endpoint) = Collector::start().await;
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_SDK_DISABLED", "true"),
    ];
    let mut stack = Stack::start(&settings).await;
    let aws = stack.cloud.aws(PREFIX).await;
    let queue = Names::new(PREFIX).request_queue();
    let requests = aws.queue(&queue).await.unwrap();
    let sent = format!("00-{CLIENTS_TRACE}-{CLIENTS_SPAN}-01");
    let mut messages = Vec::new();
    let received = eventually("the job is in the queue", async || {
        messages = requests.receive(1, Duration::ZERO).await.unwrap();
        !messages.is_empty()
    });
    tokio::select! {
        answer = stack.post("a.jpg", photo(), Some(&sent)) => panic!("there is no worker: {answer:?}"),
        () = received => {}
    }
    let job: RecognitionJob = proto::decode(&messages[0].body).unwrap();
    assert_eq!(job.traceparent, "");
    assert!(stack.front.program.stop().await.success());
    assert!(stack.gateway.program.stop().await.success());
    assert_eq!(collector.spans().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_out_of_reach_is_logged_once_and_harms_nothing() {
    // The port is free again at once.
    let nowhere = testkit::listen().await.1;
    let mut stack = Stack::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &nowhere)]).await;
    let lines = |stack: &Stack| {
        let message = "traces cannot be sent; further failures are only counted";
        stack.gateway.lines(message).len()
    };
    for attempt in 0..5 {
        let answer = stack.post("a.jpg", b"no photo".to_vec(), None).await;
        assert_eq!(answer.status, 415, "{answer:?}");
        if attempt == 0 {
            eventually("the first failure is logged", async || lines(&stack) > 0).await;
        }
    }
    assert!(stack.gateway.program.stop().await.success());
    assert_eq!(lines(&stack), 1);
}
