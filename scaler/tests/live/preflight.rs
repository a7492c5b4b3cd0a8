//! `scaler preflight`, and the same checks after the start.

use std::process::Stdio;

use platform::preflight::{Finding, Verdict};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::stage::{Stage, TIMEOUT};

async fn findings(stage: &Stage) -> Vec<Finding> {
    scaler::config::preflight::checks(&stage.config(), &stage.aws)
        .run()
        .await
}

/// The check's line.
async fn line(stage: &Stage, check: &str) -> String {
    let findings = findings(stage).await;
    let finding = findings.iter().find(|it| it.check == check);
    finding
        .unwrap_or_else(|| panic!("{findings:?}"))
        .to_string()
}

/// The scaler's program, for the stage's cloud.
fn program(stage: &Stage, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scaler"));
    command
        .args(arguments)
        .env("AWS_ENDPOINT_URL", &stage.cloud.url)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[tokio::test]
async fn where_all_is_there_no_check_fails() {
    let stage = Stage::without_scaler(&["--disk-gb=20"]).await;
    stage.prepare_stopped(1).await;
    let findings = findings(&stage).await;
    for finding in &findings {
        println!("{finding}");
        assert!(!matches!(finding.verdict, Verdict::Fail(_)), "{finding}");
    }
    let fine = findings
        .iter()
        .filter(|it| matches!(it.verdict, Verdict::Fine(_)));
    let fine: Vec<_> = fine.map(|it| it.check).collect();
    for check in [
        "credentials",
        "image",
        "user data",
        "launch",
        "permissions",
        "buckets",
    ] {
        assert!(fine.contains(&check), "{check} is not among {fine:?}");
    }
    // No call has changed anything.
    assert_eq!(stage.instances().await.len(), 1);
}

#[tokio::test]
async fn each_fault_is_named_with_its_mend() {
    let mut stage = Stage::without_scaler(&[]).await;
    stage.prepare_stopped(1).await;
    for (service, action, code, check, expected) in [
        (
            "ec2",
            "RunInstances",
            "UnauthorizedOperation",
            "launch",
            "deploy/aws/iam/scaler.json",
        ),
        (
            "ec2",
            "RunInstances",
            "InvalidSubnetID.NotFound",
            "launch",
            "check MUSTER_WORKER_SUBNET",
        ),
        (
            "ec2",
            "RunInstances",
            "InvalidGroup.NotFound",
            "launch",
            "check MUSTER_WORKER_SECURITY_GROUPS",
        ),
        (
            "ec2",
            "RunInstances",
            "InvalidKeyPair.NotFound",
            "launch",
            "check MUSTER_WORKER_KEY",
        ),
        (
            "ec2",
            "RunInstances",
            "InvalidParameterValue",
            "launch",
            "check MUSTER_WORKER_INSTANCE_PROFILE",
        ),
        (
            "ec2",
            "RunInstances",
            "VcpuLimitExceeded",
            "launch",
            "request a higher quota",
        ),
        (
            "ec2",
            "TerminateInstances",
            "UnauthorizedOperation",
            "permissions",
            "ec2:TerminateInstances denied",
        ),
        (
            "ec2",
            "DescribeImages",
            "InvalidAMIID.NotFound",
            "image",
            "check MUSTER_WORKER_IMAGE",
        ),
        (
            "ec2",
            "DescribeInstances",
            "UnauthorizedOperation",
            "credentials",
            "deploy/aws/iam/scaler.json",
        ),
        (
            "ec2",
            "DescribeInstances",
            "AuthFailure",
            "credentials",
            "check AWS_PROFILE",
        ),
        (
            "s3",
            "HeadBucket",
            "AccessDenied",
            "buckets",
            "choose another MUSTER_PREFIX",
        ),
    ] {
        let fault = format!(
            r#"{{"call": [{{"service": "{service}", "action": "{action}", "error": {{"code": "{code}"}}}}]}}"#
        );
        stage.cloud.inject(&fault).await;
        let line = line(&stage, check).await;
        assert!(
            line.starts_with("FAIL ") && line.contains(expected),
            "{code}: {line}"
        );
    }
    stage.cloud.inject(r#"{"call": [{"service": "ec2", "action": "RunInstances", "error": {"code": "RequestLimitExceeded"}}]}"#).await;
    assert!(
        line(&stage, "launch")
            .await
            .starts_with("warn  launch: not checked")
    );
    stage.cloud.inject("{}").await;
    let user_data = tempfile::NamedTempFile::new().unwrap();
    let text = "@MUSTER_FLEET_TOKEN@".repeat(1_000);
    std::fs::write(user_data.path(), text).unwrap();
    let file = format!("--user-data-file={}", user_data.path().display());
    stage.configure(&["--image-id=ami-none", &file]);
    let image = line(&stage, "image").await;
    assert!(
        image.starts_with("FAIL ") && image.contains("ami-none"),
        "{image}"
    );
    let user_data = line(&stage, "user data").await;
    assert!(
        user_data.contains("shorten MUSTER_WORKER_USER_DATA_FILE"),
        "{user_data}"
    );
}

#[tokio::test]
async fn without_credentials_nothing_else_is_checked() {
    let stage = Stage::without_scaler(&[]).await;
    let fault = r#"{"call": [{"action": "DescribeInstances", "error": {"code": "AuthFailure"}}]}"#;
    stage.cloud.inject(fault).await;
    let findings = findings(&stage).await;
    assert_eq!(findings.len(), 1, "{findings:?}");
}

#[tokio::test]
async fn the_exit_status_says_whether_a_check_failed() {
    let stage = Stage::without_scaler(&[]).await;
    let passed = program(&stage, &["preflight"]).output().await.unwrap();
    let text = String::from_utf8(passed.stdout).unwrap();
    assert!(passed.status.success(), "{text}");
    assert!(
        text.contains("ok    image: ami-muster-worker is available\n"),
        "{text}"
    );
    let arguments = ["preflight", "--image-id=ami-none"];
    let failed = program(&stage, &arguments).output().await.unwrap();
    let text = String::from_utf8(failed.stdout).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{text}");
    assert!(text.contains("FAIL  image: "), "{text}");
}

#[tokio::test]
async fn a_scaler_logs_what_fails_after_its_start() {
    let stage = Stage::without_scaler(&[]).await;
    let arguments = ["--listen=127.0.0.1:0", "--image-id=ami-none"];
    let mut scaler = program(&stage, &arguments).spawn().unwrap();
    let (output, errors) = (scaler.stdout.take().unwrap(), scaler.stderr.take().unwrap());
    let (mut output, mut errors) = (
        BufReader::new(output).lines(),
        BufReader::new(errors).lines(),
    );
    let logged = async {
        loop {
            let line = tokio::select! {
                Ok(Some(line)) = output.next_line() => line,
                Ok(Some(line)) = errors.next_line() => line,
                else => panic!("the scaler has ended"),
            };
            if line.contains("preflight: FAIL  image: ") {
                return;
            }
        }
    };
    let logged = tokio::time::timeout(TIMEOUT, logged).await;
    logged.expect("the failed check is logged");
}
