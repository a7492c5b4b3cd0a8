//! `loadgen grade --rubric` on the whole system, as a teacher runs it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::Value;
use testkit::samples;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::stack::{PREFIX, Stack};

/// As the built-in rubric, with limits that any machine keeps. There is no web instance here, and the last sample may be
/// older than the end of the last worker, since nothing is waited for.
const RUBRIC: &str = r#"
title = "A test"
submission.files = ["web-tier/server.py"]

[workload]
clients = 12
limit = 300
sample_every = 0.05
wait = 0
drain = 10

[[deduction]]
check = "no-worker"
points = 70
[[deduction]]
check = "empty-buckets"
points = 5
[[deduction]]
check = "request-message-size"
bytes = 1024
points = 20
[[deduction]]
check = "reply-message-size"
bytes = 1024
points = 20
[[deduction]]
check = "empty-queues"
points = 5

[[case]]
check = "scale-in"
tiers = [{ below = 60, points = 10 }]
[[case]]
check = "in-bucket"
points = 5
[[case]]
check = "out-bucket"
points = 5
[[case]]
check = "names"
points = 10
[[case]]
check = "latency"
tiers = [{ below = 25, points = 40 }]
[[case]]
check = "scale-out"
workers = 3
points = 15
[[case]]
check = "request-queue"
points = 5
[[case]]
check = "reply-queue"
points = 5
"#;

/// A folder with a rubric, a roster and a submission.
struct Classroom {
    folder: tempfile::TempDir,
    cloud_url: String,
}

impl Classroom {
    fn of(stack: &Stack) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join("rubric.toml"), RUBRIC).unwrap();
        let roster = format!("ASUID,First Name,Last Name\n{PREFIX},Ada,Lovelace\n99,Nobody,None\n");
        std::fs::write(path.join("roster.csv"), roster).unwrap();
        std::fs::create_dir(path.join("submissions")).unwrap();
        let zip = path
            .join("submissions")
            .join(format!("Project1-{PREFIX}.zip"));
        let mut zip = ZipWriter::new(File::create(zip).unwrap());
        let credentials = format!("test,test,{}", stack.url());
        for (name, text) in [
            ("credentials/credentials.txt", credentials.as_str()),
            ("web-tier/server.py", "# none\n"),
        ] {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        let cloud_url = stack.cloud_url().to_owned();
        Self { folder, cloud_url }
    }

    /// Runs `loadgen grade`, and returns whether every total reached `--min-points`.
    async fn grade(&self, options: &[&str]) -> bool {
        let file = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let (rubric, report, photos) = (
            file("rubric.toml"),
            file("out/report.json"),
            samples::photos().join("val"),
        );
        let mut arguments = vec![
            "loadgen",
            "grade",
            "--num_requests",
            "12",
            "--rubric",
            &rubric,
            "--report",
            &report,
            "--photos",
            photos.to_str().unwrap(),
            "--aws-endpoint-url",
            &self.cloud_url,
        ];
        arguments.extend(options);
        let cli = loadgen::cli::Cli::try_parse_from(arguments).unwrap();
        loadgen::execute(cli).await.unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        read(&self.path(name))
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_is_graded_by_a_rubric() {
    let arguments = [
        "--max-workers=3",
        "--policy=step",
        "--settle=5s",
        "--idle-time=60s",
    ];
    let stack = Stack::start_with(&arguments).await;
    let classroom = Classroom::of(&stack);
    let (roster, submissions) = (classroom.path("roster.csv"), classroom.path("submissions"));
    let of_roster = [
        "--roster",
        roster.to_str().unwrap(),
        "--submissions",
        submissions.to_str().unwrap(),
    ];
    classroom.grade(&of_roster).await;

    let grades = classroom.text("out/grades.csv");
    let rows: Vec<_> = grades.lines().collect();
    assert_eq!(
        rows[1],
        format!("{PREFIX},Ada,Lovelace,0,10,5,5,10,40,15,5,5,95,95,"),
        "{grades}"
    );
    assert!(
        rows[2].starts_with("99,Nobody,None,0,0,") && rows[2].contains("has no zip"),
        "{grades}"
    );
    let report: Value =
        serde_json::from_str(&classroom.text(&format!("out/report-{PREFIX}.json"))).unwrap();
    assert_eq!(
        (&report["points"]["total"], &report["correct"]),
        (&95.0.into(), &12.into())
    );
    assert!(report["samples"].as_array().unwrap().len() > 3);
    let page = classroom.text(&format!("out/report-{PREFIX}.html"));
    assert!(page.contains("95 of 95 points") && page.matches("<figure>").count() == 3);

    // What is left from the run costs points, and is deleted on demand.
    let system = [
        "--submission",
        &format!("{}/Project1-{PREFIX}.zip", submissions.display()),
        "--prefix",
        PREFIX,
    ];
    assert!(
        !classroom
            .grade(&[&system[..], &["--min-points", "95"]].concat())
            .await
    );
    let grades = classroom.text("out/grades.csv");
    assert!(
        grades.contains("empty-buckets: 12 photos and 12 results are stored"),
        "{grades}"
    );
    assert!(
        classroom
            .grade(&[&system[..], &["--clean", "--min-points", "95"]].concat())
            .await
    );
}
