//! The program `loadgen`: signals, its files, its standard output and its exit status.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testkit::{eventually, listen};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::open::{photos, run, service};
use super::scaler::busy_scaler;

/// A folder with one photo.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    photos(folder.path(), &[("a", "Ben", "")]);
    folder
}

/// `loadgen run` with the photos in the folder, and its figures beside them.
fn program(folder: &Path, url: &str, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command
        .args(["run", "--quiet", "--url", url])
        .args(arguments.split_whitespace())
        .arg("--image-folder")
        .arg(folder)
        .arg("--prediction-file")
        .arg(folder.join("truth.csv"))
        .arg("--json")
        .arg(folder.join("out.json"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn ended(child: Child) -> Output {
    let ended = tokio::time::timeout(testkit::TIMEOUT, child.wait_with_output());
    ended.await.expect("the program ends").unwrap()
}

fn figures(folder: &Path) -> Value {
    let json = std::fs::read_to_string(folder.join("out.json")).unwrap();
    serde_json::from_str(&json).unwrap()
}

fn send(signal: Signal, child: &Child) {
    let id = child.id().expect("it runs");
    kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
}

#[tokio::test]
async fn ctrl_c_ends_a_run_with_its_figures_and_status_130() {
    let (closed, open) = (
        "--concurrency 2 --num-request 1000",
        "--rate 1 --num-request 1000",
    );
    for (load, signal) in [
        (closed, Signal::SIGINT),
        (closed, Signal::SIGTERM),
        (open, Signal::SIGINT),
        (open, Signal::SIGTERM),
    ] {
        let mut service = service(false).await;
        let folder = folder();
        let mut child = program(folder.path(), &service.url, load).spawn().unwrap();
        service.arrived.wait_for(|count| *count > 0).await.unwrap();
        send(signal, &child);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap();
        assert_eq!(line.as_deref(), Some("waiting for what is in flight"));
        service.gate.send_replace(true);
        let output = ended(child).await;
        assert_eq!(output.status.code(), Some(130), "{load}, {signal}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("result    not all right"), "{text}");
        let figures = figures(folder.path());
        assert_eq!(figures["problems"][0], "the run was interrupted");
        assert_eq!(figures["problems"].as_array().unwrap().len(), 1);
        let answered = figures["requests"]["answered"].as_u64().unwrap();
        assert!((1..1000).contains(&answered), "{figures:#}");
    }
}

#[tokio::test]
async fn ctrl_c_ends_the_wait_for_idle_workers() {
    let mut service = service(true).await;
    let scaler = busy_scaler(true).await;
    let folder = folder();
    for load in ["--num-request 1", "--rate 1 --num-request 1"] {
        service.arrived.mark_unchanged();
        let load = format!("{load} --scaler {} --idle-within 1h", scaler.url);
        let child = program(folder.path(), &service.url, &load).spawn().unwrap();
        service.arrived.changed().await.unwrap();
        send(Signal::SIGINT, &child);
        let output = ended(child).await;
        assert_eq!(output.status.code(), Some(130));
        let figures = figures(folder.path());
        let fleet = &figures["fleet"];
        assert!(fleet.is_object(), "{figures:#}");
        assert!(fleet["scale_in_s"].is_null(), "{fleet:#}");
    }
}

#[tokio::test]
async fn a_slow_scaler_is_not_in_the_latencies() {
    const DELAY: Duration = Duration::from_millis(300);
    let service = service(true).await;
    let scaler = busy_scaler(false).await;
    let folder = folder();
    let began = Instant::now();
    let responds = async {
        eventually("the scaler has taken its time", async || {
            began.elapsed() >= DELAY
        })
        .await;
        let at = Instant::now();
        scaler.gate.send_replace(true);
        at
    };
    let load = format!(
        "--rate 1 --num-request 1 --scaler {} --idle-within 0s",
        scaler.url
    );
    let ((_, figures), responded) = tokio::join!(run(folder.path(), &service.url, &load), responds);
    let most = responded.elapsed().as_secs_f64() * 1e3;
    let latency = figures["latency_ms"]["max"].as_f64().unwrap();
    // The histogram rounds to a thousandth.
    assert!(latency <= most * 1.01, "{latency} of {most} ms");
}

#[tokio::test]
async fn a_run_that_cannot_begin_keeps_the_old_report() {
    let service = service(true).await;
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("out.json"), "old").unwrap();
    let truth = std::fs::read_to_string(file("truth.csv")).unwrap();
    let html = |name: &str| format!("--num-request 1 --html {}", file(name).display());
    let nothing_listens = "http://127.0.0.1:1/";
    for (url, arguments, expected) in [
        (nothing_listens, "--num-request 1", "cannot be reached"),
        (&*service.url, "--trace nosuch", "nosuch"),
        (&*service.url, &*html("truth.csv"), "give another file"),
        (&*service.url, &*html("out.json"), "give another file"),
        (
            &*service.url,
            &*html("nosuch/out.html"),
            "give another file",
        ),
    ] {
        let child = program(folder.path(), url, arguments).spawn().unwrap();
        let output = ended(child).await;
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(expected), "{error}");
        assert_eq!(std::fs::read_to_string(file("out.json")).unwrap(), "old");
    }
    assert_eq!(std::fs::read_to_string(file("truth.csv")).unwrap(), truth);
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 3, "nothing is left beside them");
}

#[tokio::test]
async fn a_closed_pipe_loses_no_report() {
    let service = service(true).await;
    let folder = folder();
    let mut child = program(folder.path(), &service.url, "--num-request 2")
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = ended(child).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert_eq!(figures(folder.path())["requests"]["answered"], 2);

    // A full disk is an error, after the report.
    let full = std::fs::File::options().write(true).open("/dev/full");
    let child = program(folder.path(), &service.url, "--num-request 3")
        .stdout(full.unwrap())
        .spawn()
        .unwrap();
    let output = ended(child).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("cannot write to standard output"), "{error}");
    assert_eq!(figures(folder.path())["requests"]["answered"], 3);
}

/// `loadgen photos | head` panicked.
#[tokio::test]
async fn a_closed_pipe_is_no_error_for_made_photos() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(file("val/ben")).unwrap();
    let gray = image::RgbImage::from_pixel(64, 64, image::Rgb([140; 3]));
    gray.save(file("val/ben/a.jpg")).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args(["photos", "--count", "2", "--variants", "crop,noise"])
        .arg("--photos")
        .arg(file("val"))
        .arg("--out")
        .arg(file("made"))
        .arg("--csv")
        .arg(file("made.csv"))
        .stdout(writer)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let output = ended(child).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert_eq!(std::fs::read_dir(file("made")).unwrap().count(), 2);
}

#[tokio::test]
async fn text_and_json_agree_on_refused_photos() {
    let (listener, url) = listen().await;
    let refuse = async |_: axum::body::Bytes| (StatusCode::UNPROCESSABLE_ENTITY, "no face\n");
    let router = Router::new().route("/", post(refuse));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = folder();
    for load in ["--num-request 6", "--rate 100 --num-request 6"] {
        let child = program(folder.path(), &url, load).spawn().unwrap();
        let output = ended(child).await;
        assert_eq!(output.status.code(), Some(1), "{load}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("6 answered, 0 failed"), "{text}");
        assert!(text.contains("6 photos refused"), "{text}");
        let figures = figures(folder.path());
        let requests = &figures["requests"];
        assert_eq!(
            (&requests["answered"], &requests["failed"]),
            (&6.into(), &0.into())
        );
        assert_eq!(figures["names"]["refused"], 6);
    }
}

/// The teacher's own mistake is no student's.
#[tokio::test]
async fn a_grade_without_aws_ends_before_anything_is_sent() {
    let folder = folder();
    let child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
        .args([
            "grade",
            "--rubric",
            "--aws-endpoint-url",
            "http://127.0.0.1:1",
        ])
        .arg("--report")
        .arg(folder.path().join("report.json"))
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let output = ended(child).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("check AWS_PROFILE"), "{error}");
    assert!(!error.contains("DispatchFailure"), "{error}");
    assert!(!folder.path().join("grades.csv").exists());
}
