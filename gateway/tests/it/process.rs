use std::process::Stdio;

use testkit::{LocalCloud, Program, TIMEOUT, eventually};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::time::timeout;

/// A core dump would hold photos and keys.
#[tokio::test]
async fn a_started_gateway_writes_no_core_dumps() {
    let program = env!("CARGO_BIN_EXE_gateway");
    let script = "ulimit -c unlimited; exec \"$0\" --listen 127.0.0.1:0";
    let gateway = Program::start(Command::new("sh").args(["-c", script, program]));
    let limits = format!("/proc/{}/limits", gateway.id());
    eventually("core dumps are disabled", || async {
        let limits = std::fs::read_to_string(&limits).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core"));
        line.unwrap()
            .split_whitespace()
            .skip(4)
            .take(2)
            .eq(["0"; 2])
    })
    .await;
}

/// As under systemd, with a watchdog interval of 200 ms.
#[tokio::test]
async fn front_tells_systemd_that_it_is_ready_alive_and_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let messages = UnixDatagram::bind(&socket).unwrap();
    let received = async |wanted: &str| {
        let mut buffer = [0; 256];
        loop {
            let length = timeout(TIMEOUT, messages.recv(&mut buffer)).await;
            let text = str::from_utf8(&buffer[..length.unwrap().unwrap()]).unwrap();
            if text.lines().any(|line| line == wanted) {
                return;
            }
        }
    };
    let cloud = LocalCloud::start(localcloud::Config::default()).await;
    let mut front = Program::start(
        Command::new(env!("CARGO_BIN_EXE_front"))
            .args(["--listen", "127.0.0.1:0", "--aws-endpoint-url", &cloud.url])
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "200000")
            .env_remove("WATCHDOG_PID"),
    );
    received("READY=1").await;
    received("WATCHDOG=1").await;
    front.terminate();
    received("STOPPING=1").await;
    // Nothing reads the socket any longer, which must not keep front from ending.
    assert!(front.ended().await.success());
}

/// The reader of its log has gone, as in `gateway 2>&1 | head -1`.
#[tokio::test]
async fn a_gateway_whose_log_cannot_be_written_still_ends() {
    let mut gateway = Program::start(
        Command::new(env!("CARGO_BIN_EXE_gateway"))
            .args(["--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped()),
    );
    let mut log = BufReader::new(gateway.process.stderr.take().unwrap()).lines();
    while !log
        .next_line()
        .await
        .unwrap()
        .unwrap()
        .contains("serves HTTP")
    {}
    drop(log);
    assert!(gateway.stop().await.success());
}
