//! Signals end a whole process, so that the service is this program, started once more.

#![allow(clippy::unwrap_used)]

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStdout, Command};
use tokio::time::timeout;

/// Set for the service.
const VARIABLE: &str = "MUSTER_TEST_SERVICE";

#[tokio::test]
async fn a_second_signal_ends_a_service_at_once() {
    for (signal, status) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let mut service = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "service_that_never_drains", "--nocapture"])
            .env(VARIABLE, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let process = Pid::from_raw(service.id().unwrap().try_into().unwrap());
        let mut output = BufReader::new(service.stdout.take().unwrap());
        until(&mut output, "is ready").await;
        kill(process, Signal::SIGTERM).unwrap();
        until(&mut output, "is draining").await;
        kill(process, signal).unwrap();
        let ended = timeout(Duration::from_secs(60), service.wait()).await;
        assert_eq!(ended.unwrap().unwrap().code(), Some(status), "{signal}");
    }
}

/// Waits for a line of the service with these words.
async fn until(output: &mut BufReader<ChildStdout>, words: &str) {
    let reading = async {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(output.read_line(&mut line).await.unwrap() > 0, "it ended");
        }
    };
    timeout(Duration::from_secs(60), reading).await.unwrap();
}

/// Not a test, but the service of the one above.
#[tokio::test]
async fn service_that_never_drains() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    let shutdown = platform::shutdown::on_signal().unwrap();
    println!("the service is ready");
    shutdown.cancelled().await;
    println!("the service is draining");
    std::future::pending::<()>().await;
}
