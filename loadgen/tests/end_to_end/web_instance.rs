//! `scripts/web-instance`, which restarts front, scaler and gateway. Needs their programs (`make test` builds them).

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use testkit::{Answer, LocalCloud, free_addresses, programs};

use crate::stack::{self, PREFIX, eventually, photos};

/// Longest time until a killed service runs again.
const RESTART: Duration = Duration::from_secs(2);
/// Longest time until photos are recognized again.
const RECOVERY: Duration = Duration::from_secs(15);

/// The script with its services, on a local cloud with one worker.
struct WebInstance {
    script: Child,
    url: String,
    client: reqwest::Client,
    _cloud: LocalCloud,
}

impl WebInstance {
    async fn start() -> Self {
        let (cloud_listener, cloud_url) = testkit::listen().await;
        let [http, front, scaler, front_admin, scaler_admin] =
            free_addresses().map(|address| address.to_string());
        let config = stack::cloud_config(&cloud_url, &format!("http://{scaler}"));
        let cloud = LocalCloud::serve(config, cloud_listener);
        let script = Command::new(script())
            .env("MUSTER_BIN", programs())
            .env("AWS_ENDPOINT_URL", &cloud_url)
            .env("NO_PROXY", "127.0.0.1")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("MUSTER_PREFIX", PREFIX)
            .env("MUSTER_HTTP_LISTEN", &http)
            .env("MUSTER_FRONT_LISTEN", &front)
            .env("MUSTER_SCALER_LISTEN", &scaler)
            .env("MUSTER_FRONT_ADMIN_LISTEN", &front_admin)
            .env("MUSTER_SCALER_ADMIN_LISTEN", &scaler_admin)
            .env("MUSTER_FRONT", format!("http://{front}"))
            .env("MUSTER_MIN_WORKERS", "1")
            .env("MUSTER_MAX_WORKERS", "1")
            .env("MUSTER_BILLING_MINIMUM", "0s")
            .env("MUSTER_BOOT_TIME", "500ms")
            .spawn()
            .unwrap();
        let web = Self {
            script,
            url: format!("http://{http}"),
            client: testkit::http_client(),
            _cloud: cloud,
        };
        eventually("a photo is recognized", async || {
            web.is_recognized("first.jpg").await
        })
        .await;
        web
    }

    async fn post(&self, file_name: &str, photo: &[u8]) -> reqwest::Result<Answer> {
        stack::post(&self.client, &self.url, file_name, photo).await
    }

    async fn is_recognized(&self, file_name: &str) -> bool {
        let (photos, people) = photos(1);
        let answer = self.post(file_name, &photos[0].1).await;
        answer.is_ok_and(|answer| is_right(&answer, file_name, &people[0]))
    }

    /// Returns the process ids of the services by name.
    fn services(&self) -> BTreeMap<String, i32> {
        services_of(self.script.id())
    }

    /// Sends SIGTERM and waits.
    fn stop(&mut self) -> ExitStatus {
        let script = Pid::from_raw(self.script.id().try_into().unwrap());
        kill(script, Signal::SIGTERM).unwrap();
        self.script.wait().unwrap()
    }
}

impl Drop for WebInstance {
    fn drop(&mut self) {
        if self.script.try_wait().unwrap().is_none() {
            self.stop();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_is_restarted_and_the_others_keep_running() {
    let mut web = WebInstance::start().await;
    for victim in ["front", "scaler", "gateway"] {
        let before = web.services();
        assert_eq!(before.len(), 3, "{before:?}");
        let (burst, people) = photos(12);
        let burst: Vec<_> = burst
            .into_iter()
            .map(|(name, photo)| (format!("{victim}_{name}"), photo))
            .collect();
        let mut posts: FuturesUnordered<_> = burst
            .iter()
            .zip(&people)
            .map(async |((name, photo), person)| (name, person, web.post(name, photo).await))
            .collect();
        let mut answers = vec![posts.next().await.unwrap()];

        kill(Pid::from_raw(before[victim]), Signal::SIGKILL).unwrap();
        let killed_at = Instant::now();
        let restarted = async {
            eventually("it runs again", async || {
                let now = web.services();
                now.get(victim).is_some_and(|id| *id != before[victim])
            })
            .await;
            killed_at.elapsed()
        };
        let others = posts.collect::<Vec<_>>();
        let (restarted_after, others) = futures::join!(restarted, others);
        answers.extend(others);
        assert!(restarted_after < RESTART, "{victim}: {restarted_after:?}");

        // Every request in flight gets a result or an error.
        for (name, person, answer) in answers {
            match answer {
                Ok(answer) if answer.status == 503 && victim == "front" => {
                    assert!(answer.body.contains("send the photo again"), "{answer:?}");
                }
                Ok(answer) => assert!(is_right(&answer, name, person), "{victim}: {answer:?}"),
                Err(error) => assert_eq!(victim, "gateway", "{name}: {error}"),
            }
        }
        eventually("photos are recognized again", async || {
            web.is_recognized(&format!("after_{victim}.jpg")).await
        })
        .await;
        assert!(killed_at.elapsed() < RECOVERY, "{victim}");
        let after = web.services();
        for (name, id) in &before {
            assert_eq!(after[name] == *id, name != victim, "{victim}: {after:?}");
        }
    }
    assert!(web.stop().success());
}

#[tokio::test]
async fn a_service_that_cannot_run_ends_the_web_instance() {
    let folder = tempfile::tempdir().unwrap();
    let program = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    };
    program("front", "exec sleep 1000");
    program("scaler", "exit 3");
    program("gateway", "exec sleep 1000");
    let mut script = Command::new(script());
    script.env("MUSTER_BIN", folder.path());
    // The output ends when every service has ended.
    let running = tokio::task::spawn_blocking(move || script.output().unwrap());
    let output = tokio::time::timeout(Duration::from_secs(60), running).await;
    let output = output.expect("it ends").unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let line = "web-instance: scaler ended 5 times within 30 s, at last with status 3: ending the others; ";
    let lines: Vec<_> = told.lines().filter(|it| it.starts_with(line)).collect();
    assert_eq!(lines.len(), 1, "{told}");
}

fn is_right(answer: &Answer, file_name: &str, person: &str) -> bool {
    (answer.status, &answer.body) == (200, &stack::line(file_name, person))
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/web-instance")
}

/// Returns the process ids of a process's children that are services, by name.
fn services_of(parent: u32) -> BTreeMap<String, i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let children = processes.filter_map(|entry| {
        let id: i32 = entry.file_name().to_str()?.parse().ok()?;
        // `id (name) state parent ...`
        let line = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = line.split_once('(')?.1.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let is_alive = fields.next()? != "Z";
        let is_child = fields.next()? == parent.to_string();
        let is_service = ["front", "scaler", "gateway"].contains(&name);
        (is_alive && is_child && is_service).then(|| (name.to_owned(), id))
    });
    children.collect()
}
