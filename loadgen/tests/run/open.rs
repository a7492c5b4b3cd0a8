//! The open loop.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Multipart;
use axum::routing::post;
use clap::Parser;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use loadgen::arrivals::{Load, Process};
use loadgen::cli::Cli;
use loadgen::client::Client;
use loadgen::drive::Request;
use loadgen::run::open::OpenLoop;
use loadgen::run::recorder::Recorder;
use loadgen::run::summary::{LoadReport, LoopKind};
use loadgen::target::TargetArgs;
use platform::access::presented_key;
use platform::grpc::ServerOptions;
use platform::shutdown::CancellationToken;
use platform::tls::{ClientCaArgs, Protocol};
use proto::v1::recognizer_server::{Recognizer, RecognizerServer};
use proto::v1::{GetResultRequest, Recognition, RecognizeRequest, RecognizeResponse};
use serde_json::Value;
use testkit::{Authority, eventually, listen, parse};
use tokio::sync::watch;
use tonic::{Response, Status};

/// A service that answers each photo with its content as the name, while its gate is open.
pub struct Service {
    pub url: String,
    pub gate: watch::Sender<bool>,
    /// Requests that have arrived.
    pub arrived: watch::Receiver<usize>,
}

pub async fn service(is_open: bool) -> Service {
    let (listener, url) = listen().await;
    let (gate, gated) = watch::channel(is_open);
    let (count, arrived) = watch::channel(0);
    let respond = async move |mut form: Multipart| {
        let part = form.next_field().await.unwrap().unwrap();
        let stem = part
            .file_name()
            .unwrap()
            .trim_end_matches(".jpg")
            .to_owned();
        let name = part.text().await.unwrap();
        count.send_modify(|it| *it += 1);
        gated.clone().wait_for(|open| *open).await.unwrap();
        format!("{stem}:{name}\n")
    };
    let router = Router::new().route("/", post(respond));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Service { url, gate, arrived }
}

fn request(content: &str) -> Request {
    Request {
        file_name: "a.jpg".to_owned(),
        image: content.to_owned().into(),
        name: "Ben".to_owned(),
        ..Request::default()
    }
}

fn open_loop(url: &str, max_in_flight: usize) -> (OpenLoop, Arc<Mutex<Recorder>>) {
    let target: TargetArgs = parse(&["--url", url, "--timeout", "60s"]);
    let recorder = Arc::new(Mutex::new(Recorder::new(Duration::ZERO, None)));
    let open_loop = OpenLoop {
        client: Client::new(&target).unwrap(),
        requests: vec![request("Ben")],
        max_in_flight,
        recorder: Arc::clone(&recorder),
        stop: CancellationToken::new(),
    };
    (open_loop, recorder)
}

fn report(recorder: &Mutex<Recorder>) -> LoadReport {
    let recorder = recorder.lock().unwrap();
    LoadReport::new("t".into(), LoopKind::Open, "l".into(), &recorder)
}

#[tokio::test]
async fn a_service_that_stalls_is_still_asked_and_its_pause_is_in_the_latencies() {
    const COUNT: usize = 30;
    let mut service = service(false).await;
    let load = Load {
        rate: 100.0,
        ramp: Duration::ZERO,
        process: Process::Constant,
        seed: 1,
    };
    let (open_loop, recorder) = open_loop(&service.url, 1000);
    let gate = async {
        // No request has ended: a closed loop would have stopped asking.
        service
            .arrived
            .wait_for(|count| *count == COUNT)
            .await
            .unwrap();
        service.gate.send_replace(true);
    };
    let start = Instant::now();
    tokio::join!(open_loop.run(load.arrivals().take(COUNT), start), gate);
    let report = report(&recorder);
    assert!(report.is_success(), "{report}");
    // The first was due 290 ms before the last, and they were answered together.
    let latency = report.latency_ms.unwrap();
    assert!(latency.max >= 289.0, "{report}");
    assert!(latency.mean >= 140.0, "{report}");
}

#[tokio::test]
async fn latency_counts_from_when_a_request_was_due_also_if_the_generator_is_late() {
    let service = service(true).await;
    let (open_loop, recorder) = open_loop(&service.url, 1000);
    let start = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
    open_loop
        .run([Duration::from_secs(1)].into_iter(), start)
        .await;
    let report = report(&recorder);
    let (latency, lag) = (report.latency_ms.unwrap(), report.generator_lag_ms.unwrap());
    assert!(lag.max >= 1_990.0, "{report}");
    assert!(latency.max >= lag.max, "{report}");
}

#[tokio::test]
async fn what_exceeds_the_bound_is_shed_counted_and_fails_the_run() {
    let service = service(false).await;
    let (open_loop, recorder) = open_loop(&service.url, 3);
    let gate = async {
        eventually("all are due", async || {
            recorder.lock().unwrap().counts.due == 10
        })
        .await;
        service.gate.send_replace(true);
    };
    let at_once = std::iter::repeat_n(Duration::ZERO, 10);
    tokio::join!(open_loop.run(at_once, Instant::now()), gate);
    assert_eq!(*service.arrived.borrow(), 3);
    let report = report(&recorder);
    assert_eq!((report.requests.due, report.requests.shed), (10, 7));
    assert_eq!((report.requests.answered, report.requests.failed), (3, 0));
    assert!(!report.is_success(), "{report}");
}

/// Photos with a name and a variant each.
pub fn photos(folder: &Path, photos: &[(&str, &str, &str)]) {
    let mut csv = "Image,Results,Variant\n".to_owned();
    for (file, content, variant) in photos {
        std::fs::write(folder.join(format!("{file}.jpg")), content).unwrap();
        csv += &format!("{file},Ben,{variant}\n");
    }
    std::fs::write(folder.join("truth.csv"), csv).unwrap();
}

/// Runs the command and returns whether all was right, and the figures.
pub async fn run(folder: &Path, url: &str, arguments: &str) -> (bool, Value) {
    let (json, html) = (folder.join("out.json"), folder.join("out.html"));
    let files = [
        ("--image-folder", folder),
        ("--prediction-file", &folder.join("truth.csv")),
        ("--json", &json),
        ("--html", &html),
    ];
    let mut all = vec!["loadgen".into(), "run".into(), "--quiet".into()];
    all.extend(["--url".into(), url.into()]);
    all.extend(arguments.split_whitespace().map(Into::into));
    for (option, file) in files {
        all.extend([option.into(), file.as_os_str().to_owned()]);
    }
    let is_right = loadgen::execute(Cli::parse_from(all)).await.unwrap();
    let html = std::fs::read_to_string(html).unwrap();
    assert!(html.contains("<svg") && html.ends_with("</html>\n"));
    let json = std::fs::read_to_string(json).unwrap();
    (is_right, serde_json::from_str(&json).unwrap())
}

#[tokio::test]
async fn the_command_leaves_the_warm_up_out_and_writes_its_figures() {
    let service = service(true).await;
    let folder = tempfile::tempdir().unwrap();
    photos(folder.path(), &[("a", "Ben", ""), ("b", "Ben", "")]);
    let load = "--rate 100 --num-request 50 --warm-up 200ms";
    let (is_right, figures) = run(folder.path(), &service.url, load).await;
    assert!(is_right, "{figures:#}");
    assert_eq!(*service.arrived.borrow(), 50);
    assert_eq!(figures["loop"], "open");
    assert_eq!(figures["warm_up"]["answered"], 20);
    let requests = &figures["requests"];
    assert_eq!(
        (&requests["due"], &requests["shed"]),
        (&30.into(), &0.into())
    );
    assert_eq!(requests["answered"], 30);
    assert_eq!(figures["latency_ms"]["samples"], 30);
    assert!(figures["latency_ms"]["p50"].is_number());
    assert!(figures["latency_ms"]["p99"].is_null(), "of 30 samples");
    assert!(figures["generator_lag_ms"]["max"].is_number());
    let rate = figures["due_per_s"].as_f64().unwrap();
    assert!((99.0..101.0).contains(&rate), "{rate}");
    let due: u64 = figures["intervals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["due"].as_u64().unwrap())
        .sum();
    assert_eq!(due, 50, "the warm-up is in the course over time");
}

#[tokio::test]
async fn a_trace_says_when_requests_are_sent() {
    let service = service(true).await;
    let folder = tempfile::tempdir().unwrap();
    photos(folder.path(), &[("a", "Ben", "")]);
    let trace = folder.path().join("trace.csv");
    std::fs::write(&trace, "seconds\n10.3\n10\n10.1\n").unwrap();
    let load = format!("--trace {}", trace.display());
    let (is_right, figures) = run(folder.path(), &service.url, &load).await;
    assert!(is_right, "{figures:#}");
    assert_eq!(figures["requests"]["due"], 3);
    // Two distances within 0.3 s.
    assert_eq!(figures["due_per_s"], 6.667);
}

#[tokio::test]
async fn accuracy_is_told_by_variant_in_both_loops() {
    let service = service(true).await;
    let folder = tempfile::tempdir().unwrap();
    let dark = [
        ("d1", "Ben", "dark"),
        ("d2", "Unknown", "dark"),
        ("d3", "Elton", "dark"),
        ("d4", "Ben", "dark"),
    ];
    photos(
        folder.path(),
        &[&dark[..], &[("s1", "Ben", "size-64")]].concat(),
    );
    for load in ["--num-request 10", "--rate 200 --num-request 10"] {
        let (is_right, figures) = run(folder.path(), &service.url, load).await;
        assert!(!is_right);
        let expected = serde_json::json!([
            {"variant": "dark", "sent": 8, "right": 4, "wrong": 2, "unknown": 2, "refused": 0, "failed": 0, "accuracy": 0.5},
            {"variant": "size-64", "sent": 2, "right": 2, "wrong": 0, "unknown": 0, "refused": 0, "failed": 0, "accuracy": 1.0},
        ]);
        assert_eq!(figures["by_variant"], expected);
    }
}

/// Front's service, with a key.
struct Front;

#[tonic::async_trait]
impl Recognizer for Front {
    async fn recognize(
        &self,
        request: tonic::Request<RecognizeRequest>,
    ) -> Result<Response<RecognizeResponse>, Status> {
        let key = presented_key(request.metadata().as_ref()).map(str::to_owned);
        let request = request.into_inner();
        match (key.as_deref(), &request.image[..]) {
            (Some("0123456789abcdef"), b"no face") => Err(Status::invalid_argument("no face")),
            (Some("0123456789abcdef"), name) => Ok(Response::new(RecognizeResponse {
                stem: request.file_name.trim_end_matches(".jpg").to_owned(),
                recognition: Some(Recognition {
                    name: String::from_utf8_lossy(name).into_owned(),
                    ..Recognition::default()
                }),
                ..RecognizeResponse::default()
            })),
            _ => Err(Status::unauthenticated("no key")),
        }
    }

    async fn get_result(
        &self,
        _: tonic::Request<GetResultRequest>,
    ) -> Result<Response<RecognizeResponse>, Status> {
        Err(Status::not_found("no result is kept"))
    }
}

#[tokio::test]
async fn https_and_grpcs_are_spoken_with_an_authority_of_ones_own() {
    let authority = Authority::generate();
    let acceptor = |protocol| {
        let server = authority.server();
        server.acceptor(&ClientCaArgs::default(), protocol).unwrap()
    };
    let (listener, https) = listen().await;
    let accepting = acceptor(Protocol::Http1).unwrap();
    let router = Router::new().route("/", post(async |_: axum::body::Bytes| "a:Ben\n"));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = accepting.accept(stream).await else {
                continue;
            };
            let service = TowerToHyperService::new(router.clone());
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    let (listener, grpcs) = listen().await;
    let options = ServerOptions {
        tls: acceptor(Protocol::Http2),
        ..ServerOptions::unrestricted()
    };
    let (_ready, readiness) = watch::channel(true);
    tokio::spawn(platform::grpc::serve(
        listener,
        options,
        readiness,
        CancellationToken::new(),
        &[],
        |routes| {
            routes.add_service(RecognizerServer::new(Front));
        },
    ));
    let folder = tempfile::tempdir().unwrap();
    photos(folder.path(), &[("a", "Ben", "")]);
    let key = folder.path().join("key");
    std::fs::write(&key, "0123456789abcdef\n").unwrap();
    let load = format!(
        "--rate 100 --num-request 5 --api-key-file {}",
        key.display()
    );
    let trusting = format!("{load} --peer-ca {}", authority.ca().display());
    let https = https.replace("http", "https");
    let (is_right, figures) = run(folder.path(), &https, &trusting).await;
    assert!(is_right, "{figures:#}");
    let grpcs = grpcs.replace("http", "grpcs");
    let (is_right, figures) = run(folder.path(), &grpcs, &trusting).await;
    assert!(is_right, "{figures:#}");
    let other = Authority::generate();
    let distrusting = format!("{load} --peer-ca {}", other.ca().display());
    let (is_right, figures) = run(folder.path(), &https, &distrusting).await;
    assert!(!is_right);
    assert_eq!(figures["failures"]["no connection"], 5, "{figures:#}");
}

#[tokio::test]
async fn front_is_called_by_grpc_with_a_key() {
    let (listener, url) = listen().await;
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(RecognizerServer::new(Front));
    tokio::spawn(server.serve_with_incoming(incoming));
    let folder = tempfile::tempdir().unwrap();
    photos(folder.path(), &[("a", "Ben", "x"), ("b", "no face", "y")]);
    let key = folder.path().join("key");
    std::fs::write(&key, "0123456789abcdef\n").unwrap();
    let url = url.replace("http", "grpc");
    let load = format!(
        "--rate 100 --num-request 10 --api-key-file {}",
        key.display()
    );
    let (is_right, figures) = run(folder.path(), &url, &load).await;
    assert!(!is_right);
    assert_eq!(figures["names"]["right"], 5, "{figures:#}");
    assert_eq!(figures["names"]["refused"], 5, "{figures:#}");
    assert_eq!(figures["failures"]["gRPC InvalidArgument: no face"], 5);
    // A closed loop calls it too, and without a key it fails.
    let (is_right, figures) = run(folder.path(), &url, "--num-request 2").await;
    assert!(!is_right);
    assert_eq!(figures["failures"]["gRPC Unauthenticated: no key"], 2);
}
