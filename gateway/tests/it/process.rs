use std::process::Command;

use testkit::eventually;

/// A core dump would hold photos and keys.
#[tokio::test]
async fn a_started_gateway_writes_no_core_dumps() {
    let program = env!("CARGO_BIN_EXE_gateway");
    let script = "ulimit -c unlimited; exec \"$0\" --listen 127.0.0.1:0";
    let mut gateway = Command::new("sh")
        .args(["-c", script, program])
        .spawn()
        .unwrap();
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
    gateway.kill().unwrap();
    gateway.wait().unwrap();
}
