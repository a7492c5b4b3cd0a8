//! `loadgen run` with a simulated service, and `loadgen clips`.

#![allow(clippy::unwrap_used)]

mod clips;
mod command;
mod fleet;
mod open;
mod scaler;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Multipart, State};
use axum::http::StatusCode;
use axum::routing::post;
use loadgen::client::Client;
use loadgen::drive::{Driver, Request};
use loadgen::report::Summary;
use loadgen::target::TargetArgs;
use platform::access::KeyArgs;
use platform::tls::PeerTlsArgs;
use testkit::listen;
use tokio::io::AsyncReadExt;
use tokio::sync::Barrier;
use tokio::time::Instant;

/// Requests in flight at the server.
#[derive(Debug, Clone)]
struct InFlight {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    /// A response leaves when so many requests are there.
    together: Arc<Barrier>,
}

/// The photo's content determines the response.
async fn respond(State(in_flight): State<InFlight>, mut form: Multipart) -> (StatusCode, String) {
    in_flight.most.fetch_max(
        in_flight.now.fetch_add(1, Ordering::SeqCst) + 1,
        Ordering::SeqCst,
    );
    let part = form.next_field().await.expect("a form").expect("a part");
    assert_eq!(part.name(), Some("inputFile"));
    let file_name = part.file_name().expect("a file name").to_owned();
    let content = part.text().await.expect("a photo");
    let stem = file_name.trim_end_matches(".jpg");
    let answer = match content.as_str() {
        "unready" => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
        "slow" => std::future::pending().await,
        "swapped" => (StatusCode::OK, "other:Ben\n".to_owned()),
        "gibberish" => (StatusCode::OK, "<html>".to_owned()),
        name => (StatusCode::OK, format!("{stem}:{name}\n")),
    };
    in_flight.together.wait().await;
    in_flight.now.fetch_sub(1, Ordering::SeqCst);
    answer
}

async fn serve(together: usize) -> (String, InFlight) {
    let (listener, url) = listen().await;
    let in_flight = InFlight {
        now: Arc::default(),
        most: Arc::default(),
        together: Arc::new(Barrier::new(together)),
    };
    let router = Router::new()
        .route("/", post(respond))
        .with_state(in_flight.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("{url}/"), in_flight)
}

fn driver(url: &str, concurrency: usize, retries: u32) -> Driver {
    let target = TargetArgs {
        url: url.parse().expect("a URL"),
        concurrency,
        timeout: Duration::from_secs(1),
        retries,
        key: KeyArgs::default(),
        tls: PeerTlsArgs::default(),
    };
    let client = Client::new(&target).expect("a client");
    Driver {
        client,
        concurrency,
        retries,
        check_file: true,
    }
}

fn request(index: usize, content: &str) -> Request {
    let image = content.to_owned().into();
    Request {
        file_name: format!("test_{index:02} é.jpg"),
        image,
        name: "Ben".to_owned(),
        ..Request::default()
    }
}

#[tokio::test]
async fn a_perfect_run_keeps_to_its_concurrency() {
    let (url, in_flight) = serve(8).await;
    let requests: Vec<_> = (0..40).map(|index| request(index, "Ben")).collect();
    let mut ended = 0;
    let records = driver(&url, 8, 0)
        .run(&requests, Instant::now(), |_| ended += 1)
        .await;
    let summary = Summary::of(&records);
    assert!(summary.is_perfect(), "{summary}");
    assert_eq!((ended, summary.correct, summary.retries), (40, 40, 0));
    assert_eq!(in_flight.most.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn every_kind_of_response_is_counted() {
    let (url, _) = serve(1).await;
    let contents = [
        "Ben",
        "Elton",
        "swapped",
        "gibberish",
        "unready",
        "unready",
        "slow",
    ];
    let requests: Vec<_> = contents
        .iter()
        .enumerate()
        .map(|(index, content)| request(index, content))
        .collect();
    let records = driver(&url, 3, 2)
        .run(&requests, Instant::now(), |_| ())
        .await;
    let summary = Summary::of(&records);
    assert_eq!(
        (summary.correct, summary.wrong, summary.failed),
        (1, 3, 3),
        "{summary}"
    );
    let failures: Vec<_> = summary
        .failures
        .iter()
        .map(|(reason, count)| (reason.as_str(), *count))
        .collect();
    assert_eq!(
        failures,
        [("HTTP 503: not ready", 2), ("no answer in time", 1)]
    );
    assert_eq!(summary.mistakes["test_01 é.jpg"], "expected Ben, got Elton");
    assert_eq!(summary.retries, 0, "only failed connections are retried");
    assert!(!summary.is_perfect());
}

#[tokio::test]
async fn a_refused_connection_is_retried_a_limited_number_of_times() {
    // The port is free again at once.
    let url = listen().await.1 + "/";
    let driver = driver(&url, 2, 2);
    let records = driver
        .run(
            &[request(0, "Ben"), request(1, "Ben")],
            Instant::now(),
            |_| (),
        )
        .await;
    let summary = Summary::of(&records);
    assert_eq!((summary.failed, summary.retries), (2, 4), "{summary}");
    assert_eq!(summary.failures["no connection"], 2);
    let error = driver
        .client
        .check_reachable()
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&url) && error.contains("give its address with --url"),
        "{error}"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_is_retried() {
    let (url, _) = serve(1).await;
    let (front, broken_url) = listen().await;
    let behind = url
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    // The first connection is cut within the request, the second is forwarded.
    tokio::spawn(async move {
        let (mut first, _) = front.accept().await.expect("a connection");
        first
            .read_exact(&mut [0; 10])
            .await
            .expect("the head of a request");
        drop(first);
        let (mut second, _) = front.accept().await.expect("another connection");
        let mut server = tokio::net::TcpStream::connect(behind)
            .await
            .expect("the server listens");
        tokio::io::copy_bidirectional(&mut second, &mut server).await
    });
    let records = driver(&broken_url, 1, 3)
        .run(&[request(0, "Ben")], Instant::now(), |_| ())
        .await;
    let summary = Summary::of(&records);
    assert!(summary.is_perfect(), "{summary}");
    assert_eq!(summary.retries, 1);
}

#[tokio::test]
async fn the_command_reads_its_files_and_judges_the_names() {
    let (url, _) = serve(1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let csv = folder.path().join("truth.csv");
    let run = async |names: &str| {
        std::fs::write(&csv, format!("Image,Results\n{names}")).expect("a file");
        execute(&url, folder.path(), &csv).await
    };
    std::fs::write(folder.path().join("a.jpg"), "Ben").expect("a file");
    std::fs::write(folder.path().join("b.jpg"), "Elton").expect("a file");
    assert!(run("a,Ben\nb.jpg,Elton\n").await.expect("it runs"));
    assert!(!run("a,Ben\nb,Ben\n").await.expect("it runs"));
    let error = run("a,Ben\n").await.unwrap_err().to_string();
    assert!(error.contains("has no name for b.jpg"), "{error}");
}

async fn execute(url: &str, folder: &Path, csv: &Path) -> anyhow::Result<bool> {
    use clap::Parser;
    let arguments =
        ["loadgen", "run", "--n", "4", "--url", url, "--image-folder"].map(std::ffi::OsStr::new);
    let files = [
        folder.as_os_str(),
        "--prediction-file".as_ref(),
        csv.as_os_str(),
    ];
    loadgen::execute(loadgen::cli::Cli::parse_from(
        [&arguments[..], &files].concat(),
    ))
    .await
}
