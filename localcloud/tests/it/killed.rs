//! The binary: however it ends, no process remains.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::cloud::{code, eventually, sdk, sdk_signed_by};
use crate::instances::{any_alive, is_alive, process_ids};

const CONFIG: &str = r#"
    [[image]]
    id = "ami-test"
    command = ["sh", "-c", "trap '' TERM HUP; sleep 1000 & echo ids $$ $!; while :; do wait; done"]
    [[instance]]
    image = "ami-test"
    [[instance]]
    image = "ami-test"
"#;

/// A localcloud process, killed when dropped. `start` gives it two instances that ignore SIGTERM, each with a child.
pub struct Started {
    process: Child,
    pub endpoint: String,
    data: TempDir,
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Started {
    /// Kills the process with SIGKILL, waits for its end and returns the data folder.
    pub fn kill(mut self) -> TempDir {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::mem::replace(&mut self.data, tempfile::tempdir().unwrap())
    }
}

fn start() -> Started {
    start_with(CONFIG, &[])
}

/// Starts the binary with a configuration file and more arguments.
pub fn start_with(config_text: &str, arguments: &[&str]) -> Started {
    start_over(tempfile::tempdir().unwrap(), config_text, arguments)
}

/// As `start_with`, over the data folder of an earlier localcloud.
pub fn start_over(data: TempDir, config_text: &str, arguments: &[&str]) -> Started {
    let config = data.path().join("cloud.toml");
    std::fs::write(&config, config_text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_localcloud"));
    command
        .args(["--listen", "127.0.0.1:0", "--stop-grace", "0.3", "--config"])
        .arg(&config)
        .args(arguments);
    spawn(command, data)
}

/// Starts localcloud over a data folder, and waits for its address.
fn spawn(mut command: Command, data: TempDir) -> Started {
    let mut process = command
        .arg("--data")
        .arg(data.path())
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
    let line = log
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.contains("address="))
        .expect("it logs its address");
    let (_, address) = line.split_once("address=").unwrap();
    let (_, port) = address.split(' ').next().unwrap().rsplit_once(':').unwrap();
    // The process would block if the pipe were full.
    std::thread::spawn(move || log.for_each(drop));
    Started {
        endpoint: format!("http://127.0.0.1:{port}"),
        process,
        data,
    }
}

async fn processes_of(data: &Path) -> Vec<u32> {
    let folders = eventually("both instances have folders", || async {
        let folders: Vec<_> = std::fs::read_dir(data.join("instances"))
            .ok()?
            .map(|entry| entry.unwrap().path())
            .collect();
        (folders.len() == 2).then_some(folders)
    })
    .await;
    let mut processes = Vec::new();
    for folder in folders {
        processes.extend(process_ids(&folder.join("console.log")).await);
    }
    processes
}

fn signal(process: &Child, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &process.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[tokio::test]
async fn sigkill_leaves_no_process() {
    let mut started = start();
    let processes = processes_of(started.data.path()).await;
    assert_eq!(processes.len(), 4);
    assert!(processes.iter().copied().all(is_alive));
    started.process.kill().unwrap();
    started.process.wait().unwrap();
    eventually("everything is gone", || async {
        (!any_alive(&processes)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sigkill_during_launches_leaves_no_process() {
    let mut started = start();
    processes_of(started.data.path()).await;
    let ec2 = aws_sdk_ec2::Client::new(&sdk(&started.endpoint, "test"));
    let launches = tokio::spawn(async move {
        while ec2
            .run_instances()
            .image_id("ami-test")
            .min_count(5)
            .max_count(5)
            .send()
            .await
            .is_ok()
        {}
    });
    let instances = started.data.path().join("instances");
    eventually("some of them run", || async {
        (std::fs::read_dir(&instances).ok()?.count() > 12).then_some(())
    })
    .await;
    started.process.kill().unwrap();
    started.process.wait().unwrap();
    launches.abort();
    // The environment of every process of an instance has the path of its folder.
    let marker = instances.canonicalize().unwrap().display().to_string();
    eventually("everything is gone", || async {
        (count_with_environment(&marker) == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sigterm_and_sigint_stop_everything_and_succeed() {
    for name in ["TERM", "INT"] {
        let mut started = start();
        let processes = processes_of(started.data.path()).await;
        signal(&started.process, name);
        let status = eventually("localcloud ends", || {
            let status = started.process.try_wait().unwrap();
            async move { status }
        })
        .await;
        assert!(status.success(), "{name}: {status}");
        assert!(!any_alive(&processes), "{name}");
    }
}

fn count_with_environment(marker: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let environments =
        processes.filter_map(|process| std::fs::read(process.path().join("environ")).ok());
    environments
        .filter(|environment| String::from_utf8_lossy(environment).contains(marker))
        .count()
}

/// Starts localcloud on all addresses. Returns the lines that it prints as well.
fn open_to_the_network(arguments: &[&str]) -> (Started, impl Iterator<Item = String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_localcloud"));
    command.args(["--listen", "0.0.0.0:0"]).args(arguments);
    command.stdout(Stdio::piped());
    let mut started = spawn(command, tempfile::tempdir().unwrap());
    let printed = BufReader::new(started.process.stdout.take().unwrap()).lines();
    (started, printed.map(Result::unwrap))
}

#[tokio::test]
async fn random_credentials_are_printed_if_other_machines_can_connect() {
    let mut made = Vec::new();
    for _ in 0..2 {
        let (cloud, mut printed) = open_to_the_network(&[]);
        let mut value_of = |name: &str| {
            let line = printed.next().unwrap();
            line.strip_prefix(name).unwrap().to_owned()
        };
        let access_key = value_of("AWS_ACCESS_KEY_ID=");
        let secret_key = value_of("AWS_SECRET_ACCESS_KEY=");
        let list = async |access_key: &str, secret_key: &str| {
            let sdk = sdk_signed_by(&cloud.endpoint, access_key, secret_key);
            let s3 = crate::cloud::s3(&sdk);
            s3.list_buckets().send().await.map(|_| ()).map_err(code)
        };
        assert_eq!(list(&access_key, &secret_key).await, Ok(()));
        let refused = list("test", "test").await.unwrap_err();
        assert_eq!(refused, "InvalidAccessKeyId");
        made.push((access_key, secret_key));
    }
    assert_ne!(made[0], made[1]);
}

#[test]
fn configured_credentials_are_not_printed() {
    let (cloud, printed) = open_to_the_network(&["--credentials", "key:secret"]);
    drop(cloud.kill());
    assert_eq!(printed.count(), 0);
}
