//! The page, and the events that it shows.

use std::time::Duration;

use gateway::http;
use platform::access::{Keys, Role};
use serde_json::{Value, json};
use testkit::{TIMEOUT, eventually, http_client, listen, parse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use crate::photos::photo;
use crate::scaler::{SetScaler, decision};
use crate::stack::{Answer, Stack};
use crate::worker::Worker;

/// A gateway alone: its front is nowhere.
struct Gateway {
    url: String,
    client: reqwest::Client,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
    _stop: DropGuard,
}

impl Gateway {
    async fn start(scalers: &[&SetScaler]) -> Self {
        Self::configured(scalers, |_| {}).await
    }

    async fn configured(scalers: &[&SetScaler], change: impl FnOnce(&mut http::Config)) -> Self {
        let (listener, url) = listen().await;
        let stop = CancellationToken::new();
        let mut config = http::Config {
            front: "http://127.0.0.1:1".to_owned(),
            scaler: scalers.iter().map(|scaler| scaler.url.clone()).collect(),
            ..parse(&[])
        };
        change(&mut config);
        Self {
            url,
            client: http_client(),
            running: tokio::spawn(http::run(config, listener, stop.clone())),
            _stop: stop.clone().drop_guard(),
            stop,
        }
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    async fn viewer(&self) -> Viewer {
        Viewer::open(self.get("/v1/watch")).await
    }
}

/// An open page.
struct Viewer {
    response: reqwest::Response,
    received: String,
}

impl Viewer {
    async fn open(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            received: String::new(),
        }
    }

    /// The next event and its data; `None` at the end.
    async fn event(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.received.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    let found = lines.find_map(|line| line.strip_prefix(name)).unwrap();
                    found.trim().to_owned()
                };
                let data = serde_json::from_str(&field("data:")).unwrap();
                let named = (field("event:"), data);
                self.received = rest.to_owned();
                return Some(named);
            }
            let chunk = tokio::time::timeout(TIMEOUT, self.response.chunk()).await;
            let chunk = chunk.expect("an event comes").unwrap()?;
            self.received.push_str(str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event about the scaler: all but `traffic`.
    async fn news(&mut self) -> (String, Value) {
        loop {
            let event = self.event().await.expect("the stream lives");
            if event.0 != "traffic" {
                return event;
            }
        }
    }

    async fn until(&mut self, name: &str) -> Value {
        loop {
            let (found, data) = self.event().await.expect("the stream lives");
            if found == name {
                return data;
            }
        }
    }

    /// Reads the events with which a connection to the scaler begins.
    async fn connected(&mut self) -> [Value; 2] {
        let (name, scaler) = self.news().await;
        assert_eq!(name, "scaler");
        assert_eq!(scaler, json!({"connected": true, "message": null}));
        let (first, history) = self.news().await;
        let (second, status) = self.news().await;
        assert_eq!((first.as_str(), second.as_str()), ("history", "status"));
        [history, status]
    }

    async fn disconnected(&mut self) -> String {
        let scaler = self.until("scaler").await;
        assert_eq!(scaler["connected"], false);
        scaler["message"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn the_page_is_served_with_its_headers() {
    let gateway = Gateway::start(&[]).await;
    let page = Answer::of(gateway.get("/")).await;
    assert_eq!(page.status, 200);
    assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-cache");
    assert_eq!(page.header("permissions-policy"), "camera=(self)");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"));
    assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");

    let etag = page.header("etag");
    assert!(etag.starts_with("W/\""), "{etag}");
    let strong = etag.trim_start_matches("W/");
    for known in [etag, strong, "*", &format!("\"another\", {etag}")] {
        let same = Answer::of(gateway.get("/").header("if-none-match", known)).await;
        assert_eq!((same.status, same.body.as_str()), (304, ""), "{known}");
        assert_eq!(same.header("etag"), etag);
    }
    let other = gateway.get("/").header("if-none-match", "W/\"another\"");
    assert_eq!(Answer::of(other).await.status, 200);

    let head = Answer::of(gateway.client.head(format!("{}/", gateway.url))).await;
    assert_eq!((head.status, head.header("etag")), (200, etag));
    let file = Answer::of(gateway.get("/page/index.html")).await;
    assert_eq!((file.status, &file.body), (200, &page.body));
    for missing in ["/page/nothing.js", "/page/", "/page/../Cargo.toml", "/v1"] {
        assert_eq!(
            Answer::of(gateway.get(missing)).await.status,
            404,
            "{missing}"
        );
    }
    let packed = gateway.get("/").header("accept-encoding", "gzip");
    let packed = packed.send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
}

#[tokio::test]
async fn a_link_of_another_site_opens_the_page_and_its_calls_are_refused() {
    let scaler = SetScaler::start().await;
    let gateway = Gateway::start(&[&scaler]).await;
    let by = |request: reqwest::RequestBuilder, site: &str| {
        Answer::of(
            request
                .header("sec-fetch-site", site)
                .header("accept", "application/json"),
        )
    };
    let post = || {
        let form = testkit::upload("a.jpg", photo(1));
        gateway.client.post(&gateway.url).multipart(form)
    };
    for site in ["cross-site", "same-site"] {
        assert_eq!(by(gateway.get("/"), site).await.status, 200);
        for call in [post(), gateway.get("/v1/watch")] {
            let refused = by(call, site).await;
            let json: Value = serde_json::from_str(&refused.body).unwrap();
            assert_eq!(
                (refused.status, &json["error"]["code"]),
                (403, &"cross_site".into())
            );
        }
    }
    for site in ["same-origin", "none"] {
        assert_eq!(by(post(), site).await.status, 503, "front is nowhere");
        Viewer::open(gateway.get("/v1/watch").header("sec-fetch-site", site)).await;
    }
}

#[tokio::test]
async fn a_viewer_receives_the_history_then_each_decision() {
    let scaler = SetScaler::start().await;
    let gateway = Gateway::start(&[&scaler]).await;
    let mut viewer = gateway.viewer().await;
    let [history, status] = viewer.connected().await;
    let first = json!([{
        "at": "2027-01-15T08:00:01Z", "unanswered": 1, "queue": 0, "wanted": 0, "running": 0, "booting": 0,
        "policy": "step", "reason": "the first", "rejected": [], "changed": false,
    }]);
    assert_eq!(history, json!({ "points": first }));
    // As protobuf's JSON has it.
    assert_eq!(status["sequence"], "1");
    assert_eq!(status["plan"]["reason"], "the first");

    scaler.decide(decision(2, "the second\nin two lines"));
    let (name, status) = viewer.news().await;
    assert_eq!(name, "status");
    assert_eq!(status["plan"]["reason"], "the second\nin two lines");
    // One that changes something comes also if another one follows at once.
    let mut launch = decision(3, "the third");
    launch.plan.get_or_insert_default().launch = 1;
    scaler.decide(launch);
    scaler.decide(decision(4, "the fourth"));
    let history = viewer.until("history").await;
    assert_eq!(history["points"].as_array().unwrap().len(), 1);
    assert_eq!(history["points"][0]["reason"], "the third");
    assert_eq!(history["points"][0]["changed"], true);
    let traffic = viewer.until("traffic").await;
    assert_eq!(traffic["inFlight"], 0);
    assert_eq!(traffic["latencyMs"], json!(null));

    let mut later = gateway.viewer().await;
    let [history, status] = later.connected().await;
    assert_eq!(history["points"].as_array().unwrap().len(), 4);
    assert_eq!(status["sequence"], "4");
    drop((viewer, later));
    eventually("the scaler's streams end with their viewers", async || {
        scaler.watchers() == 0
    })
    .await;
}

#[tokio::test]
async fn a_viewer_outlives_a_restart_of_the_scaler() {
    let scaler = SetScaler::start().await;
    let gateway = Gateway::start(&[&scaler]).await;
    let mut viewer = gateway.viewer().await;
    viewer.connected().await;
    let address = scaler.address;
    scaler.stop().await;
    let message = viewer.disconnected().await;
    assert!(message.contains("the scaler"), "{message}");

    let restarted = SetScaler::start_at(address).await;
    restarted.decide(decision(2, "after the restart"));
    // Attempts in between may have failed for another reason.
    while viewer.until("scaler").await["connected"] == false {}
    let history = viewer.until("history").await;
    let points = history["points"].as_array().unwrap();
    assert_eq!(points.last().unwrap()["reason"], "after the restart");
    assert_eq!(viewer.until("status").await["sequence"], "2");
}

#[tokio::test]
async fn without_a_scaler_a_viewer_is_told_how_to_name_one() {
    let gateway = Gateway::start(&[]).await;
    let mut viewer = gateway.viewer().await;
    let message = viewer.disconnected().await;
    assert!(message.contains("--scaler URL"), "{message}");
    // The gateway is there all the same.
    viewer.until("traffic").await;
    viewer.until("traffic").await;
}

#[tokio::test]
async fn the_scaler_that_leads_is_found_among_several() {
    let standby = || proto::v1::ScalerStatus {
        standing_by: Some("10.0.0.9:8052 leads".to_owned()),
        ..decision(7, "standing by")
    };
    let (first, second) = (SetScaler::start().await, SetScaler::start().await);
    first.decide(standby());
    let gateway = Gateway::start(&[&first, &second]).await;
    let mut viewer = gateway.viewer().await;
    let [_, status] = viewer.connected().await;
    assert_eq!(status["sequence"], "1");
    // The second one hands over to the first one.
    second.decide(standby());
    let message = viewer.disconnected().await;
    assert!(message.contains("10.0.0.9:8052 leads"), "{message}");
    first.decide(decision(8, "leading now"));
    while viewer.until("scaler").await["connected"] == false {}
    assert_eq!(viewer.until("status").await["sequence"], "8");
}

#[tokio::test]
async fn a_viewer_needs_the_role_operate_and_its_key_reaches_the_scaler() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut keys = Keys::default();
    let shop = keys.add("shop", &[Role::Recognize], None).unwrap();
    let operator = keys.add("operator", &[Role::Operate], None).unwrap();
    keys.write(file.path()).unwrap();
    let scaler = SetScaler::start().await;
    let gateway = Gateway::configured(&[&scaler], |config| {
        config.access.api_keys = Some(file.path().to_owned());
    })
    .await;

    assert_eq!(Answer::of(gateway.get("/")).await.status, 200);
    let refused = Answer::of(gateway.get("/v1/watch")).await;
    let json: Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(
        (refused.status, &json["error"]["code"]),
        (401, &"no_key".into())
    );
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    let by_shop = gateway.get("/v1/watch").header("x-api-key", shop.expose());
    let refused = Answer::of(by_shop).await;
    let json: Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(
        (refused.status, &json["error"]["code"]),
        (403, &"key_lacks_role".into())
    );
    assert!(
        json["error"]["message"]
            .as_str()
            .unwrap()
            .contains("operate")
    );
    assert_eq!(scaler.callers(), []);

    let by_operator = || {
        gateway
            .get("/v1/watch")
            .header("x-api-key", operator.expose())
    };
    let mut viewer = Viewer::open(by_operator()).await;
    viewer.connected().await;
    let bearer = Some(format!("Bearer {}", operator.expose()));
    // Statuses, decisions that change something, and the history.
    assert_eq!(scaler.callers(), [bearer.clone(), bearer.clone(), bearer]);

    // A scaler with other keys.
    scaler.refuse(Some(Status::unauthenticated("the API key is not valid")));
    let mut viewer = Viewer::open(by_operator()).await;
    assert_eq!(viewer.disconnected().await, "the API key is not valid");
    scaler.refuse(None);
    viewer.connected().await;
}

/// The stream went on until the page was closed.
#[tokio::test]
async fn a_viewer_is_disconnected_when_its_key_is_removed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut keys = Keys::default();
    let removed = keys.add("removed", &[Role::Operate], None).unwrap();
    let kept = keys.add("kept", &[Role::Operate], None).unwrap();
    keys.write(file.path()).unwrap();
    let gateway = Gateway::configured(&[], |config| {
        config.access.api_keys = Some(file.path().to_owned());
    })
    .await;
    let watch = |key: &str| gateway.get("/v1/watch").header("x-api-key", key);
    let mut viewer = Viewer::open(watch(removed.expose())).await;
    let mut other = Viewer::open(watch(kept.expose())).await;
    keys.0.remove("removed");
    keys.write(file.path()).unwrap();
    let ended = async { while viewer.event().await.is_some() {} };
    let ended = tokio::time::timeout(TIMEOUT, ended).await;
    ended.expect("the stream ends");
    assert_eq!(Answer::status_of(watch(removed.expose())).await, 401);
    other.until("traffic").await;
    other.until("traffic").await;
}

#[tokio::test]
async fn more_viewers_than_the_limit_are_refused() {
    let gateway = Gateway::configured(&[], |config| config.max_viewers = 2).await;
    let first = gateway.viewer().await;
    let _second = gateway.viewer().await;
    let refused = Answer::of(gateway.get("/v1/watch")).await;
    let json: Value = serde_json::from_str(&refused.body).unwrap();
    assert_eq!(
        (refused.status, &json["error"]["code"]),
        (429, &"overloaded".into())
    );
    assert_ne!(refused.header("retry-after"), "");
    drop(first);
    eventually("a viewer that left makes room", async || {
        Answer::status_of(gateway.get("/v1/watch")).await == 200
    })
    .await;
}

#[tokio::test]
async fn the_shutdown_does_not_wait_for_viewers() {
    let scaler = SetScaler::start().await;
    let gateway = Gateway::configured(&[&scaler], |config| {
        config.drain_deadline = Duration::from_secs(3600);
    })
    .await;
    let mut viewers = [gateway.viewer().await, gateway.viewer().await];
    viewers[0].connected().await;
    gateway.stop.cancel();
    let ended = tokio::time::timeout(TIMEOUT, gateway.running).await;
    ended.expect("it ends").unwrap().unwrap();
    for viewer in &mut viewers {
        while viewer.event().await.is_some() {}
    }
}

#[tokio::test]
async fn a_viewer_that_does_not_read_misses_statuses_and_delays_nobody() {
    let scaler = SetScaler::start().await;
    let gateway = Gateway::start(&[&scaler]).await;
    let address = gateway.url.trim_start_matches("http://");
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /v1/watch HTTP/1.1\r\nhost: here\r\n\r\n")
        .await
        .unwrap();
    eventually("it watches", async || scaler.watchers() > 0).await;
    let mut viewer = gateway.viewer().await;
    viewer.connected().await;
    let (bytes, count) = (200_000, 400);
    let long = "x".repeat(bytes);
    for sequence in 2..=count {
        scaler.decide(decision(sequence, &long));
        // Each one reaches the viewer that reads.
        let status = viewer.until("status").await;
        assert_eq!(status["sequence"], sequence.to_string());
    }
    let newest = format!("\"sequence\":\"{count}\"");
    let (mut received, mut tail) = (0, String::new());
    let mut buffer = vec![0; 1 << 16];
    while !tail.contains(&newest) {
        let read = tokio::time::timeout(TIMEOUT, slow.read(&mut buffer)).await;
        let read = read.expect("the newest status comes").unwrap();
        assert!(read > 0, "it ended");
        received += read;
        // The sequence may be cut in two.
        let kept = tail.split_off(tail.len().saturating_sub(newest.len()));
        tail = kept + &String::from_utf8_lossy(&buffer[..read]);
    }
    // What the sockets held, and the newest one.
    assert!(received < bytes * count as usize / 2, "{received} bytes");
}

#[tokio::test]
async fn traffic_counts_what_was_answered_and_what_failed() {
    let stack = Stack::start().await;
    let _worker = Worker::recognizing(&stack).await;
    let mut viewer = Viewer::open(stack.client.get(format!("{}/v1/watch", stack.url))).await;
    stack
        .post("a.jpg", &photo(1))
        .await
        .assert_recognized("a:somebody");
    assert_eq!(stack.post("b.jpg", b"text").await.status, 415);
    let traffic = loop {
        let traffic = viewer.until("traffic").await;
        if traffic["answered"] == 1 && traffic["failed"] == 1 {
            break traffic;
        }
    };
    assert_eq!(traffic["inFlight"], 0);
    assert!(traffic["perSecond"].as_f64().unwrap() > 0.0);
    let latency = &traffic["latencyMs"];
    assert!(latency["p50"].as_f64().unwrap() > 0.0);
    assert_eq!(latency["p50"], latency["p99"]);
    assert!(traffic["at"].as_str().unwrap().ends_with('Z'));
}
