//! Notices that EC2 is about to end the worker's instance, with the test as metadata service and as scaler.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use proto::v1::worker_order::Order;
use proto::v1::{Cordon, InterruptionAction, Uncordon, WorkerReport, WorkerState};
use testkit::listen;
use tokio_stream::StreamExt;

use crate::attend::{Session, scaler};
use crate::support::{Bench, eventually, job, photo, slow_photo};

const SPOT_INSTANCE_ACTION: &str = "/latest/meta-data/spot/instance-action";
const SCHEDULED_EVENTS: &str = "/latest/meta-data/events/maintenance/scheduled";
const TOKEN: &str = "a-session-token";
const STOP_NOTICE: &str = r#"{"action": "stop", "time": "2030-09-18T08:22:00Z"}"#;
const STOP_AT: i64 = 1_915_950_120;

/// An instance metadata service of version 2 with a table of documents by path.
#[derive(Debug, Clone, Default)]
struct MetadataService {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    documents: HashMap<&'static str, String>,
    /// Requests by path.
    asked: HashMap<String, u32>,
}

impl MetadataService {
    /// The service, and its endpoint.
    async fn start() -> (Self, String) {
        let service = Self::default();
        let (listener, url) = listen().await;
        let router = Router::new().fallback(serve).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (service, url)
    }

    fn says(&self, path: &'static str, document: &str) {
        self.table().documents.insert(path, document.to_owned());
    }

    fn withdraws(&self, path: &str) {
        self.table().documents.remove(path);
    }

    /// Waits until the worker has requested `path` once more.
    async fn asked_again(&self, path: &str) {
        let asked = || self.table().asked.get(path).copied();
        let before = asked();
        eventually("the worker requests notices", async || asked() > before).await;
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap()
    }
}

async fn serve(State(service): State<MetadataService>, request: Request) -> Response {
    let (path, headers) = (request.uri().path(), request.headers());
    if request.method() == Method::PUT && path == "/latest/api/token" {
        let ttl = "x-aws-ec2-metadata-token-ttl-seconds";
        let asked: HeaderMap = headers
            .get(ttl)
            .map(|value| (name(ttl), value.clone()))
            .into_iter()
            .collect();
        return (asked, TOKEN).into_response();
    }
    if headers
        .get("x-aws-ec2-metadata-token")
        .is_none_or(|token| token != TOKEN)
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut table = service.table();
    *table.asked.entry(path.to_owned()).or_default() += 1;
    let found = table.documents.get(path).cloned();
    found.map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        IntoResponse::into_response,
    )
}

fn name(header: &'static str) -> axum::http::HeaderName {
    axum::http::HeaderName::from_static(header)
}

/// Reads reports until one `fits`.
async fn report(session: &mut Session, fits: impl Fn(&WorkerReport) -> bool) -> WorkerReport {
    let reading = async {
        loop {
            let report = session.reports.next().await.unwrap().unwrap();
            if fits(&report) {
                return report;
            }
        }
    };
    let deadline = Duration::from_secs(60);
    tokio::time::timeout(deadline, reading).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_that_ec2_is_about_to_stop_finishes_its_job_and_takes_no_other() {
    let bench = Bench::start().await;
    let (metadata, endpoint) = MetadataService::start().await;
    let mut control = scaler().await;
    let arguments = [
        "--scaler",
        &control.url,
        "--metadata-endpoint",
        &endpoint,
        "--inference-threads",
        "1",
    ];
    let worker = bench.worker(&arguments);
    let mut session = control.sessions.recv().await.unwrap();
    session.until(WorkerState::Idle, 0).await;
    // So many that the notice comes before they are done.
    const JOBS: u64 = 200;
    bench.submit("slow.png", &slow_photo()).await;
    for _ in 1..JOBS {
        bench.send(job("slow.png")).await;
    }
    session.until(WorkerState::Busy, 0).await;
    metadata.says(SPOT_INSTANCE_ACTION, STOP_NOTICE);
    let noticed = report(&mut session, |it| it.interruption.is_some()).await;
    assert_ne!(noticed.state(), WorkerState::Cordoned);
    let notice = noticed.interruption.unwrap();
    assert_eq!(notice.action(), InterruptionAction::Stop);
    assert_eq!(notice.at.unwrap().seconds, STOP_AT);

    let drained = report(&mut session, |it| it.state() == WorkerState::Cordoned).await;
    assert_eq!(drained.interruption, Some(notice));
    let counters = bench.requests.counters().await.unwrap();
    assert_eq!(counters.in_flight, 0);
    let replied = bench.replies.counters().await.unwrap().visible;
    assert_eq!(
        (replied, replied + counters.visible),
        (drained.completed, JOBS)
    );
    assert!(
        counters.visible > 0,
        "all {replied} jobs were done before the notice"
    );

    // The worker acknowledges that the cordon is lifted, and does not obey.
    session.order(1, Order::Cordon(Cordon {})).await;
    session.until(WorkerState::Cordoned, 1).await;
    session.order(2, Order::Uncordon(Uncordon {})).await;
    session.until(WorkerState::Cordoned, 2).await;
    for _ in 0..2 {
        assert_eq!(session.until(WorkerState::Cordoned, 2).await, []);
    }
    assert_eq!(
        bench.requests.counters().await.unwrap().visible,
        counters.visible
    );

    // Once the notice is withdrawn, as after a hibernation, the last order stands.
    metadata.withdraws(SPOT_INSTANCE_ACTION);
    let called_back = report(&mut session, |it| it.state() != WorkerState::Cordoned).await;
    assert_eq!(called_back.interruption, None);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_scaler_drains_before_a_scheduled_stop() {
    let bench = Bench::start().await;
    let (metadata, endpoint) = MetadataService::start().await;
    metadata.says(
        SCHEDULED_EVENTS,
        &stop_event(SystemTime::now() + Duration::from_secs(3600)),
    );
    let worker = bench.worker(&["--metadata-endpoint", &endpoint]);
    // An event in an hour does not stop the worker yet.
    bench.submit("before.jpg", &photo("madonna")).await;
    bench.reply().await;

    metadata.says(
        SCHEDULED_EVENTS,
        &stop_event(SystemTime::now() + Duration::from_secs(60)),
    );
    // By the second request, the worker has acted on the first.
    metadata.asked_again(SCHEDULED_EVENTS).await;
    metadata.asked_again(SCHEDULED_EVENTS).await;
    bench.submit("after.jpg", &photo("madonna")).await;
    metadata.asked_again(SCHEDULED_EVENTS).await;
    let counters = bench.requests.counters().await.unwrap();
    assert_eq!((counters.visible, counters.in_flight), (1, 0));
    worker.stop().await;
}

/// As outside EC2.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_metadata_service_works() {
    let bench = Bench::start().await;
    // The port is free again at once.
    let endpoint = listen().await.1;
    let worker = bench.worker(&["--metadata-endpoint", &endpoint]);
    bench.submit("works.jpg", &photo("madonna")).await;
    bench.reply().await;
    worker.stop().await;
}

/// EC2's list of one event, in its own time format.
fn stop_event(at: SystemTime) -> String {
    let format = time::macros::format_description!(
        "[day padding:none] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let at = time::OffsetDateTime::from(at).format(format).unwrap();
    format!(
        r#"[{{"Code": "instance-stop", "State": "active", "NotBefore": "{at}", "EventId": "instance-event-1"}}]"#
    )
}
