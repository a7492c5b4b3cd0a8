//! Timeout, memory, freezing and concurrency.

use std::path::Path;
use std::time::{Duration, Instant};

use aws_sdk_lambda::primitives::Blob;
use serde_json::json;
use tokio::time::timeout;

use super::{cloud, create, invoke, writes_to, written};
use crate::cloud::{Cloud, code, eventually, raw, request};

fn is_alive(pid: u64) -> bool {
    state_of(pid).is_some_and(|state| state != 'Z')
}

fn state_of(pid: u64) -> Option<char> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.ok()?.rsplit_once(')')?.1.trim().chars().next()
}

#[tokio::test]
async fn an_unsigned_request_gets_no_room_for_code() {
    let cloud = cloud().await;
    for (size, refusal) in [
        (10, "missing Authentication Token"),
        (9 << 20, "length limit exceeded"),
    ] {
        let sent = request("POST", "/2015-03-31/functions", "", &"x".repeat(size));
        let (status, body) = raw(&cloud.endpoint, &sent).await;
        assert!(body.contains(refusal), "{status}: {body}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn the_output_of_a_loud_function_is_cut() {
    let cloud = Cloud::for_everybody().await;
    let lambda = cloud.lambda();
    let script = "def handle(event, request_id):\n    for _ in range(40000): print('x' * 100)\n    print('finished', flush=True)";
    create(&lambda, "loud", script).send().await.unwrap();
    invoke(&lambda, "loud", "{}").await.unwrap();
    for word in ["omitted", "finished"] {
        let body = json!({ "logGroupName": "/aws/lambda/loud", "filterPattern": word });
        let headers = "X-Amz-Target: Logs_20140328.FilterLogEvents\r\n";
        let call = request("POST", "/", headers, &body.to_string());
        let (status, found) = raw(&cloud.endpoint, &call).await;
        assert_eq!(status, 200, "{found}");
        let found: serde_json::Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found["events"].as_array().unwrap().len(), 1, "{word}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_function_that_runs_out_of_time_is_killed() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    let script = writes_to(&cloud, "pid")
        + "def handle(event, request_id):\n    out(os.getpid())\n    time.sleep(600)";
    create(&lambda, "slow", &script)
        .timeout(1)
        .send()
        .await
        .unwrap();
    let error = invoke(&lambda, "slow", "{}").await.unwrap_err();
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.starts_with("RequestId: "), "{message}");
    assert!(
        message.ends_with("Task timed out after 1.00 seconds"),
        "{message}"
    );
    let pid = written(&cloud, "pid", 1).await[0].as_u64().unwrap();
    assert!(!is_alive(pid));
    cloud.stop().await;
}

#[tokio::test]
async fn a_function_above_its_memory_is_killed() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    // The memory is that of a child process.
    let script = "import subprocess\ndef handle(event, request_id):\n    code = 'data = b\"x\" * (300 << 20); import time; time.sleep(600)'\n    subprocess.run([sys.executable, '-c', code])";
    create(&lambda, "large", script).send().await.unwrap();
    let error = invoke(&lambda, "large", "{}").await.unwrap_err();
    assert_eq!(error["errorType"], "Runtime.ExitError");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.ends_with("signal: killed"), "{message}");
    cloud.stop().await;
}

#[tokio::test]
async fn a_function_is_frozen_between_invocations_and_ends_with_localcloud() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    let script = "def handle(event, request_id):\n    return os.getpid()";
    create(&lambda, "f", script).send().await.unwrap();
    let pid = invoke(&lambda, "f", "{}").await.unwrap();
    let process = pid.as_u64().unwrap();
    eventually("the process is stopped", || async {
        (state_of(process) == Some('T')).then_some(())
    })
    .await;
    assert_eq!(invoke(&lambda, "f", "{}").await.unwrap(), pid);
    cloud.stop().await;
    eventually("the process is gone", || async {
        (!is_alive(process)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_idle_environment_ends() {
    let cloud = crate::cloud::Cloud::with(localcloud::Config {
        lambda: localcloud::LambdaConfig {
            idle_time: std::time::Duration::from_millis(1),
            ..localcloud::LambdaConfig::default()
        },
        ..localcloud::Config::default()
    })
    .await;
    let lambda = cloud.lambda();
    let script = "def handle(event, request_id):\n    return os.getpid()";
    create(&lambda, "f", script).send().await.unwrap();
    let pid = invoke(&lambda, "f", "{}").await.unwrap().as_u64().unwrap();
    eventually("the process is gone", || async {
        (!is_alive(pid)).then_some(())
    })
    .await;
    cloud.stop().await;
}

#[tokio::test]
async fn calls_above_the_reserved_concurrency_are_throttled() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    let stop = cloud.data_folder().join("stop");
    let script = writes_to(&cloud, "began")
        + &format!(
            "def handle(event, request_id):\n    out(event)\n    while not os.path.exists({:?}): time.sleep(0.01)\n    return event",
            stop.display()
        );
    create(&lambda, "f", &script).send().await.unwrap();
    let put = lambda.put_function_concurrency().function_name("f");
    put.reserved_concurrent_executions(1).send().await.unwrap();
    let first = {
        let lambda = lambda.clone();
        tokio::spawn(async move { invoke(&lambda, "f", "1").await })
    };
    written(&cloud, "began", 1).await;
    let second = lambda.invoke().function_name("f").payload(Blob::new("2"));
    assert_eq!(
        code(second.send().await.unwrap_err()),
        "TooManyRequestsException"
    );
    // An event waits for the function.
    let event = lambda.invoke().function_name("f").payload(Blob::new("3"));
    let event = event.invocation_type(aws_sdk_lambda::types::InvocationType::Event);
    event.send().await.unwrap();
    std::fs::write(&stop, "").unwrap();
    assert_eq!(first.await.unwrap().unwrap(), json!(1));
    assert_eq!(written(&cloud, "began", 2).await, [1, 3]);
    let put = lambda.put_function_concurrency().function_name("f");
    put.reserved_concurrent_executions(0).send().await.unwrap();
    let none = lambda.invoke().function_name("f").send().await;
    assert_eq!(code(none.unwrap_err()), "TooManyRequestsException");
    cloud.stop().await;
}

#[tokio::test]
async fn faults_delay_starts_and_crash_invocations() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    let script = "def handle(event, request_id):\n    return os.getpid()";
    for name in ["warm", "cold"] {
        create(&lambda, name, script).send().await.unwrap();
    }
    let pid = invoke(&lambda, "warm", "{}").await.unwrap();

    // A frozen environment needs no start. The wait is far shorter than the delay.
    cloud.set_faults("[lambda]\nstart_delay_ms = 600000").await;
    let again = timeout(Duration::from_secs(120), invoke(&lambda, "warm", "{}"));
    assert_eq!(again.await.unwrap().unwrap(), pid);
    cloud.set_faults("[lambda]\nstart_delay_ms = 1000").await;
    let began = Instant::now();
    invoke(&lambda, "cold", "{}").await.unwrap();
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");

    cloud.set_faults("[lambda]\ncrash = 1.0").await;
    for name in ["warm", "cold"] {
        let error = invoke(&lambda, name, "{}").await.unwrap_err();
        assert_eq!(error["errorType"], "Runtime.ExitError");
        let message = error["errorMessage"].as_str().unwrap();
        assert!(message.ends_with("killed by SIGKILL"), "{message}");
    }
    assert!(!is_alive(pid.as_u64().unwrap()));
    cloud.set_faults("").await;
    assert_ne!(invoke(&lambda, "warm", "{}").await.unwrap(), pid);
    cloud.stop().await;
}
